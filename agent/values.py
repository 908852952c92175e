"""What `helm.valuesFrom` names on this cluster: read with the bundle's rights, known again by an HMAC, and never told to anybody.

Rule: a value lives in memory and on helm's standard input. The journal keeps an HMAC under a key of this state directory, because a plain
hash of a short password can be guessed; an error that quotes a value is cut before it is logged or reported.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.errors import FleetError, InvalidFile, NotFound, UsageError
from fleetctl.core.options import Options, ValuesFrom
from fleetctl.core.yamldoc import load

from .hidden import code_of, key_of
from .kube import Kube

_LEAST_CUT = 3  # a shorter value is in every other word, and no secret
_CUT = "***"


def references(options: Options) -> list[ValuesFrom]:
    return list(options.helm.values_from or []) if options.helm else []


async def read(kube: Kube, options: Options, namespace: str) -> list[dict[str, Any]]:
    """In the order of the references; `namespace` where one names none. Raises UsageError for what is not there, ToolFailed where the
    rights of `kube` do not reach.
    """
    return [await _one(kube, reference, namespace) for reference in references(options)]


async def _one(kube: Kube, reference: ValuesFrom, namespace: str) -> dict[str, Any]:
    """A ConfigMap's or Secret's values, read in this cluster. Raises UsageError when it is not there or holds no map."""
    ref = reference.secret_key_ref or reference.config_map_key_ref
    if ref is None:
        raise UsageError("helm.valuesFrom names nothing", subject="helm.valuesFrom", next_step="Give a secretKeyRef or a configMapKeyRef.")
    kind, plural = ("Secret", "secrets") if reference.secret_key_ref else ("ConfigMap", "configmaps")
    place, key = ref.namespace or namespace, ref.key or "values.yaml"
    shown = f"{kind} {place}/{ref.name}"
    try:
        data = (await kube.call("GET", f"/api/v1/namespaces/{place}/{plural}/{ref.name}")).get("data") or {}
    except NotFound as why:
        raise UsageError(f"helm.valuesFrom: {shown} does not exist", subject=shown, next_step="Create it on the cluster.") from why
    if key not in data:
        raise UsageError(f"helm.valuesFrom: {shown} has no key {key}", subject=shown, next_step="Name a key that it has.")
    return _loaded(base64.b64decode(data[key]) if kind == "Secret" else data[key], shown, key)


def _loaded(text: bytes | str, shown: str, key: str) -> dict[str, Any]:
    """What the parser says of it is not passed on: it may quote."""
    try:
        found = load(text, file=shown)
    except InvalidFile as why:
        line = f", line {why.line}" if why.line else ""
        raise UsageError(f"helm.valuesFrom: {key} of {shown} is not YAML{line}", subject=shown, next_step="Correct it there.") from None
    if not isinstance(found, dict | None):
        raise UsageError(f"helm.valuesFrom: {shown} holds no map", subject=shown, next_step="Write `key: value` lines.")
    return found or {}


def fingerprint(state_dir: Path, values: Sequence[dict[str, Any]]) -> str:
    """By which a change is noticed without keeping the values; "" for none. Raises OSError when the first one cannot keep its key."""
    if not values:
        return ""
    return code_of(key_of(state_dir), msgspec.json.encode(values, order="sorted"))


@contextlib.contextmanager
def kept_out_of_errors(values: Sequence[Any]) -> Iterator[None]:
    """What is raised inside quotes none of `values`: helm's own words may."""
    try:
        yield
    except FleetError as error:
        error.summary = cut(error.summary, values)
        error.subject, error.next_step = cut(error.subject, values), cut(error.next_step, values)
        error.args = (error.summary,)
        raise


def cut(text: str, values: Sequence[Any]) -> str:
    """`text` with *** for each value, also as it stands in JSON, in base64, or broken off at the end of the text."""
    forms = sorted({form for leaf in _leaves(values) for form in _forms(leaf)}, key=len, reverse=True)
    for form in forms:
        text = text.replace(form, _CUT)
    for form in forms:
        for length in range(min(len(form), len(text)) - 1, 2 * _LEAST_CUT - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + _CUT
    return text


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif value is not None and not isinstance(value, bool) and len(str(value)) >= _LEAST_CUT:
        yield str(value)


def _forms(leaf: str) -> Iterator[str]:
    """As it is, as JSON and Go quote it, in base64; of several lines each, joined as errors are, and alone."""
    yield leaf
    yield json.dumps(leaf)[1:-1]
    yield json.dumps(leaf, ensure_ascii=False)[1:-1]
    yield base64.b64encode(leaf.encode()).decode()
    lines = [line.strip() for line in leaf.splitlines()]
    if len(lines) > 1:
        yield " ".join(line for line in lines if line)
        yield from (line for line in lines if len(line) >= 2 * _LEAST_CUT)
