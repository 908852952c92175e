"""How long to wait before the manager is asked again: exponential with full jitter, so that a
manager that comes back is not run over.
"""

from __future__ import annotations

MOST_SECONDS = 60.0
_STOPPED_FACTOR = 15  # an agent that the manager does not know waits up to so many times as long
MOST_ASKED_SECONDS = 3600.0
_LEAST_SECONDS = 0.5


def stopped_seconds(failures: int, spread: float, longest: float = MOST_SECONDS) -> float:
    """Of an agent that the manager knows no more, after the n-th time in a row that it was told so:
    from half a minute to 15 min. It asks still, because the manager may have been restored, or the
    cluster be enrolled again with the same key.
    """
    return min(_STOPPED_FACTOR * longest, longest * 2.0 ** min(failures - 1, 20)) * (
        0.5 + spread / 2
    )


def pause_seconds(
    failures: int,
    spread: float,
    why: Exception | None = None,
    interval: float = 0.0,
    longest: float = MOST_SECONDS,
) -> float:
    """After the n-th failure in a row. `spread`: 0 to 1. At most `longest`, or the poll interval
    that a large fleet's manager gave.

    What `why` asks for (`after`, the manager's Retry-After) is obeyed up to an hour, and spread by
    10 %.
    """
    backoff = spread * min(max(longest, interval), 2.0 ** min(failures, 20))
    asked = min(float(getattr(why, "after", 0.0)), MOST_ASKED_SECONDS) * (1.0 + spread / 10)
    return max(_LEAST_SECONDS, backoff, asked)
