"""Many states as one: the state of a deployment as a person sees it, and Fleet's counters over all
of them.

Source: rancher/fleet `internal/cmd/controller/summary`, with two differences: every deployment
counts towards the worst state (Fleet looks at ten), and a cluster that is silent for too long is
`Offline`, never Ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetctl.core.model.ids import Generation
from fleetctl.core.model.status import WORST_FIRST, Report, State

# Fleet's name of each counter, in the order of its own summary.
_COUNTERS = {
    State.READY: "ready",
    State.NOT_READY: "notReady",
    State.PENDING: "pending",
    State.OUT_OF_SYNC: "outOfSync",
    State.MODIFIED: "modified",
    State.WAIT_APPLIED: "waitApplied",
    State.ERR_APPLIED: "errApplied",
    State.WAITING_FOR_DEPENDENCY: "waitingForDependency",
    State.WAITING_FOR_WINDOW: "waitingForWindow",
    State.OFFLINE: "offline",
}


# Fleet's tests before the one for a staged version (`GetDeploymentState`, steps 1 to 3), with our
# own words for waiting.
_BEFORE_STAGED = frozenset(
    {
        State.ERR_APPLIED,
        State.WAIT_APPLIED,
        State.WAITING_FOR_DEPENDENCY,
        State.WAITING_FOR_WINDOW,
        State.NOT_READY,
    }
)
# Fleet's `resourceCounts`, by the state of an object.
_RESOURCES = {
    "Ready": "ready",
    "WaitApplied": "waitApplied",
    "Modified": "modified",
    "Orphaned": "orphaned",
    "Missing": "missing",
    "Unknown": "unknown",
    "NotReady": "notReady",
}


def deployment_state(report: Report | None, wanted: Generation, *, paused: bool = False) -> State:
    """What the last report says of generation `wanted`; a report of an older one says only that we
    wait.
    """
    if report is None or report.generation < wanted:
        return (
            State.OUT_OF_SYNC
            if paused and report is not None and report.applied
            else State.WAIT_APPLIED
        )
    if report.state is State.READY and not (report.ready and report.applied >= wanted):
        return State.NOT_READY
    return report.state


def held_state(stored: State, *, told: bool, window: bool = False) -> State:
    """What is shown of a deployment for which a rollout holds a newer version back, by Fleet's
    order of tests: what is wrong with the one that it has comes first. `window`: it waits for a
    window of its cluster.
    """
    if not told:
        return State.WAITING_FOR_WINDOW if window else State.PENDING
    if stored in _BEFORE_STAGED:
        return stored
    return State.WAITING_FOR_WINDOW if window else State.OUT_OF_SYNC


def seen_state(stored: State, *, offline: bool, enrolled: bool) -> State:
    """`stored` as it may be shown: nothing is known of a cluster that is silent, and one that never
    enrolled is only waited for.
    """
    if not enrolled:
        return State.PENDING
    return State.OFFLINE if offline else stored


def count(states: Iterable[State]) -> dict[State, int]:
    counts: dict[State, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def together(parts: Iterable[Mapping[State, int]]) -> dict[State, int]:
    """The counts of several wholes as one."""
    totals: dict[State, int] = {}
    for counts in parts:
        for state, n in counts.items():
            totals[state] = totals.get(state, 0) + n
    return totals


def summarize(counts: Mapping[State, int]) -> dict[str, Any]:
    """Fleet's `status.summary`: a counter for each state that occurs, and how many there should
    be.
    """
    total = sum(counts.values())
    summary: dict[str, Any] = {"ready": counts.get(State.READY, 0), "desiredReady": total}
    return summary | {
        word: counts[state]
        for state, word in _COUNTERS.items()
        if state is not State.READY and counts.get(state)
    }


def tally_of(report: Report) -> str:
    """The report's objects by state, as text that is equal for equal numbers:
    `Ready=3,NotReady=1`.
    """
    tally: dict[str, int] = {}
    for resource in report.resources:
        tally[resource.state] = tally.get(resource.state, 0) + 1
    return ",".join(f"{state}={tally[state]}" for state in _RESOURCES if state in tally)


def resource_counts(tallies: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Fleet's `resourceCounts` over deployments: (what `tally_of` said, how many deployments said
    so).
    """
    counts = {"desiredReady": 0, **dict.fromkeys(_RESOURCES.values(), 0)}
    for text, deployments in tallies:
        for part in filter(None, text.split(",")):
            state, _, amount = part.partition("=")
            counts[_RESOURCES[state]] += int(amount) * deployments
            counts["desiredReady"] += int(amount) * deployments * (state != "Orphaned")
    return counts


def worst_of(counts: Mapping[State, int]) -> State:
    """The state of the whole; Ready when it is made of nothing."""
    return next((state for state in WORST_FIRST if counts.get(state)), State.READY)
