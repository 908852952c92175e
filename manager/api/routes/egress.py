"""Marks GitRepos whose address a token of one workspace has set.

Rule: the manager reads Git from its own network. An administrator of the manager may name any
address; an administrator of a workspace may not use the manager to reach what only the manager
reaches. The mark is an annotation that nobody but the manager sets or removes. A change by such a
token that leaves the address alone leaves the mark alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fleetctl.core.documents.gitrepo import RESTRICTED
from fleetctl.core.model.errors import NotFound

from ...security.tokens import Person

Read = Callable[[str, str, str], Awaitable[dict[str, Any]]]


async def mark_restricted(
    person: Person, key: tuple[str, str, str], document: dict[str, Any], read: Read
) -> dict[str, Any]:
    """The document with the mark that is due, or without one. `read` gives an object as it is."""
    if key[0] != "GitRepo":
        return document
    metadata = document.get("metadata")
    spec = document.get("spec")
    if not isinstance(metadata, dict | None) or not isinstance(spec, dict):
        return document  # refused later, with the place
    annotations = (metadata or {}).get("annotations")
    if not isinstance(annotations, dict | None):
        return document
    annotations_to_store = {
        name: value for name, value in (annotations or {}).items() if name != RESTRICTED
    }
    if person.workspace and await _is_due(key, spec.get("repo"), read):
        annotations_to_store[RESTRICTED] = person.workspace
    if annotations_to_store == (annotations or {}):
        return document
    return {**document, "metadata": {**(metadata or {}), "annotations": annotations_to_store}}


def mark_plan(person: Person, document: dict[str, Any]) -> dict[str, Any]:
    """The document of a plan: of a token of one workspace it is always marked."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return document
    annotations = metadata.get("annotations")
    annotations_to_store = dict(annotations) if isinstance(annotations, dict) else {}
    annotations_to_store.pop(RESTRICTED, None)
    if person.workspace:
        annotations_to_store[RESTRICTED] = person.workspace
    return {**document, "metadata": {**metadata, "annotations": annotations_to_store}}


async def _is_due(key: tuple[str, str, str], address: Any, read: Read) -> bool:
    try:
        old = await read(*key)
    except NotFound:
        return True
    is_marked = RESTRICTED in (old["metadata"].get("annotations") or {})
    return is_marked or (old.get("spec") or {}).get("repo") != address
