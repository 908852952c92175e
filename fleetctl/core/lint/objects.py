"""Findings for what `fleetctl apply` refuses, or accepts with a warning, in a whole object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fleetctl.core.documents.convert import Note, Path
from fleetctl.core.documents.json_schema import documents
from fleetctl.core.documents.manifests import KINDS
from fleetctl.core.documents.object_check import DATA_KINDS, READ_ONLY, check_object, warnings_of
from fleetctl.core.formats.yaml_stream import is_object
from fleetctl.core.lint.types import TypeFinding
from fleetctl.core.model.errors import FleetError

_BY_NAME = {kind.lower(): kind for kind in (*KINDS, *READ_ONLY)}
# Any workspace: the one of the context takes its place in `apply`.
_WORKSPACE = "fleet-default"
_KEY = re.compile(r"(?:spec\.)?(\w+)")


def is_data(value: Any) -> bool:
    """Whether it is a Secret or a ConfigMap, which `apply` stores for bundles."""
    return is_object(value) and value["apiVersion"] == "v1" and value["kind"] in DATA_KINDS


def check_manifest(
    value: dict[str, Any], path: Path, check_zone: Callable[[str], object]
) -> Iterator[TypeFinding]:
    """Judges the object by the function that the manager uses for `fleetctl apply`; `path`: where
    it is in its document.
    """
    kind = value["kind"] if is_data(value) else _BY_NAME.get(value["kind"].lower(), "")
    if not kind:
        return  # already refused as an unknown kind
    metadata = value.get("metadata")
    meta = metadata if isinstance(metadata, dict) else {}
    name, workspace = meta.get("name"), meta.get("namespace") or _WORKSPACE
    if not isinstance(name, str) or not name or not isinstance(workspace, str):
        yield TypeFinding(
            "refused", (*path, "metadata"), f"{kind} has no metadata.name", "Give it a name."
        )
        return
    notes: list[Note] = []
    try:
        check_object(kind, workspace, name, value, notes, check_zone=check_zone)
        warnings = warnings_of(kind, value)
    except FleetError as error:
        yield TypeFinding(
            "refused",
            _place_of(error, value, path),
            f"{kind} {name}: {error.summary}",
            error.next_step,
        )
        return
    if kind.lower() not in documents():  # else the types have shown them
        yield from (
            TypeFinding(note.code, (*path, *note.path), note.summary, note.next_step)
            for note in notes
        )
    yield from (
        TypeFinding("wide-login", (*path, "spec", "helmRepoURLRegex"), text, "")
        for text in warnings
    )


def _place_of(error: FleetError, value: dict[str, Any], path: Path) -> Path:
    """The key of the spec that the error begins with, else the object."""
    spec = value.get("spec")
    for text in (error.summary, error.subject):
        match = _KEY.match(text)
        if match and isinstance(spec, dict) and match[1] in spec:
            return (*path, "spec", match[1])
    return path
