"""Splits streams of YAML documents and keeps the bytes of each. Light: helm's post-renderer, a
process for each run, begins with it.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from fleetctl.core.formats.yaml import decode, dump, has_json_escapes, read
from fleetctl.core.formats.yaml_tree import YamlDocument
from fleetctl.core.model.errors import InvalidFile

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SEPARATOR = re.compile(rb"(?m)^---(?=\s|$)[^\n]*\n?")
# A byte order mark, an end mark `...`, a directive, a lone carriage return, content behind `---`.
_UNUSUAL = re.compile(rb"(?m)^\.\.\.|^%|\r(?!\n)|^---[ \t]+[^#\s]")
_COMMENTS = re.compile(rb"(?:\s*(?:#[^\n]*)?\n)*\s*(?:#[^\n]*)?")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def objects_of(data: bytes, path: str) -> list[bytes]:
    """The documents of one file that are objects, each as it is in the file. Raises InvalidFile.

    A file that cannot hold an object (a dashboard, values, a script's settings) is not parsed. A
    document that would change its meaning without its file (a directive, content behind `---`) is
    written again.
    """
    return [text for text, _ in _documents(data, path)]


def manifests_of(data: bytes, path: str) -> list[bytes]:
    """As `objects_of`, for files that are deployed: each object needs a name. Raises
    InvalidFile.
    """
    texts = []
    for text, document in _documents(data, path):
        _check_name(document, path)
        texts.append(text)
    return texts


def documents_of(text: bytes) -> list[bytes]:
    """The documents of a stream that a tool wrote, each unchanged; the stream may be larger than a
    file that people write.
    """
    return [part for part in _SEPARATOR.split(text) if part.strip()]


def is_object(document: Any) -> bool:
    """Whether Fleet would deploy it: apiVersion and kind are texts that are not empty."""
    return isinstance(document, dict) and all(
        isinstance(document.get(key), str) and document[key] for key in ("apiVersion", "kind")
    )


def _documents(data: bytes, path: str) -> list[tuple[bytes, YamlDocument]]:
    if data.startswith(_WIDE) or codecs.BOM_UTF8 in data:
        data = decode(data, path).encode()
    if b"apiVersion" not in data or b"kind" not in data:
        return []
    documents = read(data, file=path, places=True)
    texts = _texts(data, len(documents))
    return [
        (texts[at] if texts else dump(document.value).encode(), document)
        for at, document in enumerate(documents)
        if is_object(document.value)
    ]


def _texts(data: bytes, count: int) -> list[bytes]:
    """The bytes of each of `count` documents, or [] where bytes alone do not say what the document
    means.
    """
    if _UNUSUAL.search(data) or has_json_escapes(data):
        return []
    first, *rest = _SEPARATOR.split(data)
    parts = rest if _COMMENTS.fullmatch(first) else [first, *rest]
    return parts if len(parts) == count else []


def _check_name(document: YamlDocument, path: str) -> None:
    """Raises InvalidFile for an object that Helm refuses without naming it."""
    value = document.value
    meta = value.get("metadata")
    if isinstance(value.get("items"), list) or (
        isinstance(meta, dict) and isinstance(meta.get("name"), str) and meta["name"]
    ):
        return
    place = document.places.get(("kind",), document.place)
    summary, step = f"{value['kind']} has no metadata.name", "Write `name:` below `metadata:`."
    if isinstance(meta, dict) and meta.get("generateName"):
        summary, step = (
            f"{value['kind']} has metadata.generateName, which Helm does not support",
            "Write metadata.name instead.",
        )
    raise InvalidFile(summary, file=path, line=place.line, column=place.column, next_step=step)


def flatten(document: Any) -> list[dict[str, Any]]:
    """The objects in a document: itself, or the items of a List at any depth.

    An item of a ConfigMapList need not state its kind and apiVersion: Kubernetes derives them from
    the list's.
    """
    if not isinstance(document, dict) or not document.get("kind"):
        return []
    kind, items = str(document["kind"]), document.get("items")
    if not kind.endswith("List") or not isinstance(items, list):
        return [document]
    item_kind = {"kind": kind.removesuffix("List"), "apiVersion": document.get("apiVersion")}
    return [
        inner
        for item in items
        if isinstance(item, dict)
        for inner in flatten(_with_kind(item, item_kind))
    ]


def _with_kind(item: dict[str, Any], item_kind: dict[str, Any]) -> dict[str, Any]:
    if item.get("kind") or not item_kind["kind"]:
        return item
    return {
        **item,
        "kind": item_kind["kind"],
        "apiVersion": item.get("apiVersion") or item_kind["apiVersion"],
    }
