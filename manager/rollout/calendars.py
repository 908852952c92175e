"""The Schedules of workspaces at one time, and what they say of a combination of Schedules.

Rule: the clock says whether a window is open; that is never stored. A Schedule that cannot be read
(its time zone is unknown on this machine) holds its clusters and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.model.errors import FleetError
from fleetctl.core.rollout.schedule import ScheduleVerdict, Window, verdict, window_of
from fleetctl.zones import zone_of

from ..store import Reader
from ..store.queries.rollout.schedules import schedule_texts


@dataclass(frozen=True, slots=True)
class Calendar:
    """The Schedules of a workspace at one time. `unreadable`: why a Schedule cannot be read, by its
    name. `cache`: the verdicts of combinations of Schedules.
    """

    now: int
    windows: Mapping[str, Window]
    unreadable: Mapping[str, str]
    cache: dict[str, ScheduleVerdict] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.windows or self.unreadable)

    def verdict(self, names: str) -> ScheduleVerdict:
        """What the Schedules `names` (joined by commas) say of a cluster."""
        if names not in self.cache:
            self.cache[names] = self._verdict(names.split(","))
        return self.cache[names]

    def _verdict(self, names: Sequence[str]) -> ScheduleVerdict:
        for name in names:
            if name in self.unreadable:
                reason = f"schedule {name} cannot be read: {self.unreadable[name]}"
                return ScheduleVerdict(open=False, until=None, why=reason)
        windows = tuple(self.windows[name] for name in names if name in self.windows)
        return _remember_verdict(windows, self.now)


_MOST_VERDICTS = 1024
_verdicts: dict[tuple[Window, ...], tuple[int, ScheduleVerdict]] = {}


def _remember_verdict(windows: tuple[Window, ...], now: int) -> ScheduleVerdict:
    """The verdict, cached for as long as it is true: one that has to look through years (a window
    that never opens) is computed once.
    """
    since, entry = _verdicts.get(windows, (0, None))
    if entry is not None and since <= now and (entry.until is None or now < entry.until):
        return entry
    if len(_verdicts) >= _MOST_VERDICTS:
        _verdicts.clear()
    result = verdict(windows, now)
    _verdicts[windows] = now, result
    return result


def make_calendar(texts: Mapping[str, bytes], now: float) -> Calendar:
    """`texts`: the JSON specs of the Schedules by name."""
    windows: dict[str, Window] = {}
    unreadable: dict[str, str] = {}
    for name, text in texts.items():
        try:
            windows[name] = _window(name, text)
        except FleetError as error:
            unreadable[name] = error.summary
    return Calendar(int(now), windows, unreadable)


@lru_cache(maxsize=1024)
def _window(name: str, text: bytes) -> Window:
    spec = spec_of(msgspec.json.decode(text))
    return window_of(name, spec, zone_of(spec.location))


def read_calendar(reader: Reader, workspace: str, now: float) -> Calendar:
    return make_calendar(schedule_texts(reader, workspace), now)


class Calendars:
    """The calendars of the workspaces, each read when it is first needed."""

    def __init__(self, reader: Reader, now: float) -> None:
        self._reader, self._now = reader, now
        self._calendars: dict[str, Calendar] = {}

    def of(self, workspace: str) -> Calendar:
        if workspace not in self._calendars:
            self._calendars[workspace] = read_calendar(self._reader, workspace, self._now)
        return self._calendars[workspace]
