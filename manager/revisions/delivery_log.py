"""Reads the delivery log of a deployment: what its cluster was sent before the present version.

Rule: `manager/store/commands/delivery.py` writes a line in the statement that sends the cluster
a new generation; this module reads the lines. A line holds the id of the decision
(manager/revisions/audit_log.py), the generation, when the cluster was sent it, the state at the
moment of the next delivery and since when, when the deployment was first Ready, and the error
message. The newest line comes first; a line that was cut at the end is ignored.
"""

from __future__ import annotations

from typing import NamedTuple

from fleetctl.core.model.status import State

MOST_LINES = 10
# The id in place of a decision: the cluster was sent the removal of the bundle.
REMOVAL = -1


class LoggedDelivery(NamedTuple):
    """One delivery. Times in Unix seconds, 0 never; `state`: the last report before the next
    delivery.
    """

    decision: int
    generation: int
    sent_at: int
    state: str
    state_since: int
    first_ready_at: int
    message: str


def state_times(previous: str, ready_at: int, state: str, now: int) -> dict[str, int]:
    """Return the columns that a report sets together with `state`: since when the deployment is in
    this state, and when it was first Ready. `previous`, `ready_at`: the state and that time as
    stored.
    """
    times = {"state_since": now} if previous != state else {}
    if state == State.READY.value and not ready_at:
        times["first_ready_at"] = now
    return times


def parse_lines(log: str) -> list[LoggedDelivery]:
    """The deliveries, the newest first, at most ten."""
    complete = log.split("\n")[:-1][:MOST_LINES]
    return [_parse_line(text) for text in complete]


def _parse_line(text: str) -> LoggedDelivery:
    decision, generation, sent_at, state, state_since, first_ready_at, message = text.split("|", 6)
    return LoggedDelivery(
        int(decision),
        int(generation),
        int(sent_at),
        state,
        int(state_since),
        int(first_ready_at),
        message,
    )
