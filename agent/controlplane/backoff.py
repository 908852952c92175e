"""The waits between requests to the manager while it does not answer or refuses this agent.

They grow and are spread, so that the agents of a large fleet do not all ask at once a manager that
has just come back.
"""

from __future__ import annotations

from fleetctl.core.timing.backoff import Backoff

MAX_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 3600.0
_FIRST_SECONDS = 2.0
_MIN_SECONDS = 0.5
_UNKNOWN_AGENT_FACTOR = 15  # an agent that the manager does not know waits so much longer


def unknown_agent_seconds(failures: int, fraction: float, longest: float = MAX_SECONDS) -> float:
    """The wait after the n-th answer in a row that this agent is unknown: half a minute to 15 min.

    It keeps asking, because the manager may be restored, or the cluster may be enrolled again with
    the same key. `fraction`: random, 0 to 1.
    """
    backoff = Backoff(longest, _UNKNOWN_AGENT_FACTOR * longest, jitter=0.5)
    return backoff.seconds(failures, fraction)


def pause_seconds(
    failures: int,
    fraction: float,
    error: Exception | None = None,
    interval: float = 0.0,
    longest: float = MAX_SECONDS,
) -> float:
    """The wait after the n-th failure in a row, at most `longest` or the poll interval that the
    manager of a large fleet gave. `fraction`: random, 0 to 1.

    A wait that the manager asked for (Retry-After, `after` of the error) is obeyed up to an hour,
    and spread by 10 %.
    """
    wait = Backoff(_FIRST_SECONDS, max(longest, interval), jitter=1.0).seconds(failures, fraction)
    after = min(float(getattr(error, "after", 0.0)), MAX_RETRY_AFTER_SECONDS)
    return max(_MIN_SECONDS, wait, after * (1.0 + fraction / 10))
