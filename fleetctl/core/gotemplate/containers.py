"""Lists, maps and JSON."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import msgspec

from fleetctl.core.gotemplate.calling import Function, truth
from fleetctl.core.gotemplate.comparing import deep_equal, deep_key
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.show import NilList, StringList, StringMap, to_json, type_of
from fleetctl.core.gotemplate.strings import strval


def as_floats(budget: TemplateBudget, value: Any) -> Any:
    """A copy of `value`, whose numbers are float64, as those of JSON are in Go."""
    if isinstance(value, dict):
        budget.spend(4 * len(value))
        return {key: as_floats(budget, item) for key, item in value.items()}
    if isinstance(value, list):
        budget.spend(4 * len(value))
        return [as_floats(budget, item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _list(value: Any, function: str) -> list[Any]:
    if not isinstance(value, list):
        raise TemplateMistake(
            f"Cannot {function} on type {'nil' if value is None else type_of(value)}"
        )
    return value


def _index(budget: TemplateBudget, value: Any, *keys: Any) -> Any:
    if value is None:
        raise TemplateMistake("index of untyped nil")
    for key in keys:
        value = _at(budget, value, key)
    return value


def _at(budget: TemplateBudget, value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise TemplateMistake(f"value has type {type_of(key)}; should be string")
        return value.get(key, "" if isinstance(value, StringMap) else None)
    if value is None:
        raise TemplateMistake("index of nil pointer")
    if not isinstance(value, list | str):
        raise TemplateMistake(f"can't index item of type {type_of(value)}")
    if not isinstance(key, int) or isinstance(key, bool):
        raise TemplateMistake(f"cannot index slice/array with type {type_of(key)}")
    if isinstance(value, str):
        budget.spend(len(value))
        value = value.encode()
    if not 0 <= key < len(value):
        raise TemplateMistake(f"index out of range: {key}")
    return value[key]


def _bounds(size: int, ends: tuple[Any, ...]) -> tuple[int, int]:
    low, high = (*ends, *(0, size)[len(ends) :])[:2]
    if not all(isinstance(e, int) for e in (low, high)) or not 0 <= low <= high <= size:
        raise TemplateMistake("index out of range")
    return low, high


def _strings(budget: TemplateBudget, value: Any) -> StringList:
    """sprig's strslice: a list's items as texts, without nil."""
    if isinstance(value, list):
        return StringList(strval(budget, item) for item in value if item is not None)
    return StringList() if value is None else StringList([strval(budget, value)])


def _slice(values: Any, *ends: Any) -> list[Any] | None:
    items = _list(values, "slice")
    if not items:
        return None
    low, high = _bounds(len(items), tuple(int(e) for e in ends[:2]))
    return type(items)(items[low:high])


def _uniq(budget: TemplateBudget, values: Any) -> list[Any]:
    first: dict[Hashable, Any] = {}
    for item in _list(values, "find uniq"):
        first.setdefault(deep_key(budget, item), item)
    return list(first.values())


def _without(budget: TemplateBudget, values: Any, *items_to_drop: Any) -> list[Any]:
    left_out = {deep_key(budget, item) for item in items_to_drop}
    return [
        item for item in _list(values, "find without") if deep_key(budget, item) not in left_out
    ]


def _chunk(size: int, values: Any) -> list[Any]:
    if size <= 0:
        raise TemplateMistake("chunk size must be positive")
    return [values[at : at + size] for at in range(0, len(_list(values, "chunk")), size)]


def _has(budget: TemplateBudget, needle: Any, values: Any) -> bool:
    return (
        any(deep_equal(budget, needle, item) for item in _list(values, "find has"))
        if values is not None
        else False
    )


def _dict(budget: TemplateBudget, *values: Any) -> dict[str, Any]:
    return {
        strval(budget, values[at]): values[at + 1] if at + 1 < len(values) else ""
        for at in range(0, len(values), 2)
    }


def _set(target: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    target[key] = value
    return target


def _unset(target: dict[str, Any], key: str) -> dict[str, Any]:
    target.pop(key, None)
    return target


def _dig(*values: Any) -> Any:
    if len(values) < 3:
        raise TemplateMistake("dig needs at least three arguments")
    *path, fallback, value = values
    if not all(isinstance(key, str) for key in path):
        raise TemplateMistake("a key is no string")
    for at, key in enumerate(path):
        if not isinstance(value, dict):
            raise TemplateMistake(f"{path[at - 1]!s:.100} is no map")
        if key not in value:
            return fallback
        value = value[key]
    return value


def _merge(
    budget: TemplateBudget,
    target: dict[str, Any],
    *sources: dict[str, Any],
    overwrite: bool = False,
) -> dict[str, Any]:
    """mergo: what is empty in `target` is filled; with `overwrite` a source wins."""
    for source in sources:
        budget.visit(len(source))
        for key, value in source.items():
            old = target.get(key)
            if value is None and not overwrite:
                continue
            if isinstance(old, dict) and old and isinstance(value, dict):
                _merge(budget, old, value, overwrite=overwrite)
            elif overwrite or not truth(old):
                target[key] = value
    return target


def _pick(target: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: target[key] for key in keys if key in target}


def _omit(target: dict[str, Any], *keys: str) -> dict[str, Any]:
    keys_to_drop = frozenset(keys)
    return {key: value for key, value in target.items() if key not in keys_to_drop}


def _from_json(budget: TemplateBudget, text: str) -> Any:
    try:
        return as_floats(budget, msgspec.json.decode(text.encode()))
    except msgspec.DecodeError:
        return None


def _must_from_json(budget: TemplateBudget, text: str) -> Any:
    try:
        return as_floats(budget, msgspec.json.decode(text.encode()))
    except msgspec.DecodeError as error:
        raise TemplateMistake(f"invalid JSON: {error}") from error


def _join(budget: TemplateBudget, separator: str, values: Any) -> str:
    texts = _strings(budget, values)
    budget.fits(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _sort_alpha(budget: TemplateBudget, values: Any) -> StringList:
    if values is None:
        return StringList(["<nil>"])
    texts = _strings(budget, values)
    return StringList(sorted(texts)) if isinstance(values, list) else texts


def _concat(budget: TemplateBudget, *lists: Any) -> list[Any]:
    budget.fits_items(sum(len(_list(values, "concat")) for values in lists))
    return [item for values in lists for item in values] or NilList()


def _copy(budget: TemplateBudget, value: Any) -> Any:
    budget.visit()
    if isinstance(value, dict):
        return {key: _copy(budget, item) for key, item in value.items()}
    return [_copy(budget, item) for item in value] if isinstance(value, list) else value


def _nil_of(values: list[Any]) -> list[Any]:
    """What remains of a list that has no items left: a nil list when it had none before."""
    return [] if values else NilList()


def _append(values: Any, item: Any) -> list[Any]:
    return [*_list(values, "push"), item]


_LISTS: dict[str, Function] = {
    "first": Function("a", lambda values: next(iter(_list(values, "find first")), None)),
    "last": Function("a", lambda values: next(iter(reversed(_list(values, "find last"))), None)),
    "rest": Function("a", lambda values: _list(values, "find rest")[1:] or _nil_of(values)),
    "initial": Function("a", lambda values: _list(values, "find initial")[:-1] or _nil_of(values)),
    "append": Function("aa", _append),
    "push": Function("aa", _append),
    "prepend": Function("aa", lambda values, item: [item, *_list(values, "prepend")]),
    "reverse": Function("a", lambda values: list(reversed(_list(values, "find reverse")))),
    "uniq": Function("a", _uniq, budget=True),
    "without": Function("aa*", _without, budget=True),
    "has": Function("aa", _has, budget=True),
    "compact": Function("a", lambda values: [v for v in _list(values, "compact") if truth(v)]),
    "slice": Function("aa*", _slice),
    "chunk": Function("ia", _chunk),
    "toJson": Function("a", to_json, budget=True),
    "toPrettyJson": Function("a", partial(to_json, pretty=True), budget=True),
    "toRawJson": Function("a", partial(to_json, html=False), budget=True),
    "merge": Function("dd*", _merge, budget=True),
    "mergeOverwrite": Function("dd*", partial(_merge, overwrite=True), budget=True),
    "deepCopy": Function("a", _copy, budget=True),
}

FUNCTIONS: dict[str, Function] = {
    **_LISTS,
    **{"must" + name[0].upper() + name[1:]: function for name, function in _LISTS.items()},
    "index": Function("aa*", _index, budget=True),
    "list": Function("a*", lambda *values: list(values)),
    "tuple": Function("a*", lambda *values: list(values)),
    "concat": Function("a*", _concat, budget=True),
    "join": Function("sa", _join, budget=True),
    "sortAlpha": Function("a", _sort_alpha, budget=True),
    "toStrings": Function("a", _strings, budget=True),
    "dict": Function("a*", _dict, budget=True),
    "get": Function("ds", lambda target, key: target.get(key, "")),
    "set": Function("dsa", _set),
    "unset": Function("ds", _unset),
    "hasKey": Function("ds", lambda target, key: key in target),
    "pluck": Function("sd*", lambda key, *maps: [m[key] for m in maps if key in m]),
    "dig": Function("a*", _dig),
    "keys": Function("d*", lambda *maps: StringList(key for m in maps for key in sorted(m))),
    "values": Function("d", lambda target: [target[key] for key in sorted(target)]),
    "pick": Function("ds*", _pick),
    "omit": Function("ds*", _omit),
    "fromJson": Function("s", _from_json, budget=True),
    "mustFromJson": Function("s", _must_from_json, budget=True),
}
