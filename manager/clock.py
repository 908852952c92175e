"""Times as people and messages write them. The clock itself is given by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]  # Unix seconds
Steady = Callable[[float], float]


def unchanged(now: float) -> float:
    """The steady clock of a wall clock that nobody sets, as in tests."""
    return now


def steady(start: float, monotonic: Clock) -> Steady:
    """Replaces a reading of the wall clock by seconds that no change of that clock moves, counted
    from `started`.
    """
    monotonic_start = monotonic()
    return lambda _now: start + monotonic() - monotonic_start


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def until(now: float, seconds: float) -> str:
    """`seconds` after `now`; the far future stands for what lies behind the calendar."""
    return rfc3339(min(now + seconds, 253402300799.0))


def unix(text: str) -> float:
    """Unix seconds of an RFC 3339 text, 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
