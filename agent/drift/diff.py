"""How a live object differs from what was applied. Pure.

Two comparisons: `differences` is the cheap filter, of the stated fields alone; what the API server
writes in another form (defaults inside lists, quantities) makes it say too much, never too little.
`changes` compares the live object with what the API server itself says it would become if it were
applied again (a dry run): that is the truth.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.status import Difference
from fleetctl.core.text.json_pointer import pointer_below, pointer_steps
from fleetctl.tools.field_substitution import list_index

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)([eE][+-]?\d+|[numkKMGTPE]i?)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SKIPPED_FIELDS = frozenset(
    {"/status", "/apiVersion", "/kind", "/metadata/namespace", "/metadata/creationTimestamp"}
)
# What the API server keeps of an object: no part of what anybody wanted.
_BOOKKEEPING = (
    "managedFields",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "uid",
    "selfLink",
)
_LIST_KEYS = (
    "name",
    "key",
    "type",
    "mountPath",
    "devicePath",
    "containerPort",
    "port",
    "ip",
    "topologyKey",
    "uid",
)
_MOST_PATCH, _MOST_VALUE, _MOST_SHOWN = 2048, 240, 20
_MOST_IN_SENTENCE, _MOST_BRIEF = 2, 80
_WORD = re.compile(r"[\w-]+")
_HIDDEN_TEXT = "(not shown)"
_LAST_APPLIED = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"


class Missing:
    """The one value of something that is not there; None is null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


class FieldChange(NamedTuple):
    """At this JSON pointer Git wants one value and the cluster has another."""

    pointer: str
    git_value: Any
    live: Any


def differences(manifest: JsonObject, live: JsonObject) -> JsonObject:
    """{JSON pointer: live value} of each stated field that the live object has otherwise; a missing
    one is None.
    """
    differing: JsonObject = {}
    _compare(_as_stored(manifest), live, "", differing)
    return differing


def changes(would_be: JsonObject, live: JsonObject) -> list[FieldChange]:
    """What applying again would change, the API server's own bookkeeping left out."""
    result: list[FieldChange] = []
    _changes(_without_bookkeeping(would_be), _without_bookkeeping(live), "", result)
    return result


def to_changes(manifest: JsonObject, differing: JsonObject) -> list[FieldChange]:
    """What `differences` found, with what is wanted there: for where no dry run is to be had."""
    return [
        FieldChange(
            pointer, _value_at(_as_stored(manifest), pointer), MISSING if live is None else live
        )
        for pointer, live in differing.items()
    ]


def to_differences(kind: str, field_changes: Sequence[FieldChange]) -> list[Difference]:
    """For people: at most 20, values cut, those of a Secret not at all."""
    return [
        Difference(
            pointer=c.pointer, wanted=_text(kind, c, c.git_value), live=_text(kind, c, c.live)
        )
        for c in field_changes[:_MOST_SHOWN]
    ]


def sentence(kind: str, field_changes: Sequence[FieldChange]) -> str:
    """The first changes with both values: `data.greeting is "hello", Git has "good evening"`.
    Values of a Secret are not shown.
    """
    parts = [_versus(kind, change) for change in field_changes[:_MOST_IN_SENTENCE]]
    rest_count = len(field_changes) - len(parts)
    return "; ".join(parts) + (f"; and {rest_count} more" if rest_count else "")


def _versus(kind: str, change: FieldChange) -> str:
    field = format_field(change.pointer)
    if _is_secret(kind, change.pointer):
        if change.live is MISSING or change.git_value is MISSING:
            return (
                f"{field} is missing"
                if change.live is MISSING
                else f"{field} is there, Git has none"
            )
        return f"{field} differs from Git (values of a Secret are not shown)"
    git_value, live = (
        _brief(_text(kind, change, value)) for value in (change.git_value, change.live)
    )
    return f"{field} is {live or 'missing'}, Git has {git_value or 'none'}"


def _brief(text: str) -> str:
    return text if len(text) <= _MOST_BRIEF else text[: _MOST_BRIEF - 1] + "…"


def format_field(pointer: str) -> str:
    """A JSON pointer as people write a field: `spec.ports[0].name`, `metadata.labels["a.b/c"]`."""
    text = ""
    for step in steps_of(pointer):
        if step.isdigit():
            text += f"[{step}]"
        else:
            text += f".{step}" if _WORD.fullmatch(step) else f'["{step}"]'
    return text.removeprefix(".")


def patch(kind: str, field_changes: Iterable[FieldChange]) -> str:
    """The merge patch that would put it right, as Fleet shows it; in a list the items stand by
    their number. At most 2 KiB.
    """
    tree: JsonObject = {}
    for change in field_changes:
        steps = steps_of(change.pointer)
        value = (
            None
            if change.git_value is MISSING
            else _HIDDEN_TEXT
            if _is_secret(kind, change.pointer)
            else change.git_value
        )
        node = tree
        for step in steps[:-1]:
            child = node.setdefault(step, {})
            node = child if isinstance(child, dict) else {}
        node[steps[-1]] = value
    text = msgspec.json.encode(tree).decode()
    return text if len(text) <= _MOST_PATCH else text[: _MOST_PATCH - 1] + "…"


def steps_of(pointer: str) -> list[str]:
    """Return the steps of a pointer. An empty one is the key "", so that a rule without a pointer
    ignores nothing.
    """
    return pointer_steps(pointer or "/")


def _is_secret(kind: str, pointer: str) -> bool:
    return pointer.startswith(_LAST_APPLIED) or (
        kind == "Secret" and not pointer.startswith(("/metadata/labels", "/type"))
    )


def _text(kind: str, change: FieldChange, value: Any) -> str:
    """A value as JSON in at most 240 characters, "" for one that is not there."""
    if value is MISSING:
        return ""
    if _is_secret(kind, change.pointer):
        return _HIDDEN_TEXT
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_VALUE else text[: _MOST_VALUE - 1] + "…"


def _as_stored(manifest: JsonObject) -> JsonObject:
    """The object as the API server stores it: the `stringData` of a Secret is part of `data`."""
    if manifest.get("kind") != "Secret" or not isinstance(manifest.get("stringData"), dict):
        return manifest
    plain = {
        key: base64.b64encode(str(value).encode()).decode()
        for key, value in manifest["stringData"].items()
    }
    return {
        **{k: v for k, v in manifest.items() if k != "stringData"},
        "data": {**(manifest.get("data") or {}), **plain},
    }


def _without_bookkeeping(item: JsonObject) -> JsonObject:
    meta = {
        key: value for key, value in (item.get("metadata") or {}).items() if key not in _BOOKKEEPING
    }
    return {
        key: value for key, value in item.items() if key not in {"status", "apiVersion", "kind"}
    } | {"metadata": meta}


def _value_at(item: Any, pointer: str) -> Any:
    for step in steps_of(pointer):
        if isinstance(item, dict):
            item = item.get(step, MISSING)
        elif isinstance(item, list) and (index := list_index(step, item)) is not None:
            item = item[index]
        else:
            return MISSING
    return item


def _changes(would_be: Any, live: Any, path: str, result: list[FieldChange]) -> None:
    if isinstance(would_be, dict) and isinstance(live, dict):
        for key in [*would_be, *(k for k in live if k not in would_be)]:
            _changes(
                would_be.get(key, MISSING), live.get(key, MISSING), pointer_below(path, key), result
            )
    elif (
        isinstance(would_be, list)
        and isinstance(live, list)
        and (pairs := _pair_items(would_be, live)) is not None
    ):
        for index, desired_item, live_item in pairs:
            _changes(desired_item, live_item, pointer_below(path, index), result)
    elif would_be != live or type(would_be) is not type(live):
        result.append(FieldChange(path, would_be, live))


def _pair_items(would_be: list[Any], live: list[Any]) -> list[tuple[int, Any, Any]] | None:
    """Items that belong together, by the key that their list has; None for a list that is one
    value.
    """
    if would_be == live:
        return []
    for name in _LIST_KEYS:
        desired_items, live_items = _index_by_key(would_be, name), _index_by_key(live, name)
        if desired_items is None or live_items is None:
            continue
        if [k for k in desired_items if k in live_items] != [
            k for k in live_items if k in desired_items
        ]:
            return None  # in another order
        pairs = [
            (index, item, live_items[key][1] if key in live_items else MISSING)
            for key, (index, item) in desired_items.items()
        ]
        return pairs + [
            (index, MISSING, item)
            for key, (index, item) in live_items.items()
            if key not in desired_items
        ]
    if len(would_be) == len(live) and all(isinstance(item, dict) for item in (*would_be, *live)):
        return [
            (index, desired_item, live_item)
            for index, (desired_item, live_item) in enumerate(zip(would_be, live, strict=True))
        ]
    return None


def _index_by_key(items: list[Any], name: str) -> dict[str, tuple[int, Any]] | None:
    """By the value of `name`, when each item is a map that has its own."""
    result = {
        repr(item[name]): (index, item)
        for index, item in enumerate(items)
        if isinstance(item, dict) and name in item
    }
    return result if len(result) == len(items) else None


def _compare(git_value: Any, live: Any, path: str, differing: JsonObject) -> None:
    if (
        path in _SKIPPED_FIELDS
        or git_value is None
        or (git_value in ({}, [], "") and live in (None, {}, [], ""))
    ):
        return
    if isinstance(git_value, dict) and isinstance(live, dict):
        for key, value in git_value.items():
            _compare(value, live.get(key), pointer_below(path, key), differing)
    elif isinstance(git_value, list) and isinstance(live, list) and len(git_value) == len(live):
        for index, (desired_item, live_item) in enumerate(zip(git_value, live, strict=True)):
            _compare(desired_item, live_item, f"{path}/{index}", differing)
    elif not _is_same_value(git_value, live):
        differing[path] = live


def _is_same_value(git_value: Any, live: Any) -> bool:
    if git_value == live:
        return True
    if isinstance(git_value, bool) or isinstance(live, bool):
        return False
    if isinstance(git_value, str | int | float) and isinstance(live, str | int | float):
        desired_amount, live_amount = _amount(str(git_value)), _amount(str(live))
        return desired_amount is not None and desired_amount == live_amount
    return False


def _amount(text: str) -> Decimal | None:
    """A Kubernetes quantity as a number, so that 1000m is 1 and 0.5Gi is 512Mi."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        return None
    unit = match[2] or ""
    try:
        number = Decimal(match[1])
        if unit in _BINARY:
            return number * Decimal(1024 ** _BINARY[unit])
        return number.scaleb(_POWERS[unit]) if unit in _POWERS else Decimal(match[1] + unit)
    except InvalidOperation:
        return None
