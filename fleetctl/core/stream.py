"""Streams of YAML documents taken apart, each as it stands. Light: helm's post-renderer, a process for each run, begins with it."""

from __future__ import annotations

import re
from typing import Any

from fleetctl.core.yamldoc import load, load_all

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SEPARATOR = re.compile(rb"(?m)^---(?=\s|$)[^\n]*\n?")


def objects_of(data: bytes, path: str) -> list[bytes]:
    """The documents of one file that are objects. Raises InvalidFile."""
    texts = _SEPARATOR.split(data)
    if sum(1 for text in texts if text.strip()) <= 1:
        documents = load_all(data, file=path)
        return [data_without_marks(data)] if any(is_object(d) for d in documents) else []
    load_all(data, file=path)  # the whole file first, so that an error names the line in it
    return [text for text in texts if text.strip() and is_object(load(text, file=path))]


def documents_of(text: bytes) -> list[bytes]:
    """The documents of a stream that a tool has made, each as it stands; it may be larger than what people may write in one file."""
    return [part for part in _SEPARATOR.split(text) if part.strip()]


def data_without_marks(data: bytes) -> bytes:
    return _SEPARATOR.sub(b"", data.removeprefix(b"\xef\xbb\xbf"))


def is_object(document: Any) -> bool:
    return isinstance(document, dict) and bool(document.get("apiVersion")) and bool(document.get("kind"))
