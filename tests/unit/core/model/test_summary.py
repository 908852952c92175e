"""States by Fleet's own tests, in Fleet's order, and counters that are the sum of their parts."""

from __future__ import annotations

import itertools

import pytest

from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.status import WORST_FIRST, Report, ResourceStatus, State, rank, worst
from fleetctl.core.model.summary import (
    deployment_state,
    held_state,
    resource_counts,
    seen_state,
    summarize,
    tally_of,
    worst_of,
)

E, W, N, O, M, R = (  # noqa: E741
    State.ERR_APPLIED,
    State.WAIT_APPLIED,
    State.NOT_READY,
    State.OUT_OF_SYNC,
    State.MODIFIED,
    State.READY,
)
D, P = State.WAITING_FOR_DEPENDENCY, State.PENDING


def report(state: State, *, generation: int = 2, applied: int = 2) -> Report:
    return Report(
        bundle=BundleName("web"),
        generation=Generation(generation),
        applied=Generation(applied),
        state=state,
        ready=state is R,
    )


# What the agent says, of generation 2; (as it is, and when a newer version is staged).
FLEETS_ORDER = [
    ("1: it was not applied, and deploying failed", report(E, applied=1), E, E),
    ("2: it was not applied, and nothing failed", report(W, applied=1), W, W),
    ("2: it waits for another bundle", report(D, applied=1), D, D),
    ("3: it is applied, and not ready", report(N), N, N),
    ("3: it says Ready, and has not applied it", report(R, applied=1), N, N),
    ("4: paused, with an earlier version", report(O, applied=1), O, O),
    ("5: somebody changed it; a staged version comes first", report(M), M, O),
    ("6: nothing is wrong; a staged version is", report(R), R, O),
]


@pytest.mark.parametrize(
    ("what", "said", "plain", "staged"), FLEETS_ORDER, ids=[row[0] for row in FLEETS_ORDER]
)
def test_a_deployment_by_the_order_of_fleets_tests(
    what: str, said: Report, plain: State, staged: State
) -> None:
    """`summary.GetDeploymentState`: failed, not applied, not ready, out of sync, modified,
    ready.
    """
    assert deployment_state(said, Generation(2)) is plain
    assert held_state(plain, told=True) is staged


@pytest.mark.parametrize("state", list(State))
def test_an_older_report_says_only_that_we_wait(state: State) -> None:
    """Whatever it was at generation 2, of 3 nothing is known."""
    assert deployment_state(report(state), Generation(3)) is W
    assert deployment_state(None, Generation(3)) is W


@pytest.mark.parametrize("state", list(State))
def test_who_is_silent_is_offline_and_never_ready(state: State) -> None:
    """And who never enrolled is only waited for, as is what was never told."""
    assert seen_state(state, offline=True, enrolled=True) is State.OFFLINE
    assert seen_state(state, offline=True, enrolled=False) is P
    assert seen_state(state, offline=False, enrolled=True) is state
    assert held_state(state, told=False) is P


def test_ranks_are_fleets_with_ours_between() -> None:
    """StateRank: ErrApplied 7, WaitApplied 6, Modified 5, OutOfSync 4, Pending 3, NotReady 2, Ready
    1.
    """
    fleets = [E, W, M, O, P, N, R]
    assert sorted(fleets, key=rank) == fleets
    assert WORST_FIRST.index(State.OFFLINE) == WORST_FIRST.index(W) + 1
    assert set(WORST_FIRST) == set(State)


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations(State, 2)))
def test_the_worst_of_two_is_the_one_of_the_higher_rank(a: State, b: State) -> None:
    """Counted or listed; one bad one among very many good ones is seen."""
    wanted = min((a, b), key=rank)
    assert worst([b, a]) is wanted
    assert worst_of({a: 1, b: 1}) is wanted
    assert worst_of({R: 999_999, a: 1}) is (a if a is not R else R)


def test_counters_are_the_sum_of_their_parts() -> None:
    """Each state has a counter of its own, and all of them together are what is desired."""
    counts = {state: at + 1 for at, state in enumerate(State)}
    found = summarize(counts)
    total = found.pop("desiredReady")
    assert total == sum(counts.values()) == sum(found.values())
    assert len(found) == len(State)
    assert summarize({}) == {"ready": 0, "desiredReady": 0}


def test_objects_are_counted_as_fleet_counts_them() -> None:
    """`resourceCounts` over deployments; one that is extra is not desired."""
    states = (
        "Ready",
        "Ready",
        "NotReady",
        "Modified",
        "Missing",
        "Orphaned",
        "Unknown",
        "of a later agent",
    )
    resources = [
        ResourceStatus(api_version="v1", kind="A", name=str(at), state=state)
        for at, state in enumerate(states)
    ]
    text = tally_of(
        Report(bundle=BundleName("web"), generation=Generation(1), state=M, resources=resources)
    )
    assert text == "Ready=2,Modified=1,Orphaned=1,Missing=1,Unknown=1,NotReady=1"
    assert resource_counts([(text, 3), ("", 9), ("Ready=1", 2)]) == {
        "desiredReady": 20,
        "ready": 8,
        "waitApplied": 0,
        "modified": 3,
        "orphaned": 3,
        "missing": 3,
        "unknown": 3,
        "notReady": 3,
    }
