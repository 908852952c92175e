"""Data that people wrote, turned into our types as Go turns it into Fleet's: one line with its
place for each mistake.

As in Go: keys count in any letter case, null counts as not written, a number or a boolean is its
text where text is wanted. What a key means that nobody knows is decided in `keys.py`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from fleetctl.core.documents.key_names import (
    CASE,
    Judgement,
    Path,
    dotted_path,
    judge,
    list_keys,
    nearest,
)
from fleetctl.core.formats.type_errors import describe_type_error
from fleetctl.core.formats.yaml import SourcePlace
from fleetctl.core.formats.yaml_scalars import scalar_text
from fleetctl.core.model.errors import InvalidFile

__all__ = [
    "Note",
    "Origin",
    "Path",
    "as_text",
    "convert",
    "dotted_path",
    "find_place",
    "fit",
    "fit_selector",
    "is_selector",
    "known_values",
    "nearest",
    "selector_step",
]
T = TypeVar("T")
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_SELECTOR = ("matchLabels", "matchExpressions")
_EXPRESSION = ("key", "operator", "values")


class Note(msgspec.Struct, frozen=True):
    """A warning about the key at `path`; `place` is where it is written."""

    code: str
    path: Path
    summary: str
    next_step: str
    place: SourcePlace = SourcePlace(0, 0)


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from, for errors and warnings.

    `table`: every key of the document, for hints. `strict`: an unknown key is an error. `notes`
    receives warnings.
    """

    file: str
    places: Mapping[Path, SourcePlace] = {}
    under: Path = ()
    table: Mapping[str, Any] = {}
    strict: bool = False
    notes: list[Note] = []

    def below(self, *path: str | int) -> Origin:
        """The same origin for a value inside; its notes are the same list."""
        return Origin(
            self.file, self.places, (*self.under, *path), self.table, self.strict, self.notes
        )

    def error(self, summary: str, path: Path, next_step: str) -> InvalidFile:
        """An InvalidFile at the place of `path`, or of its nearest parent that has one."""
        place = self.place(path)
        return InvalidFile(
            summary, file=self.file, line=place.line, column=place.column, next_step=next_step
        )

    def warn(self, code: str, summary: str, path: Path, next_step: str) -> None:
        note = Note(code, (*self.under, *path), summary, next_step, self.place(path))
        if note not in self.notes:
            self.notes.append(note)

    def place(self, path: Path) -> SourcePlace:
        return find_place(self.places, self.under + path)


def find_place(places: Mapping[Path, SourcePlace], path: Path) -> SourcePlace:
    """Of the key, in any letter case, or of its nearest parent that has a place; line 0 when there
    is none.
    """
    while path:
        if path in places:
            return places[path]
        lower = _lower(path)
        for spelling, place in places.items():
            if len(spelling) == len(path) and _lower(spelling) == lower:
                return place
        path = path[:-1]
    return SourcePlace(0, 0)


def convert(value: Any, kind: type[T], origin: Origin) -> T:
    """`value` as `kind`. Raises InvalidFile for a wrong type or a typing error of a key."""
    if not isinstance(value, dict):
        raise origin.error(
            f"{dotted_path(origin.under) or 'the file'} is not a map of keys",
            (),
            "Write `key: value` lines.",
        )
    try:
        return msgspec.convert(fit(value, kind, origin), kind)
    except msgspec.ValidationError as error:
        text, _, location = str(error).partition(" - at `")
        path = _path(location.rstrip("`"))
        name = dotted_path((*origin.under, *path)) or "the file"
        raise origin.error(
            f"{name}: {describe_type_error(text)}", path, "Correct the value's type."
        ) from error


def fit(value: Any, kind: Any, origin: Origin, path: Path = ()) -> Any:
    """`value` with the keys and texts that `kind` wants; types are checked by who converts it.
    Raises InvalidFile.
    """
    kind = _bare(kind)
    if kind is str and isinstance(value, bool | int | float):
        return scalar_text(value)
    if isinstance(value, list) and get_origin(kind) is list:
        inner = _bare(get_args(kind)[0])
        return [
            fit(_empty(inner) if item is None else item, inner, origin, (*path, at))
            for at, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if get_origin(kind) is dict:
        inner = _bare(get_args(kind)[1])
        return {
            key: fit("" if item is None and inner is str else item, inner, origin, (*path, key))
            for key, item in value.items()
        }
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints, fields = _shape(kind)
        result = {}
        for key, item in known_values(value, list(fields), origin, path).items():
            field_path = (*path, key)
            result[key] = (
                fit_selector(item, origin, field_path)
                if is_selector(key)
                else fit(item, hints[fields[key]], origin, field_path)
            )
        return result
    return value


def known_values(
    value: Mapping[str, Any], known_keys: Collection[str], origin: Origin, path: Path = ()
) -> dict[str, Any]:
    """The known keys of `value` in their right spelling, without those that are null. Raises
    InvalidFile for a typing error.
    """
    values: dict[str, Any] = {}
    for key, item in value.items():
        if key in known_keys:
            if item is not None:
                values[key] = item
            continue
        judgement = judge(key, known_keys, (*origin.under, *path), origin.table)
        if judgement.code != CASE:
            report(judgement, origin, (*path, key))
            continue
        origin.warn(CASE, judgement.summary, (*path, key), judgement.next_step)
        if item is not None and value.get(judgement.key) is None:
            values[judgement.key] = item
    return values


def report(judgement: Judgement, origin: Origin, path: Path) -> None:
    """Raises InvalidFile for an error, and for a warning too when the origin is strict."""
    if judgement.is_error or origin.strict:
        raise origin.error(judgement.summary, path, judgement.next_step)
    origin.warn(judgement.code, judgement.summary, path, judgement.next_step)


def is_selector(key: str) -> bool:
    return key == "selector" or key.endswith("Selector")


def fit_selector(value: Any, origin: Origin, path: Path) -> dict[str, Any]:
    """A LabelSelector with text values. Raises InvalidFile; an unknown key would make it pick
    everything, so it is an error.
    """
    if not isinstance(value, dict):
        raise _wrong(origin, path, "a label selector", "Write `matchLabels:` below it.")
    result: dict[str, Any] = {}
    for key, item in _exactly(value, _SELECTOR, origin, path).items():
        if key == "matchLabels":
            result[key] = _labels(item, origin, (*path, key))
        else:
            if not isinstance(item, list):
                raise _wrong(origin, (*path, key), "a list", "Write one `- ` for each condition.")
            result[key] = [
                _expression(expression, origin, (*path, key, at))
                for at, expression in enumerate(item)
            ]
    return result


def _labels(value: Any, origin: Origin, path: Path) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong(origin, path, "a map of labels", "Write `NAME: VALUE` lines.")
    return {key: _text(item, origin, (*path, key)) for key, item in value.items()}


def _expression(value: Any, origin: Origin, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(origin, path, "a map", "Write `key`, `operator` and `values`.")
    fields = _exactly(value, _EXPRESSION, origin, path)
    for key in ("key", "operator"):
        if not isinstance(fields.get(key), str) or not fields[key]:
            raise origin.error(
                f"{dotted_path((*origin.under, *path, key))} is missing or is not text",
                (*path, key),
                f"Write `{key}:`.",
            )
    if fields["operator"] not in OPERATORS:
        summary = (
            f"{dotted_path((*origin.under, *path))}: operator {fields['operator'][:40]!r} is none"
            f" of {', '.join(OPERATORS)}"
        )
        raise origin.error(summary, (*path, "operator"), "Correct the operator.")
    values = fields.get("values")
    if values is not None:
        if not isinstance(values, list):
            raise _wrong(origin, (*path, "values"), "a list", "Write it as `[a, b]`.")
        fields["values"] = [
            _text(item, origin, (*path, "values", at)) for at, item in enumerate(values)
        ]
    return fields


def _exactly(
    value: Mapping[str, Any], known_keys: Collection[str], origin: Origin, path: Path
) -> dict[str, Any]:
    """As `named`, but every unknown key is an error."""
    for key in value:
        if key.lower() not in {name.lower() for name in known_keys}:
            raise origin.error(
                f"unknown key `{dotted_path((*origin.under, *path, key))}`",
                (*path, key),
                selector_step(key, known_keys),
            )
    return known_values(value, known_keys, origin, path)


def selector_step(key: str, known_keys: Collection[str]) -> str:
    """The next step for an unknown key in a selector."""
    near = nearest(key, known_keys)
    if near:
        return f"Did you mean `{near}`?"
    return (
        f"Write `matchLabels: {{{key[:40]}: VALUE}}`."
        if "matchLabels" in known_keys
        else f"Write one of {list_keys(known_keys)}."
    )


def _text(value: Any, origin: Origin, path: Path) -> str:
    if isinstance(value, bool | int | float):
        return scalar_text(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(origin, path, "text", "Write one word.")
    return value


def _wrong(origin: Origin, path: Path, accepts: str, step: str) -> InvalidFile:
    return origin.error(f"{dotted_path((*origin.under, *path))} is not {accepts}", path, step)


def as_text(value: Any, kind: Any) -> Any:
    """A scalar as text where `kind` is text."""
    return (
        scalar_text(value)
        if _bare(kind) is str and isinstance(value, bool | int | float)
        else value
    )


def _empty(kind: Any) -> Any:
    """What Go makes of null in a list."""
    is_map = get_origin(kind) is dict or (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    )
    return {} if is_map else "" if kind is str else None


@lru_cache(maxsize=256)
def _shape(kind: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """(type of each field, field of each key)."""
    return get_type_hints(kind), dict(
        zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    )


def _bare(kind: Any) -> Any:
    """`X | None` as X."""
    if get_origin(kind) in {Union, types.UnionType}:
        rest = [a for a in get_args(kind) if a is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _lower(path: Path) -> Path:
    return tuple(step.lower() if isinstance(step, str) else step for step in path)


def _path(text: str) -> Path:
    """msgspec's `$.helm.values[0]` as a path."""
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", text):
        steps.append(name or (int(index) if index.isdigit() else 0))
    return tuple(steps)
