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

from fleetctl.core.model.status import Difference
from fleetctl.tools.field_substitution import list_index

Json = dict[str, Any]
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)([eE][+-]?\d+|[numkKMGTPE]i?)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SKIPPED = frozenset(
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
_HIDDEN = "(not shown)"
_LAST_APPLIED = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"


class Missing:
    """The one value of something that is not there; None is null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


class FieldChange(NamedTuple):
    """At this JSON pointer Git wants one value and the cluster has another."""

    pointer: str
    wanted: Any
    live: Any


def differences(wanted: Json, live: Json) -> dict[str, Any]:
    """{JSON pointer: live value} of each stated field that the live object has otherwise; a missing
    one is None.
    """
    found: dict[str, Any] = {}
    _compare(_as_kept(wanted), live, "", found)
    return found


def changes(would_be: Json, live: Json) -> list[FieldChange]:
    """What applying again would change, the API server's own bookkeeping left out."""
    found: list[FieldChange] = []
    _changes(_stripped(would_be), _stripped(live), "", found)
    return found


def stated(wanted: Json, differing: dict[str, Any]) -> list[FieldChange]:
    """What `differences` found, with what is wanted there: for where no dry run is to be had."""
    return [
        FieldChange(pointer, _at(_as_kept(wanted), pointer), MISSING if live is None else live)
        for pointer, live in differing.items()
    ]


def shown(kind: str, found: Sequence[FieldChange]) -> list[Difference]:
    """For people: at most 20, values cut, those of a Secret not at all."""
    return [
        Difference(pointer=c.pointer, wanted=_text(kind, c, c.wanted), live=_text(kind, c, c.live))
        for c in found[:_MOST_SHOWN]
    ]


def sentence(kind: str, found: Sequence[FieldChange]) -> str:
    """The first changes with both values: `data.greeting is "hello", Git has "good evening"`.
    Values of a Secret are not shown.
    """
    parts = [_versus(kind, change) for change in found[:_MOST_IN_SENTENCE]]
    more = len(found) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


def _versus(kind: str, change: FieldChange) -> str:
    field = dotted(change.pointer)
    if _is_secret(kind, change.pointer):
        if change.live is MISSING or change.wanted is MISSING:
            return (
                f"{field} is missing"
                if change.live is MISSING
                else f"{field} is there, Git has none"
            )
        return f"{field} is not what Git has (values of a Secret are not shown)"
    wanted, live = (_brief(_text(kind, change, value)) for value in (change.wanted, change.live))
    return f"{field} is {live or 'missing'}, Git has {wanted or 'none'}"


def _brief(text: str) -> str:
    return text if len(text) <= _MOST_BRIEF else text[: _MOST_BRIEF - 1] + "…"


def dotted(pointer: str) -> str:
    """A JSON pointer as people write a field: `spec.ports[0].name`, `metadata.labels["a.b/c"]`."""
    shown = ""
    for step in steps_of(pointer):
        if step.isdigit():
            shown += f"[{step}]"
        else:
            shown += f".{step}" if _WORD.fullmatch(step) else f'["{step}"]'
    return shown.removeprefix(".")


def patch(kind: str, found: Iterable[FieldChange]) -> str:
    """The merge patch that would put it right, as Fleet shows it; in a list the items stand by
    their number. At most 2 KiB.
    """
    tree: Json = {}
    for change in found:
        steps = steps_of(change.pointer)
        value = (
            None
            if change.wanted is MISSING
            else _HIDDEN
            if _is_secret(kind, change.pointer)
            else change.wanted
        )
        here = tree
        for step in steps[:-1]:
            below = here.setdefault(step, {})
            here = below if isinstance(below, dict) else {}
        here[steps[-1]] = value
    text = msgspec.json.encode(tree).decode()
    return text if len(text) <= _MOST_PATCH else text[: _MOST_PATCH - 1] + "…"


def steps_of(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def pointer_to(path: str, step: object) -> str:
    return f"{path}/{str(step).replace('~', '~0').replace('/', '~1')}"


def _is_secret(kind: str, pointer: str) -> bool:
    return pointer.startswith(_LAST_APPLIED) or (
        kind == "Secret" and not pointer.startswith(("/metadata/labels", "/type"))
    )


def _text(kind: str, change: FieldChange, value: Any) -> str:
    """A value as JSON in at most 240 characters, "" for one that is not there."""
    if value is MISSING:
        return ""
    if _is_secret(kind, change.pointer):
        return _HIDDEN
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_VALUE else text[: _MOST_VALUE - 1] + "…"


def _as_kept(wanted: Json) -> Json:
    """As the API server keeps it: a Secret's `stringData` goes into `data`."""
    if wanted.get("kind") != "Secret" or not isinstance(wanted.get("stringData"), dict):
        return wanted
    plain = {
        key: base64.b64encode(str(value).encode()).decode()
        for key, value in wanted["stringData"].items()
    }
    return {
        **{k: v for k, v in wanted.items() if k != "stringData"},
        "data": {**(wanted.get("data") or {}), **plain},
    }


def _stripped(item: Json) -> Json:
    meta = {
        key: value for key, value in (item.get("metadata") or {}).items() if key not in _BOOKKEEPING
    }
    return {
        key: value for key, value in item.items() if key not in {"status", "apiVersion", "kind"}
    } | {"metadata": meta}


def _at(item: Any, pointer: str) -> Any:
    for step in steps_of(pointer):
        if isinstance(item, dict):
            item = item.get(step, MISSING)
        elif isinstance(item, list) and (index := list_index(step, item)) is not None:
            item = item[index]
        else:
            return MISSING
    return item


def _changes(would_be: Any, live: Any, path: str, found: list[FieldChange]) -> None:
    if isinstance(would_be, dict) and isinstance(live, dict):
        for key in [*would_be, *(k for k in live if k not in would_be)]:
            _changes(
                would_be.get(key, MISSING), live.get(key, MISSING), pointer_to(path, key), found
            )
    elif (
        isinstance(would_be, list)
        and isinstance(live, list)
        and (pairs := _paired(would_be, live)) is not None
    ):
        for at, one, other in pairs:
            _changes(one, other, pointer_to(path, at), found)
    elif would_be != live or type(would_be) is not type(live):
        found.append(FieldChange(path, would_be, live))


def _paired(would_be: list[Any], live: list[Any]) -> list[tuple[int, Any, Any]] | None:
    """Items that belong together, by the key that their list has; None for a list that is one
    value.
    """
    if would_be == live:
        return []
    for name in _LIST_KEYS:
        mine, theirs = _keyed(would_be, name), _keyed(live, name)
        if mine is None or theirs is None:
            continue
        if [k for k in mine if k in theirs] != [k for k in theirs if k in mine]:
            return None  # in another order
        pairs = [
            (at, item, theirs[key][1] if key in theirs else MISSING)
            for key, (at, item) in mine.items()
        ]
        return pairs + [
            (at, MISSING, item) for key, (at, item) in theirs.items() if key not in mine
        ]
    if len(would_be) == len(live) and all(isinstance(item, dict) for item in (*would_be, *live)):
        return [
            (at, one, other) for at, (one, other) in enumerate(zip(would_be, live, strict=True))
        ]
    return None


def _keyed(items: list[Any], name: str) -> dict[str, tuple[int, Any]] | None:
    """By the value of `name`, when each item is a map that has its own."""
    found = {
        repr(item[name]): (at, item)
        for at, item in enumerate(items)
        if isinstance(item, dict) and name in item
    }
    return found if len(found) == len(items) else None


def _compare(wanted: Any, live: Any, path: str, found: dict[str, Any]) -> None:
    if (
        path in _SKIPPED
        or wanted is None
        or (wanted in ({}, [], "") and live in (None, {}, [], ""))
    ):
        return
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            _compare(value, live.get(key), pointer_to(path, key), found)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for at, (one, other) in enumerate(zip(wanted, live, strict=True)):
            _compare(one, other, f"{path}/{at}", found)
    elif not _same(wanted, live):
        found[path] = live


def _same(wanted: Any, live: Any) -> bool:
    if wanted == live:
        return True
    if isinstance(wanted, bool) or isinstance(live, bool):
        return False
    if isinstance(wanted, str | int | float) and isinstance(live, str | int | float):
        one, other = _amount(str(wanted)), _amount(str(live))
        return one is not None and one == other
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
