"""Reads objects from the files that `apply` and `delete` take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetctl.cli.display.columns import plural_of
from fleetctl.core.model.errors import UsageError

_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class FileObject:
    """One object of a file, and its place there."""

    doc: dict[str, Any]
    plural: str
    place: str

    @property
    def name(self) -> str:
        return str(self.doc["metadata"]["name"])

    @property
    def workspace(self) -> str:
        return str(self.doc["metadata"].get("namespace") or "")


def read_objects(files: list[str], workspace: str) -> list[FileObject]:
    """Read every object of the files. Raises InvalidFile, UsageError."""
    if not files:
        raise UsageError(
            "no file is named",
            subject="-f",
            next_step="Give -f FILE, -f DIR or -f - for standard input.",
        )
    objects = [
        _check_object(doc, source, workspace)
        for file in files
        for doc, source in documents_of(file)
    ]
    if not objects:
        raise UsageError(
            "there is no object in what was given",
            subject=", ".join(files),
            next_step="Look at the file.",
        )
    return objects


def _check_object(doc: Any, source: str, workspace: str) -> FileObject:
    if not isinstance(doc, dict) or not isinstance(doc.get("kind"), str):
        raise UsageError(
            "this is not an object",
            subject=source,
            next_step="Give it apiVersion, kind and metadata.",
        )
    try:
        plural = plural_of(doc["kind"])
    except UsageError as error:
        error.subject = source
        raise
    meta = doc.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise UsageError(
            f"{doc['kind']} has no metadata.name", subject=source, next_step="Give it a name."
        )
    item = FileObject(doc, plural, source)
    if workspace and item.workspace not in {"", workspace}:
        summary = f"its namespace is {item.workspace}, and -n is {workspace}"
        raise UsageError(summary, subject=f"{source}: {item.name}", next_step="Remove one of them.")
    return item


def documents_of(source: str) -> Iterator[tuple[Any, str]]:
    """Yield each document with its place; a List yields its items."""
    from fleetctl.core.formats.yaml import load_all

    for name, text in _texts(source):
        documents = load_all(text, file=name, strict=True)
        for at, document in enumerate(documents, 1):
            place = f"{name} (document {at})" if len(documents) > 1 else name
            if isinstance(document, dict) and document.get("kind") == "List":
                items = document.get("items")
                yield from ((item, place) for item in (items if isinstance(items, list) else []))
            elif document is not None:
                yield document, place


def _texts(source: str) -> list[tuple[str, bytes]]:
    if source == "-":
        return [("standard input", sys.stdin.buffer.read())]
    path = Path(source)
    try:
        if not path.is_dir():
            return [(source, path.read_bytes())]
        files = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
        return [(str(p), p.read_bytes()) for p in files]
    except OSError as error:
        raise UsageError(
            f"{source} cannot be read: {error.strerror}",
            subject="-f",
            next_step="Correct the path.",
        ) from error
