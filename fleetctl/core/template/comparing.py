"""Comparisons, emptiness and types: Go's eq and its like, sprig's default and its like."""

from __future__ import annotations

from typing import Any

from fleetctl.core import semver
from fleetctl.core.errors import UsageError
from fleetctl.core.template.calling import Function, truth
from fleetctl.core.template.errors import Mistake
from fleetctl.core.template.show import kind_of, type_of


def _kind(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "string" if isinstance(value, str) else "other"


def _equal(left: Any, right: Any) -> bool:
    kinds = _kind(left), _kind(right)
    if "other" in kinds:
        raise Mistake(f"non-comparable type {type_of(left if kinds[0] == 'other' else right)}")
    if "nil" in kinds:
        return kinds == ("nil", "nil")
    if kinds[0] != kinds[1]:
        raise Mistake("incompatible types for comparison")
    return bool(left == right)


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise Mistake("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _less(left: Any, right: Any) -> bool:
    kinds = _kind(left), _kind(right)
    if kinds[0] in {"bool", "nil", "other"} or kinds[1] in {"nil", "other"}:
        raise Mistake("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise Mistake("incompatible types for comparison")
    return bool(left < right)


def _or_equal(left: Any, right: Any) -> bool:
    return _less(left, right) or _equal(left, right)


def _default(fallback: Any, *given: Any) -> Any:
    return given[0] if given and truth(given[0]) else fallback


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if truth(value)), None)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise Mistake("len of nil pointer" if value is None else f"len of type {type_of(value)}")


def deep_equal(left: Any, right: Any) -> bool:
    if type_of(left) != type_of(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(deep_equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(deep_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def _semver_compare(constraint: str, version: str) -> bool:
    if semver.parse(version) is None:
        raise Mistake(f"{version!r} is no version")
    try:
        return semver.best(constraint, [version]) is not None
    except UsageError as why:
        raise Mistake(why.summary) from why


FUNCTIONS: dict[str, Function] = {
    "eq": Function("aa*", _eq),
    "ne": Function("aa", lambda a, b: not _equal(a, b)),
    "lt": Function("aa", _less),
    "le": Function("aa", _or_equal),
    "gt": Function("aa", lambda a, b: not _or_equal(a, b)),
    "ge": Function("aa", lambda a, b: not _less(a, b)),
    "not": Function("a", lambda value: not truth(value)),
    "len": Function("a", _len),
    "default": Function("aa*", _default),
    "empty": Function("a", lambda value: not truth(value)),
    "coalesce": Function("a*", _coalesce),
    "all": Function("a*", lambda *values: all(map(truth, values))),
    "any": Function("a*", lambda *values: any(map(truth, values))),
    "ternary": Function("aab", lambda yes, no, test: yes if test else no),
    "kindOf": Function("a", kind_of),
    "kindIs": Function("sa", lambda kind, value: kind_of(value) == kind),
    "typeOf": Function("a", type_of),
    "typeIs": Function("sa", lambda kind, value: type_of(value) == kind),
    "typeIsLike": Function("sa", lambda kind, value: type_of(value) in {kind, "*" + kind}),
    "deepEqual": Function("aa", deep_equal),
    "semverCompare": Function("ss", _semver_compare),
    "hello": Function("", lambda: "Hello!"),
}
