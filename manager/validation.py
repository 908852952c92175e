"""Checks objects that people write, with the time zones of this machine
(fleetctl/core/documents/object_check.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetctl.core.documents.convert import Note
from fleetctl.core.documents.object_check import (
    DATA_KINDS,
    READ_ONLY,
    api_version,
    check_object,
    duration,
    metadata,
    token_limits,
    warnings_of,
)
from fleetctl.zones import zone_of

__all__ = [
    "DATA_KINDS",
    "READ_ONLY",
    "api_version",
    "check_document",
    "duration",
    "metadata",
    "token_limits",
    "warnings_of",
]


def check_document(
    kind: str, workspace: str, name: str, doc: Mapping[str, Any], notes: list[Note] | None = None
) -> dict[str, Any]:
    """As `check_object`. Raises UsageError, RefusedError."""
    return check_object(kind, workspace, name, doc, notes, check_zone=zone_of)
