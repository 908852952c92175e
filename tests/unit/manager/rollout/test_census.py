"""The counts of a rollout after a hand-out, computed without reading them again."""

from __future__ import annotations

from fleetctl.core.model.ids import ClusterId
from manager.presence import HEARD
from manager.rollout.admission import PAUSE, Apart, Census, limit_to_budgets
from manager.store.counts import CountKey
from manager.store.queries.rollout.staged import Candidate

READY = CountKey("w", "web", 0, "apps", "Ready", is_staged=True, is_sent=True, is_current=True)
TOLD = READY._replace(state="WaitApplied", is_staged=False, is_current=False)


def candidate(name: str, count_key: CountKey = READY) -> Candidate:
    return Candidate(1, ClusterId(name), "key", 0, count_key)


def test_a_cluster_that_goes_counts_as_told() -> None:
    census = Census(Apart(), {READY: 3})
    after = census.after([candidate("a"), candidate("b")])
    assert after.free == {READY: 1, TOLD: 2}
    [tally] = after.tallies(1)
    assert (tally.ready, tally.down_started, tally.flying) == (1, 2, 2)
    assert census.free == {READY: 3}


def test_a_paused_cluster_that_a_person_sends_back_is_free_afterwards() -> None:
    """It leaves its group, and the other paused clusters stay in it."""
    apart = Apart(paused_clusters={ClusterId("a"), ClusterId("b")})
    group = (HEARD, PAUSE)
    after = Census(apart, {}, {group: {READY: 2}}).after([candidate("a")])
    assert (after.free, after.apart_counts) == ({TOLD: 1}, {group: {READY: 1}})
    assert after.apart.paused_clusters == {"b"}


def test_clusters_that_are_sent_back_stay_within_both_budgets() -> None:
    """A cluster that is down already costs no budget; one that may not go is passed over."""
    down = READY._replace(state="NotReady")
    candidates = [candidate(name) for name in "abc"] + [candidate("d", down), candidate("e", down)]
    chosen = limit_to_budgets(candidates, ([2], 1), lambda cluster: cluster not in {"a", "e"})
    assert [item.cluster for item in chosen] == ["b", "d"]
