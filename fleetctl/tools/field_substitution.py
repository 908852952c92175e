"""Live values in the place of stated ones, for fields that are left to their owner. Pure.

Rule: only what a document states is changed; a stated field that the live object does not have is
left out, so that helm does not bring it back. Objects that are not touched keep their bytes. Helm
then applies the value that is there already: nothing rolls, and nobody's field is lost, as it would
be if the field were left out and helm, which owned it, took it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fleetctl.core.formats.yaml import dump, load
from fleetctl.core.formats.yaml_stream import documents_of
from fleetctl.core.text.json_pointer import pointer_steps

_MAX_INDEX_DIGITS = 9

Key = tuple[str, str, str, str]  # API group, kind, namespace, name


class Substitute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one object: `live` by JSON pointer ("" is the whole object); `gone` are pointers that the
    live object does not have.
    """

    group: str = ""
    kind: str
    namespace: str = ""
    name: str
    live: dict[str, Any] = {}
    gone: list[str] = []


def key_of(document: Mapping[str, Any], namespace: str) -> Key:
    """Of an object; `namespace` is where it goes when it names none. Objects without namespaces
    have that one too.
    """
    meta = document.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    group = str(document.get("apiVersion", "")).rpartition("/")[0]
    return (
        group,
        str(document.get("kind", "")),
        str(meta.get("namespace") or namespace),
        str(meta.get("name", "")),
    )


def substituted(
    text: bytes, substitutes: Iterable[Substitute], namespace: str
) -> tuple[bytes, list[dict[str, Any]]]:
    """(the objects of `text` with live values, the documents that were changed as they were
    before).
    """
    by_key = {(s.group, s.kind, s.namespace, s.name): s for s in substitutes}
    if not by_key:
        return text, []
    parts: list[bytes] = []
    before: list[dict[str, Any]] = []
    for part in documents_of(text):
        document = load(part, file="rendered objects")
        new = _document(document, by_key, namespace, before)
        parts.append(part if new is document else dump(new).encode())
    if not before:
        return text, []
    return b"".join(b"---\n" + part.strip(b"\r\n") + b"\n" for part in parts), before


def _document(
    document: Any, by_key: Mapping[Key, Substitute], namespace: str, before: list[dict[str, Any]]
) -> Any:
    """The same object when nothing of it changes."""
    if not isinstance(document, dict):
        return document
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        new = [_document(item, by_key, namespace, before) for item in items]
        return (
            document
            if all(entry is other for entry, other in zip(new, items, strict=True))
            else {**document, "items": new}
        )
    entry = by_key.get(key_of(document, namespace))
    result = substitute(document, entry) if entry else document
    if result == document:
        return document
    before.append(document)
    return result


def substitute(document: dict[str, Any], values: Substitute) -> dict[str, Any]:
    """`document` with the values of `values` wherever it states the field."""
    result: Any = document
    for pointer, value in values.live.items():
        result = (
            projected(result, value) if not pointer else _at(result, pointer_steps(pointer), value)
        )
    for pointer in values.gone:
        result = _remove_field(result, pointer_steps(pointer))
    return result if isinstance(result, dict) else document


def projected(stated_value: Any, live: Any) -> Any:
    """What `stated_value` states, with the values of `live`; lists of another length are taken over
    whole.
    """
    if isinstance(stated_value, dict) and isinstance(live, dict):
        return {
            key: projected(value, live[key]) for key, value in stated_value.items() if key in live
        }
    if isinstance(stated_value, list) and isinstance(live, list) and len(stated_value) == len(live):
        return [projected(item, other) for item, other in zip(stated_value, live, strict=True)]
    return live


def list_index(step: str, items: list[Any]) -> int | None:
    """The index that a step of a JSON pointer names in `items`, or None.

    A step comes from Git: `isdigit` is also true for `²`, and int() raises for 4,301 digits.
    """
    if not step or len(step) > _MAX_INDEX_DIGITS or step.strip("0123456789"):
        return None
    return int(step) if int(step) < len(items) else None


def lookup(value: Any, steps: Iterable[str]) -> tuple[bool, Any]:
    """(whether there is something at the end of `steps`, what)."""
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and (index := list_index(step, value)) is not None:
            value = value[index]
        else:
            return False, None
    return True, value


def _at(value: Any, steps: list[str], live: Any) -> Any:
    if not steps:
        return projected(value, live)
    head, *rest = steps
    if isinstance(value, dict) and head in value:
        return {**value, head: _at(value[head], rest, live)}
    if isinstance(value, list) and (at := list_index(head, value)) is not None:
        return [*value[:at], _at(value[at], rest, live), *value[at + 1 :]]
    return value


def _remove_field(value: Any, steps: list[str]) -> Any:
    head, *rest = steps
    if isinstance(value, dict) and head in value:
        if not rest:
            return {key: item for key, item in value.items() if key != head}
        return {**value, head: _remove_field(value[head], rest)}
    if isinstance(value, list) and rest and (at := list_index(head, value)) is not None:
        return [*value[:at], _remove_field(value[at], rest), *value[at + 1 :]]
    return value
