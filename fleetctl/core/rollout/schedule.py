"""When clusters may change: Fleet's `Schedule`, and ours beyond it, windows that forbid. Pure;
times are whole Unix seconds.

Rule: a window begins at each local time that its cron expression names, and lasts its duration in
real, elapsed time; windows that touch or overlap are one. A cluster under schedules may change
while one that allows is open and none that forbids is; one under none always may, and one under
forbidding ones only, while none of them is open.

Where the clock is put forward, an expression that names its hours begins at the end of the missing
time, so that no night is without its window; where it is put back, it begins once, the first time.
One that does not name its hours (`*`, `*/2`) goes by real time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec

from fleetctl.core.model.bundle import Target
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout import cron as crons
from fleetctl.core.rollout.cron import Cron
from fleetctl.core.text.duration import DurationTooLong, parse_duration

_NEAR = 50 * 3600  # no zone has shifted by more than a day
_PROBE = 6 * 3600
_MOST_STEPS = 10_000
_FOREVER = 10 * 366  # days; what is open for so long without a pause is said never to close
_MOST_SECONDS = 10 * 366 * 86400
_MOST_TURNS = 200
_LEAP = 100  # days
_MOST_BACK = 1000


class ScheduleTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The criteria of a target."""

    name: str | None = None
    cluster_name: str | None = None
    cluster_selector: dict[str, Any] | None = None
    cluster_group: str | None = None
    cluster_group_selector: dict[str, Any] | None = None


class ScheduleTargets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    clusters: list[ScheduleTarget] | None = None


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Fleet's keys, and `deny` (ours): the window forbids instead of allowing."""

    schedule: str
    duration: str
    location: str = ""
    deny: bool = False
    targets: ScheduleTargets = ScheduleTargets()


@dataclass(frozen=True, slots=True)
class Window:
    """`seconds`: how long it is open. `location` is the zone's name as it is shown."""

    name: str
    cron: Cron
    seconds: int
    zone: tzinfo
    location: str
    deny: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleVerdict:
    """Whether a cluster may change at a time, and until when that stays so (None: for ever). `why`
    says what holds it.
    """

    open: bool
    until: int | None
    why: str = ""


def targets_of(spec: ScheduleSpec) -> list[Target]:
    return [
        Target(
            name=t.name or "",
            cluster_name=t.cluster_name or "",
            cluster_selector=t.cluster_selector,
            cluster_group=t.cluster_group or "",
            cluster_group_selector=t.cluster_group_selector,
        )
        for t in spec.targets.clusters or ()
    ]


def seconds_of(text: str) -> int:
    """A duration in Go's syntax (`1h30m`) in whole seconds. Raises UsageError."""
    try:
        seconds = int(parse_duration(text))
    except DurationTooLong:
        seconds = _MOST_SECONDS + 1
    except ValueError as error:
        step = "Write it like 90m or 2h30m; two days are 48h."
        raise UsageError(f"duration: {error}", subject="spec.duration", next_step=step) from error
    if not 1 <= seconds <= _MOST_SECONDS:
        raise UsageError(
            f"duration: {text[:40]!r} is not between 1s and 10 years",
            subject="spec.duration",
            next_step="Write how long the window is open.",
        )
    return seconds


def window_of(name: str, spec: ScheduleSpec, zone: tzinfo) -> Window:
    """Raises UsageError."""
    return Window(
        name,
        crons.parse(spec.schedule),
        seconds_of(spec.duration),
        zone,
        spec.location or "UTC",
        spec.deny,
    )


def is_open(window: Window, now: int) -> bool:
    start = next_start(window, now - window.seconds)
    return start is not None and start <= now


def next_start(window: Window, after: int) -> int | None:
    """The first time later than `after` at which it begins, whether it is open already or not;
    None: never again.
    """
    at, zone, is_fixed_time = after, window.zone, not window.cron.hourly
    # `after` itself does not count, but a change of the clock in the second after it does
    first = 1
    for _ in range(_MOST_STEPS):
        if is_fixed_time and _is_repeated(zone, at):
            at, first = _end_of_repeat(zone, at), 0
            continue
        offset = _offset(zone, at)
        local = crons.next_match(window.cron, at + offset + first)
        if local is None:
            return None
        moment = local - offset
        if moment - at > 2 * _NEAR:
            # nothing matches before; what the clock does meanwhile does not matter
            at, first = moment - _NEAR, 0
            continue
        change = _change(zone, at, moment)
        if change is None:
            return moment
        if is_fixed_time and local < change + _offset(zone, change):
            return change  # the clock jumps over it
        at, first = change, 0
    return None


def next_change(window: Window, now: int) -> int | None:
    """The first time later than `now` at which it opens or closes; None: never."""
    return _close(window, now) if is_open(window, now) else next_start(window, now)


def spans(window: Window, now: int, count: int) -> list[tuple[int, int | None]]:
    """When it is open, from `now` on: (begin, end), end None for ever. One that is open begins in
    the past.
    """
    result: list[tuple[int, int | None]] = []
    start = _last_start(window, now) if is_open(window, now) else next_start(window, now)
    while start is not None and len(result) < count:
        end = next_change(window, max(start, now))
        result.append((start, end))
        start = next_start(window, end - 1) if end is not None else None
    return result


def _last_start(window: Window, now: int) -> int:
    """When a window that is open has begun, looking back over so many of its starts at most."""
    start = now
    for _ in range(_MOST_BACK):
        earlier = next_start(window, start - window.seconds)
        if earlier is None or earlier >= start:
            break
        start = earlier
    return start


def _close(window: Window, now: int) -> int | None:
    """When a window that is open closes: the first end that no other start comes before, or at."""
    start = next_start(window, now - window.seconds)
    assert start is not None
    dense, gapless = (
        crons.widest_gap(window.cron) <= window.seconds,
        crons.is_gapless(window.cron, window.seconds),
    )
    while start - now <= _FOREVER * crons.DAY:
        if dense:
            start = _same_block(window, start, _LEAP if gapless else 1)
        following = next_start(window, start)
        if following is None or following > start + window.seconds:
            return start + window.seconds
        start = following
    return None


def _same_block(window: Window, start: int, days: int) -> int:
    """The last start of these local days before the clock is changed: between it and `start` the
    window does not close. So every second of ten years is not looked at.
    """
    offset = _offset(window.zone, start)
    last = ((start + offset) // crons.DAY + days) * crons.DAY - 1 - offset
    change = _change(window.zone, start, last)
    day, second = divmod((last if change is None else change - 1) + offset, crons.DAY)
    block_start = crons.last_within(window.cron, second)
    return start if block_start is None else max(start, day * crons.DAY + block_start - offset)


def verdict(windows: Sequence[Window], now: int) -> ScheduleVerdict:
    """What all the windows that a cluster is under say together. Deny wins."""
    holding_window = _holding_window(windows, now)
    if holding_window is None:
        changes = [change for window in windows if (change := next_change(window, now)) is not None]
        return ScheduleVerdict(open=True, until=min(changes, default=None))
    at, relevant_window = now, holding_window
    for _ in range(_MOST_TURNS):
        following = _release(windows, at)
        if following is None:
            text = (
                "forbids changes and never closes" if relevant_window.deny else "never opens again"
            )
            return ScheduleVerdict(
                open=False, until=None, why=f"window {relevant_window.name} {text}"
            )
        at, relevant_window = following
        holding_window = _holding_window(windows, at)
        if holding_window is None:
            text = "forbids changes until" if relevant_window.deny else "opens at"
            return ScheduleVerdict(
                open=False,
                until=at,
                why=f"window {relevant_window.name} {text} {format_time(at, relevant_window)}",
            )
        relevant_window = holding_window
    return ScheduleVerdict(
        open=False, until=None, why="windows that allow changes open only while others forbid them"
    )


def _holding_window(windows: Sequence[Window], at: int) -> Window | None:
    """What holds changes at this time, or None."""
    for window in windows:
        if window.deny and is_open(window, at):
            return window
    allowing = [window for window in windows if not window.deny]
    return None if not allowing or any(is_open(window, at) for window in allowing) else allowing[0]


def _release(windows: Sequence[Window], at: int) -> tuple[int, Window] | None:
    """The first time after `at` that what holds now may be over, and the window that it depends on;
    None: never.
    """
    forbidding = [window for window in windows if window.deny and is_open(window, at)]
    if forbidding:
        ends = [(next_change(window, at), window) for window in forbidding]
        known_ends = [(end, window) for end, window in ends if end is not None]
        return max(known_ends, key=_first) if len(known_ends) == len(ends) else None
    starts = [(next_start(window, at), window) for window in windows if not window.deny]
    return min(
        ((start, window) for start, window in starts if start is not None), key=_first, default=None
    )


def _first(pair: tuple[int, Window]) -> int:
    return pair[0]


def format_time(at: int, window: Window) -> str:
    """`2026-11-26T02:00:00+01:00 (Europe/Berlin)`."""
    return f"{datetime.fromtimestamp(at, window.zone).isoformat()} ({window.location})"


def _offset(zone: tzinfo, at: int) -> int:
    """Seconds by which local time is ahead of UTC; fractions of a minute occur before 1972 only."""
    return int((datetime.fromtimestamp(at, zone).utcoffset() or timedelta()).total_seconds())


def _change(zone: tzinfo, after: int, until: int) -> int | None:
    """The first time in (after, until] with another offset than `after` has."""
    offset, low = _offset(zone, after), after
    while low < until:
        high = min(low + _PROBE, until)
        if _offset(zone, high) != offset:
            return _first_true(low, high, lambda at: _offset(zone, at) != offset)
        low = high
    return None


def _is_repeated(zone: tzinfo, at: int) -> bool:
    """Whether the clock shows a time that it has shown before, because it was put back."""
    return zone is not UTC and datetime.fromtimestamp(at, zone).fold == 1


def _end_of_repeat(zone: tzinfo, at: int) -> int:
    return _first_true(at, at + _NEAR, lambda second: not _is_repeated(zone, second))


def _first_true(low: int, high: int, test: Any) -> int:
    """The first in (low, high] for which `test` holds; it does for `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle, high)
    return high
