"""CustomResourceDefinitions among rendered objects: which must be there before the others can be.
Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from fleetctl.core.formats.yaml import load
from fleetctl.core.formats.yaml_stream import documents_of, flatten
from fleetctl.tools.helm_marks import without_marks

KIND = "CustomResourceDefinition"


def read(text: bytes) -> list[dict[str, Any]]:
    """The definitions in rendered objects that helm applies as ordinary ones; a hook is made by
    helm itself. Raises InvalidFile.
    """
    return _of(documents(text)) if KIND.encode() in text else []


def documents(text: bytes) -> list[dict[str, Any]]:
    """The objects of a stream, those in a List each for itself. Raises InvalidFile."""
    return [
        item for part in documents_of(text) for item in flatten(load(part, file="rendered objects"))
    ]


def digest(definition: dict[str, Any]) -> str:
    """By which a definition is known that was applied before; the namespace that it was given does
    not count.
    """
    return hashlib.sha256(msgspec.json.encode(bare(definition), order="sorted")).hexdigest()


def unsettled(text: bytes, settled_digests: Collection[str]) -> list[dict[str, Any]]:
    """The definitions to be applied before helm may go on: none when nothing in `text` is of their
    kinds or their digests are `settled_digests`.
    """
    if KIND.encode() not in text:
        return []
    objects = documents(text)
    fresh = [definition for definition in _of(objects) if digest(definition) not in settled_digests]
    kinds = {(str(d.get("apiVersion", "")).rpartition("/")[0], d.get("kind")) for d in objects}
    digests = {
        (d["spec"].get("group"), (d["spec"].get("names") or {}).get("kind"))
        for d in fresh
        if isinstance(d.get("spec"), dict)
    }
    return [bare(definition) for definition in fresh] if kinds & digests else []


def bare(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what helm and the agent add on the way."""
    meta = {
        key: value for key, value in (document.get("metadata") or {}).items() if key != "namespace"
    }
    return {**document, "metadata": without_marks(meta)}


def _of(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        d
        for d in objects
        if d.get("kind") == KIND
        and "helm.sh/hook" not in ((d.get("metadata") or {}).get("annotations") or {})
    ]
