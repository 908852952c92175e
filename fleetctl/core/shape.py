"""Data that people wrote, turned into our types: an unknown key or a wrong type is one line with its place and the nearest right key."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from fleetctl.core.errors import InvalidFile
from fleetctl.core.template.show import number as go_float
from fleetctl.core.yamldoc import Place

T = TypeVar("T")
Path = tuple[str | int, ...]


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from, for the error."""

    file: str
    places: Mapping[Path, Place] = {}
    under: Path = ()

    def error(self, summary: str, path: Path, next_step: str) -> InvalidFile:
        """An InvalidFile at the place of `path`, or of its nearest parent that has one."""
        full = self.under + path
        while full and full not in self.places:
            full = full[:-1]
        place = self.places.get(full, Place(0, 0))
        return InvalidFile(summary, file=self.file, line=place.line, column=place.column, next_step=next_step)


def convert(value: Any, kind: type[T], origin: Origin) -> T:
    """`value` as `kind`, strictly: no unknown keys, no guessed types but one. Where text is wanted, a number or a boolean counts as its
    text, as Fleet's own reader has it (`version: 2` is "2"). Raises InvalidFile.
    """
    check_keys(value, kind, origin)
    try:
        return msgspec.convert(as_text(value, kind), kind)
    except msgspec.ValidationError as why:
        text, _, where = str(why).partition(" - at `")
        path = _path(where.rstrip("`"))
        name = ".".join(str(p) for p in path) or "the file"
        raise origin.error(f"{name}: {text[:1].lower()}{text[1:]}", path, "Correct the value's type.") from why


def as_text(value: Any, kind: Any) -> Any:
    """`value` with numbers and booleans turned into text wherever `kind` wants text."""
    kind = _bare(kind)
    if kind is str and isinstance(value, bool | int | float):
        return _scalar(value)
    if isinstance(value, list) and get_origin(kind) is list:
        return [as_text(item, get_args(kind)[0]) for item in value]
    if not isinstance(value, dict):
        return value
    if get_origin(kind) is dict:
        return {key: as_text(item, get_args(kind)[1]) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints, fields = _shape(kind)
        found = {key: as_text(item, hints[fields[key]]) if key in fields else item for key, item in value.items()}
        return found | {key: selector_as_text(item) for key, item in found.items() if key.endswith("elector")}
    return value


def selector_as_text(selector: Any) -> Any:
    """A LabelSelector whose values are text."""
    if not isinstance(selector, dict):
        return selector
    found = dict(selector)
    if isinstance(found.get("matchLabels"), dict):
        found["matchLabels"] = as_text(found["matchLabels"], dict[str, str])
    if isinstance(found.get("matchExpressions"), list):
        found["matchExpressions"] = [
            {**item, "values": as_text(item["values"], list[str])} if isinstance(item, dict) and "values" in item else item
            for item in found["matchExpressions"]
        ]
    return found


def _scalar(value: bool | float) -> str:
    """As sigs.k8s.io/yaml writes it: true, 1, 1.5, 1e+06."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value) if isinstance(value, int) else go_float(value)


def check_keys(value: Any, kind: Any, origin: Origin, path: Path = ()) -> None:
    """Refuse keys that `kind` does not have, at any depth."""
    kind = _bare(kind)
    if isinstance(value, list) and get_origin(kind) is list:
        for at, item in enumerate(value):
            check_keys(item, get_args(kind)[0], origin, (*path, at))
    if not isinstance(value, dict) or not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    hints, fields = _shape(kind)
    for key, item in value.items():
        if key not in fields:
            raise unknown_key(key, list(fields), origin, path)
        check_keys(item, hints[fields[key]], origin, (*path, key))


@lru_cache(maxsize=256)
def _shape(kind: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """(type of each field, field of each key)."""
    return get_type_hints(kind), dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))


def unknown_key(key: str, known: list[str], origin: Origin, path: Path = ()) -> InvalidFile:
    """The error for a key that nobody reads, naming the nearest one that exists."""
    where = ".".join(str(p) for p in (*path, key))
    near = nearest(key, known)
    step = f"Did you mean `{near}`?" if near else f"Remove it; known here: {', '.join(sorted(known)[:12])}."
    return origin.error(f"unknown key `{where}`", (*path, key), step)


def nearest(word: str, known: list[str]) -> str | None:
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def _bare(kind: Any) -> Any:
    """`X | None` as X."""
    if get_origin(kind) in {Union, types.UnionType}:
        rest = [a for a in get_args(kind) if a is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _path(text: str) -> Path:
    """msgspec's `$.helm.values[0]` as a path."""
    found: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", text):
        found.append(name or (int(index) if index.isdigit() else 0))
    return tuple(found)
