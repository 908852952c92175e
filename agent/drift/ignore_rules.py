"""What a bundle says must not count: fields and objects of `diff.comparePatches`, and conditions of
`ignore.conditions`. Pure.

How rules match follows rancher/fleet `internal/cmd/agent/deployer/desiredset`: kind and API group
are equal, an empty namespace or name is any, a name is also tried as a regular expression. Fields
are taken out of both sides before they are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fleetctl.core.documents.diff_entries import LEAVE_OUT
from fleetctl.core.formats.regex import InvalidRegex, compile_regex
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import ComparePatch, Options
from fleetctl.core.text.json_pointer import pointer_below
from fleetctl.tools.field_substitution import list_index, lookup

from .diff import MISSING, FieldChange, steps_of

_NEGATIVE = re.compile(r"-[1-9][0-9]{0,8}")
_EMPTY_VALUES: tuple[Any, ...] = (MISSING, None, {}, [])


@dataclass(frozen=True)
class Rules:
    """`conditions`: each a map that a condition must hold to be passed over."""

    patches: Sequence[ComparePatch] = ()
    conditions: Sequence[dict[str, str]] = ()

    def passes_over(self, item: JsonObject) -> bool:
        """Whether the whole object is left to itself."""
        return any(
            operation.op == "ignore"
            for rule in self._for(item)
            for operation in rule.operations or []
        )

    def pointers(self, item: JsonObject) -> list[str]:
        """JSON pointers of the fields that do not count.

        Fleet applies each operation to both sides before it compares them (rancher/fleet
        `desiredset/diff.go`), so that what `path` names is equal afterwards, whatever the value:
        `add`, `remove` and `replace` leave a field out. An `add` to a list only inserts into both,
        and `test` changes nothing. Fleet's operations have no `from`, so `move` and `copy` do
        nothing, there and here. In Fleet one operation that does not fit voids the others for that
        object; here it has no effect.
        """
        pointers: list[str] = []
        for rule in self._for(item):
            pointers += rule.json_pointers or []
            operations = (
                operation for operation in rule.operations or [] if operation.op in LEAVE_OUT
            )
            pointers += [
                o.path for o in operations if not (o.op == "add" and _is_in_list(o.path, item))
            ]
        return list(
            dict.fromkeys(
                _without_negative(pointer, item) for pointer in pointers if pointer.startswith("/")
            )
        )

    def _for(self, item: JsonObject) -> Iterable[ComparePatch]:
        return (rule for rule in self.patches if _matches(rule, item))

    def healthy_view(self, live: JsonObject) -> JsonObject:
        """The live object without the conditions that do not count."""
        status = live.get("status")
        conditions = status.get("conditions") if isinstance(status, dict) else None
        if not self.conditions or not isinstance(status, dict) or not isinstance(conditions, list):
            return live
        counted_conditions = [
            c for c in conditions if not any(_holds(c, pattern) for pattern in self.conditions)
        ]
        return {**live, "status": {**status, "conditions": counted_conditions}}


NONE = Rules()


def rules_of(options: Options) -> Rules:
    patches = (options.diff.compare_patches if options.diff else None) or ()
    conditions = (options.ignore.conditions if options.ignore else None) or ()
    return Rules(patches, conditions)


def without(item: JsonObject, pointers: Iterable[str]) -> JsonObject:
    """`item` without the fields at `pointers`. A pointer to a missing field changes nothing."""
    result = _without(item, pointers)
    return result if isinstance(result, dict) else {}


def outside_pointers(
    field_changes: Iterable[FieldChange], pointers: Sequence[str]
) -> list[FieldChange]:
    """Those of the changes that do not lie at `pointers`; of a change that holds one of them, what
    is left without it.
    """
    remaining: list[FieldChange] = []
    for change in field_changes:
        if any(change.pointer == p or change.pointer.startswith(f"{p}/") for p in pointers):
            continue
        below = [
            p.removeprefix(change.pointer) for p in pointers if p.startswith(f"{change.pointer}/")
        ]
        git_value, live = _without(change.git_value, below), _without(change.live, below)
        if not below or (
            git_value != live and not (git_value in _EMPTY_VALUES and live in _EMPTY_VALUES)
        ):
            remaining.append(change._replace(git_value=git_value, live=live))
    return remaining


def _without(value: Any, pointers: Iterable[str]) -> Any:
    for pointer in pointers:
        value = _remove_field(value, steps_of(pointer))
    return value


def _is_in_list(pointer: str, item: JsonObject) -> bool:
    return pointer.startswith("/") and isinstance(lookup(item, steps_of(pointer)[:-1])[1], list)


def _without_negative(pointer: str, item: JsonObject) -> str:
    """The pointer with `-1`, which Fleet's library takes for the last item of a list, as the number
    that it is in `item`.
    """
    result = ""
    value: Any = item
    for step in steps_of(pointer):
        if isinstance(value, list) and _NEGATIVE.fullmatch(step) and int(step) + len(value) >= 0:
            step = str(int(step) + len(value))
        result, value = pointer_below(result, step), lookup(value, [step])[1]
    return result


def _matches(rule: ComparePatch, item: JsonObject) -> bool:
    meta = item.get("metadata") or {}
    group = _group(str(item.get("apiVersion", "")))
    if not fnmatchcase(str(item.get("kind")), rule.kind or "") or not fnmatchcase(
        group, _group(rule.api_version or "")
    ):
        return False
    if rule.namespace and rule.namespace != (meta.get("namespace") or ""):
        return False
    return (
        not rule.name
        or rule.name == meta.get("name")
        or _fits(rule.name, str(meta.get("name", "")))
    )


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _fits(pattern: str, name: str) -> bool:
    try:
        return compile_regex(pattern).is_match(name)
    except InvalidRegex:
        return False


def _holds(condition: Any, pattern: dict[str, str]) -> bool:
    return (
        isinstance(condition, dict)
        and bool(pattern)
        and all(str(condition.get(key)) == value for key, value in pattern.items())
    )


def _remove_field(value: Any, steps: list[str]) -> Any:
    head, *rest = steps
    if isinstance(value, dict) and head in value:
        if not rest:
            return {key: item for key, item in value.items() if key != head}
        return {**value, head: _remove_field(value[head], rest)}
    if isinstance(value, list) and (at := list_index(head, value)) is not None:
        return [*value[:at], *([_remove_field(value[at], rest)] if rest else []), *value[at + 1 :]]
    return value
