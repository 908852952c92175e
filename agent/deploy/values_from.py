"""What `helm.valuesFrom` names on this cluster: read with the bundle's rights, known again by an
HMAC, and never told to anybody.

Rule: a value lives in memory and on helm's standard input. The journal keeps an HMAC under a key of
this state directory, because a plain hash of a short password can be guessed; an error that quotes
a value is cut before it is logged or reported.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.errors import (
    FleetError,
    InvalidFile,
    NotFound,
    RenderFailed,
    ToolFailed,
    UsageError,
)
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import KeyRef, Options, ValuesFrom

from ..kube.client import Kube
from ..state.secret_masking import code_of, key_of
from .downstream_resources import DownstreamCopy

_LEAST_HIDDEN = 3  # a shorter value is in every other word, and no secret
_MASK = "***"
_TEMPLATE_STOP = re.compile(r"(execution error at \([^()]{1,300}\): ).*", re.DOTALL)
_BARE_VALUE = re.compile(
    r"((?:Invalid|Unsupported|Duplicate) value: |unmarshal number )(?!\")[^\s:,]+"
)
# Quoted text; in the first group an object's kind before its name. A backslash can be read in one
# way only: charts choose the text.
_QUOTED_TEXT = re.compile(
    r"""(\b[A-Z][A-Za-z]+(?:\.[a-z0-9.-]+)? (?=["'`][a-z0-9.:-]+["'`]))?"""
    r"""(["'`])((?:\\.|(?!\2)[^\\])*)\2""",
    re.DOTALL,
)
_PLACE = re.compile(r"[\w./-]+\.(?:ya?ml|tpl|json|txt)")


def references(options: Options) -> list[ValuesFrom]:
    return list(options.helm.values_from or []) if options.helm else []


async def read_values(
    kube: Kube, options: Options, namespace: str, copies: Sequence[DownstreamCopy] = ()
) -> list[JsonObject]:
    """The values in the order in which they are merged; `namespace` where a reference names none.
    `copied`: what the bundle itself brings into `namespace` (`downstreamResources`), which is
    written only after this.

    Of an entry that names both kinds the ConfigMap comes first, as in Fleet (rancher/fleet
    `internal/helmdeployer`). Raises UsageError for what is not there, ToolFailed where the rights
    of `kube` do not reach.
    """
    references_in_order = [ref for entry in references(options) for ref in refs_of(entry)]
    return [
        await _read_reference(kube, kind, ref, namespace, copies)
        for kind, ref in references_in_order
    ]


def refs_of(entry: ValuesFrom) -> list[tuple[str, KeyRef]]:
    """(kind, reference) of an entry, the ConfigMap first. Raises UsageError for an entry that names
    nothing.
    """
    candidates = (("ConfigMap", entry.config_map_key_ref), ("Secret", entry.secret_key_ref))
    refs = [(kind, ref) for kind, ref in candidates if ref is not None]
    if not refs:
        raise UsageError(
            "helm.valuesFrom names nothing",
            subject="helm.valuesFrom",
            next_step="Give a secretKeyRef or a configMapKeyRef.",
        )
    return refs


async def _read_reference(
    kube: Kube, kind: str, ref: KeyRef, namespace: str, copies: Sequence[DownstreamCopy]
) -> JsonObject:
    """A ConfigMap's or Secret's values, read in this cluster. Raises UsageError when it is not
    there or holds no map.
    """
    place, key = ref.namespace or namespace, ref.key or "values.yaml"
    subject = f"{kind} {place}/{ref.name}"
    if not is_name(ref.name) or not is_name(place, limit=63):
        raise UsageError(
            f"helm.valuesFrom: {subject[:200]!r} cannot exist",
            subject="helm.valuesFrom",
            next_step="Correct the name.",
        )
    own_copy = next(
        (
            copy
            for copy in copies
            if place == namespace and (copy.kind, copy.name) == (kind, ref.name)
        ),
        None,
    )
    data = own_copy.content.data if own_copy else await _data(kube, kind, place, ref.name)
    if key not in data:
        raise UsageError(
            f"helm.valuesFrom: {subject} has no key {key}",
            subject=subject,
            next_step="Name a key that it has.",
        )
    return _load_values(
        base64.b64decode(data[key]) if own_copy or kind == "Secret" else data[key], subject, key
    )


async def _data(kube: Kube, kind: str, namespace: str, name: str) -> JsonObject:
    subject = f"{kind} {namespace}/{name}"
    try:
        item = await kube.call(
            "GET", in_namespace(namespace, "secrets" if kind == "Secret" else "configmaps", name)
        )
    except NotFound as error:
        raise UsageError(
            f"helm.valuesFrom: {subject} does not exist",
            subject=subject,
            next_step="Create it on the cluster.",
        ) from error
    return item.get("data") or {}


def _load_values(text: bytes | str, subject: str, key: str) -> JsonObject:
    """What the parser says of it is not passed on: it may quote."""
    try:
        values = load(text, file=subject)
    except InvalidFile as error:
        line = f", line {error.line}" if error.line else ""
        raise UsageError(
            f"helm.valuesFrom: {key} of {subject} is not YAML{line}",
            subject=subject,
            next_step="Correct it on the cluster.",
        ) from None
    if not isinstance(values, dict | None):
        raise UsageError(
            f"helm.valuesFrom: {subject} does not contain a map",
            subject=subject,
            next_step="Write `key: value` lines.",
        )
    return values or {}


def fingerprint(state_dir: Path, values: Sequence[JsonObject]) -> str:
    """By which a change is noticed without keeping the values; "" for none. Raises OSError when the
    first one cannot keep its key.
    """
    if not values:
        return ""
    return code_of(key_of(state_dir), msgspec.json.encode(values, order="sorted"))


@contextlib.contextmanager
def hide_in_errors(values: Sequence[Any]) -> Iterator[None]:
    """What is raised inside quotes none of `values`, and nothing that a template may have computed
    from them.
    """
    try:
        yield
    except FleetError as error:
        error.summary = hide_values(error.summary, values)
        if values and isinstance(error, ToolFailed | RenderFailed):
            error.summary = without_quotes(error.summary)
        error.subject, error.next_step = (
            hide_values(error.subject, values),
            hide_values(error.next_step, values),
        )
        error.args = (error.summary,)
        raise


def hide_values(text: str, values: Sequence[Any]) -> str:
    """`text` with *** for each value, also as it stands in JSON, in base64, or broken off at the
    end of the text.
    """
    forms = sorted(
        {form for leaf in _leaves(values) for form in _forms(leaf)}, key=len, reverse=True
    )
    for form in forms:
        text = re.sub(re.escape(form), _MASK, text, flags=re.IGNORECASE)
    for form in forms:
        for length in range(min(len(form), len(text)) - 1, 2 * _LEAST_HIDDEN - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + _MASK
    return text


def without_quotes(text: str) -> str:
    """A tool's message without what it may quote: a template can change a value in any way, so that
    it cannot be recognised.

    The place and the kind of the error stay, and an object's name, which every reader of the
    cluster sees.
    """
    text = _TEMPLATE_STOP.sub(
        r"\1the template stopped (its message is hidden: the values come from the cluster)", text
    )
    text = _BARE_VALUE.sub(rf"\1{_MASK}", text)
    return _QUOTED_TEXT.sub(
        lambda match: (
            match[0] if match[1] or _PLACE.fullmatch(match[3]) else f"{match[2]}{_MASK}{match[2]}"
        ),
        text,
    )


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif value is not None and not isinstance(value, bool) and len(str(value)) >= _LEAST_HIDDEN:
        yield str(value)


def _forms(leaf: str) -> Iterator[str]:
    """As it is, as JSON and Go quote it, in base64; of several lines each, joined as errors are,
    and alone.
    """
    yield leaf
    yield json.dumps(leaf)[1:-1]
    yield json.dumps(leaf, ensure_ascii=False)[1:-1]
    yield base64.b64encode(leaf.encode()).decode()
    lines = [line.strip() for line in leaf.splitlines()]
    if len(lines) > 1:
        yield " ".join(line for line in lines if line)
        yield from (line for line in lines if len(line) >= 2 * _LEAST_HIDDEN)
