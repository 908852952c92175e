"""Comparisons, emptiness and types: Go's eq and its like, sprig's default and its like."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from fleetctl.core.formats import semver
from fleetctl.core.gotemplate.calling import Function, truth
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.show import kind_of, type_of
from fleetctl.core.model.errors import UsageError


def _kind(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "string" if isinstance(value, str) else "other"


def _equal(budget: TemplateBudget, left: Any, right: Any) -> bool:
    kinds = _kind(left), _kind(right)
    if "other" in kinds:
        raise TemplateMistake(
            f"non-comparable type {type_of(left if kinds[0] == 'other' else right)}"
        )
    if "nil" in kinds:
        return kinds == ("nil", "nil")
    if kinds[0] != kinds[1]:
        raise TemplateMistake("incompatible types for comparison")
    if isinstance(left, str):
        budget.spend(min(len(left), len(right)))
    return bool(left == right)


def _eq(budget: TemplateBudget, first: Any, *candidates: Any) -> bool:
    if not candidates:
        raise TemplateMistake("missing argument for comparison")
    return any(_equal(budget, first, other) for other in candidates)


def _less(budget: TemplateBudget, left: Any, right: Any) -> bool:
    kinds = _kind(left), _kind(right)
    if kinds[0] in {"bool", "nil", "other"} or kinds[1] in {"nil", "other"}:
        raise TemplateMistake("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise TemplateMistake("incompatible types for comparison")
    if isinstance(left, str):
        budget.spend(min(len(left), len(right)))
    return bool(left < right)


def _or_equal(budget: TemplateBudget, left: Any, right: Any) -> bool:
    return _less(budget, left, right) or _equal(budget, left, right)


def _default(fallback: Any, *values: Any) -> Any:
    return values[0] if values and truth(values[0]) else fallback


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if truth(value)), None)


def _len(budget: TemplateBudget, value: Any) -> int:
    if isinstance(value, str):
        budget.spend(len(value))
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise TemplateMistake(
        "len of nil pointer" if value is None else f"len of type {type_of(value)}"
    )


def deep_equal(budget: TemplateBudget, left: Any, right: Any) -> bool:
    budget.visit()
    if type_of(left) != type_of(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(
            deep_equal(budget, a, b) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            deep_equal(budget, left[key], right[key]) for key in left
        )
    if isinstance(left, str):
        budget.spend(min(len(left), len(right)))
    return bool(left == right)


def deep_key(budget: TemplateBudget, value: Any) -> Hashable:
    """A key that is equal for values that `deep_equal` calls equal, so that a set finds them."""
    budget.visit()
    if isinstance(value, list):
        return type_of(value), tuple(deep_key(budget, item) for item in value)
    if isinstance(value, dict):
        return "dict", frozenset((key, deep_key(budget, item)) for key, item in value.items())
    if isinstance(value, str):
        budget.spend(len(value))
    return type_of(value), value


def _semver_compare(constraint: str, version: str) -> bool:
    if semver.parse(version) is None:
        raise TemplateMistake(f"{version!r} is no version")
    try:
        return semver.best(constraint, [version]) is not None
    except UsageError as error:
        raise TemplateMistake(error.summary) from error


FUNCTIONS: dict[str, Function] = {
    "eq": Function("aa*", _eq, budget=True),
    "ne": Function("aa", lambda budget, a, b: not _equal(budget, a, b), budget=True),
    "lt": Function("aa", _less, budget=True),
    "le": Function("aa", _or_equal, budget=True),
    "gt": Function("aa", lambda budget, a, b: not _or_equal(budget, a, b), budget=True),
    "ge": Function("aa", lambda budget, a, b: not _less(budget, a, b), budget=True),
    "not": Function("a", lambda value: not truth(value)),
    "len": Function("a", _len, budget=True),
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
    "deepEqual": Function("aa", deep_equal, budget=True),
    "semverCompare": Function("ss", _semver_compare),
    "hello": Function("", lambda: "Hello!"),
}
