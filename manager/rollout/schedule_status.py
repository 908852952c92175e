"""The status of Schedules as Fleet shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from fleetctl.core.rollout.schedule import Window, is_open, next_start

from ..store import Reader
from ..store.queries.rollout.schedules import clusters_by_schedule
from .calendars import Calendar, Calendars


class ScheduleRef(Protocol):
    """Names a Schedule."""

    @property
    def workspace(self) -> str: ...
    @property
    def name(self) -> str: ...


def status(
    reader: Reader, schedules: Iterable[ScheduleRef], now: float
) -> dict[tuple[str, str], dict[str, Any]]:
    """The status of each Schedule, by workspace and name."""
    calendars = Calendars(reader, now)
    members: dict[str, dict[str, list[str]]] = {}
    statuses: dict[tuple[str, str], dict[str, Any]] = {}
    for schedule in schedules:
        workspace, name = schedule.workspace, schedule.name
        if workspace not in members:
            members[workspace] = clusters_by_schedule(reader, workspace)
        clusters = members[workspace].get(name, [])
        statuses[workspace, name] = _status(calendars.of(workspace), name, clusters)
    return statuses


def _status(calendar: Calendar, name: str, clusters: Sequence[str]) -> dict[str, Any]:
    window = calendar.windows.get(name)
    if window is None:
        error = calendar.unreadable.get(name, "")
        return {
            "active": False,
            "nextStartTime": None,
            "matchingClusters": clusters,
            "display": {"state": "Stalled", "message": error},
            "conditions": [_ready_condition(error)],
        }
    return {
        "active": is_open(window, calendar.now),
        "nextStartTime": _local_time(next_start(window, calendar.now), window),
        "matchingClusters": clusters,
        "display": {"state": "Ready", "message": ""},
        "conditions": [_ready_condition("")],
    }


def _ready_condition(error: str) -> dict[str, str]:
    if error:
        return {"type": "Ready", "status": "False", "message": error}
    return {"type": "Ready", "status": "True"}


def _local_time(seconds: int | None, window: Window) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, window.zone).isoformat()
