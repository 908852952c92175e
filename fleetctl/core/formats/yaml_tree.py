"""Builds values from YAML events in one pass, with go-yaml's rules for anchors, merge keys and map
keys.

Rule: nodes (with aliases expanded), nesting and documents are counted before a value is built, so
that a few hundred bytes cannot take a minute or a gigabyte. An alias means the last anchor of its
name. Merge keys apply in the order of the file, also over keys that stand before them, as in
go-yaml v2. Of a duplicate key the last value counts; `strict` refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from fleetctl.core.formats.yaml_scalars import key_text, resolve
from fleetctl.core.model.errors import InvalidFile

Path = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"


class YamlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the text, nodes after aliases are expanded, nesting, documents."""

    size: int = 5 * 1024 * 1024
    nodes: int = 200_000
    depth: int = 200
    documents: int = 5_000


class SourcePlace(msgspec.Struct, frozen=True):
    """Position of a value, counted from 1."""

    line: int
    column: int


class YamlDocument(msgspec.Struct, frozen=True):
    """One document: its value, the place of each key and list item by its path, and its own
    place.
    """

    value: Any
    places: dict[Path, SourcePlace]
    place: SourcePlace


class _Anchor(msgspec.Struct):
    """`nodes` and `height` of the value with its aliases expanded."""

    value: Any
    nodes: int
    height: int


class _Collection:
    """A map or list that is not complete. `key`: the key whose value comes next, None when a key
    comes next.
    """

    __slots__ = ("anchor", "before", "height", "is_merge", "key", "keys", "path", "value")

    def __init__(self, value: Any, anchor: str | None, before: int, path: Path) -> None:
        self.value, self.anchor, self.before, self.path = value, anchor, before, path
        self.height = 0
        self.key: str | None = None
        self.is_merge = False
        self.keys: dict[str, int] = {}


class Builder:
    """Receives the events of one stream. `documents` holds what is complete."""

    def __init__(
        self, file: str, limits: YamlLimits, *, strict: bool = False, places: bool = False
    ) -> None:
        self.documents: list[YamlDocument] = []
        self._file, self._limits, self._strict, self._wants_places = file, limits, strict, places
        self._open: list[_Collection] = []
        self._anchors: dict[str, _Anchor] = {}
        self._pending: set[str] = set()
        self._places: dict[Path, SourcePlace] = {}
        self._nodes = self._start_count = 0
        self._start = SourcePlace(1, 1)

    def read(self, events: Iterable[Any]) -> list[YamlDocument]:
        """Every document of the stream. Raises InvalidFile and yaml.YAMLError."""
        for event in events:
            self._add(event)
        return self.documents

    def _add(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._count(event, 1, 0)
                self._scalar(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._count(event, 1, 1)
                self._start_collection(event)
            case yaml.CollectionEndEvent():
                self._end_collection(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._start_count += 1
                self._check_limits(event, 0)
                self._anchors.clear()
                self._places, self._start = {}, place_of(event)

    def _scalar(self, event: Any) -> None:
        value: Any = event.value
        is_plain = event.implicit[0]
        if (
            self._open
            and self._is_key()
            and event.value == "<<"
            and (is_plain or event.tag == _MERGE)
        ):
            self._open[-1].is_merge, self._open[-1].key = True, "<<"
            return
        if is_plain or event.tag is not None:
            try:
                value = resolve(value, event.tag)
            except ValueError as error:
                raise self._error(event, str(error)) from error
        if event.anchor:
            self._anchors[event.anchor] = _Anchor(value, 1, 0)
            self._pending.discard(event.anchor)
        self._place(event, value)

    def _start_collection(self, event: Any) -> None:
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        if self._open and self._is_key():
            raise self._error(event, "a key must be text, not a map or a list")
        path = self._note(event) if self._wants_places else ()
        if event.anchor:
            self._anchors.pop(event.anchor, None)
            self._pending.add(event.anchor)
        self._open.append(_Collection(value, event.anchor, self._nodes - 1, path))

    def _end_collection(self, event: Any) -> None:
        frame = self._open.pop()
        height = frame.height + 1
        if frame.anchor and frame.anchor in self._pending:
            self._anchors[frame.anchor] = _Anchor(frame.value, self._nodes - frame.before, height)
            self._pending.discard(frame.anchor)
        self._store(event, frame.value, height)

    def _alias(self, event: Any) -> None:
        if event.anchor in self._pending:
            raise self._error(event, f"alias *{event.anchor} is inside its own anchor")
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise self._error(event, f"alias *{event.anchor} has no anchor")
        self._count(event, anchor.nodes, anchor.height)
        self._place(event, anchor.value, anchor.height)

    def _is_key(self) -> bool:
        return isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _place(self, event: Any, value: Any, height: int = 0) -> None:
        """Stores a complete value: as the next key, or as a value."""
        if self._open and self._is_key():
            self._key(event, value)
            return
        if isinstance(value, float):
            value = self._number(event, value)
        if self._wants_places:
            self._note(event)
        self._store(event, value, height)

    def _number(self, event: Any, value: float) -> float | int:
        """A whole float as an int, as in the JSON that helm makes of it."""
        if not math.isfinite(value):
            raise self._error(
                event,
                "infinity and .nan have no form in JSON",
                "Write a number, or quote the text.",
            )
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    def _key(self, event: Any, value: Any) -> None:
        if isinstance(value, dict | list):
            raise self._error(event, "a key must be text, not a map or a list")
        try:
            key = key_text(value)
        except ValueError as error:
            raise self._error(event, str(error)) from error
        top = self._open[-1]
        if self._strict and key in top.keys:
            raise self._error(
                event,
                f"duplicate key {key[:80]!r}, first on line {top.keys[key]}",
                "Remove one of the two.",
            )
        if self._strict:
            top.keys[key] = event.start_mark.line + 1
        top.key = key
        if self._wants_places:
            self._places[(*top.path, key)] = place_of(event)

    def _note(self, event: Any) -> Path:
        """The path of the value that begins here; a list's item gets its place."""
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.value, dict):
            return (*top.path, top.key or "")
        path = (*top.path, len(top.value))
        self._places[path] = place_of(event)
        return path

    def _store(self, event: Any, value: Any, height: int) -> None:
        if not self._open:
            self.documents.append(YamlDocument(value, self._places, self._start))
            return
        top = self._open[-1]
        top.height = max(top.height, height)
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.is_merge:
            self._merge(event, top.value, value)
            top.is_merge, top.key = False, None
        else:
            top.value[top.key] = value
            top.key = None

    def _merge(self, event: Any, target: dict[str, Any], value: Any) -> None:
        is_list = isinstance(value, list) and not isinstance(event, yaml.AliasEvent)
        maps = value[::-1] if is_list else [value]
        if not all(isinstance(item, dict) for item in maps):
            raise self._error(event, "a merge key `<<` takes a map or a list of maps")
        for item in maps:
            target.update(item)

    def _count(self, event: Any, nodes: int, height: int) -> None:
        self._nodes += nodes
        self._check_limits(event, height)

    def _check_limits(self, event: Any, height: int) -> None:
        limits = self._limits
        if (
            self._nodes > limits.nodes
            or len(self._open) + height > limits.depth
            or self._start_count > limits.documents
        ):
            limit = f"{limits.nodes} values, {limits.depth} levels or {limits.documents} documents"
            raise self._error(event, f"more than {limit}", "Simplify or split the file.")

    def _error(
        self, event: Any, summary: str, next_step: str = "Correct the YAML there."
    ) -> InvalidFile:
        place = place_of(event)
        return InvalidFile(
            summary, file=self._file, line=place.line, column=place.column, next_step=next_step
        )


def place_of(event: Any) -> SourcePlace:
    return SourcePlace(event.start_mark.line + 1, event.start_mark.column + 1)
