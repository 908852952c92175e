"""Presence: when each cluster's agent was heard last, and which clusters are silent."""

from __future__ import annotations

from .silence import HEARD, OFFLINE, UNKNOWN
from .table import OFFLINE_SECONDS, Presence, PresenceTable, Word

__all__ = [
    "HEARD",
    "OFFLINE",
    "OFFLINE_SECONDS",
    "UNKNOWN",
    "Presence",
    "PresenceTable",
    "Word",
]
