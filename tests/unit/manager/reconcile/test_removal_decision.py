"""The decision about removals, on values."""

from __future__ import annotations

import pytest

from fleetctl.core.model.errors import Conflict
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Key
from fleetctl.core.rollout.removal_guard import Cause, Past, RemovalLimits
from manager.reconcile.removal_guard import (
    NO_CONSENT,
    LossHistory,
    RemovalConsent,
    RemovalDecision,
    RemovalFacts,
    TargetedKeys,
    decide_removals,
)

WEB = BundleName("web")
SPACE = Workspace("space")


def keys(*clusters: str) -> set[Key]:
    return {(ClusterId(cluster), WEB) for cluster in clusters}


def history(of: int, *emptied: str) -> LossHistory:
    return LossHistory({WEB: Past(of=of)}, {ClusterId(c) for c in emptied}, RemovalLimits())


def decide(
    facts: RemovalFacts, targeted: set[Key] | None = None, consent: RemovalConsent = NO_CONSENT
) -> RemovalDecision:
    clusters = {cluster for cluster, _ in facts.losses | facts.holds}
    return decide_removals(facts, TargetedKeys(targeted or set(), {WEB}, clusters), consent, SPACE)


def test_a_small_loss_is_removed_and_counted() -> None:
    decision = decide(RemovalFacts(keys("a"), set(), history(100)))
    assert (decision.removals, decision.unconfirmed_keys) == (keys("a"), keys("a"))
    assert not decision.blocked_keys


def test_a_large_loss_is_held() -> None:
    lost = keys(*(f"c{n}" for n in range(30)))
    decision = decide(RemovalFacts(lost, set(), history(100)))
    assert decision.blocked_keys == lost
    assert set(decision.verdict.held.values()) == {Cause.MANY}
    assert not decision.removals


def test_the_last_bundle_of_a_cluster_is_held() -> None:
    decision = decide(RemovalFacts(keys("a"), set(), history(100, "a")))
    assert decision.verdict.held == dict.fromkeys(keys("a"), Cause.LAST)


def test_a_held_removal_stays_held_although_few_are_left() -> None:
    decision = decide(RemovalFacts(keys("a"), keys("a", "b")))
    assert decision.blocked_keys == keys("a")
    assert decision.released_keys == keys("b"), "its target selects it again, or it was deleted"


def test_a_cluster_that_is_selected_again_is_released() -> None:
    decision = decide(RemovalFacts(set(), keys("a")), targeted=keys("a"))
    assert decision.released_keys == keys("a")
    assert decision.bundles == {WEB}


def test_confirmed_keys_are_removed_and_not_counted() -> None:
    facts = RemovalFacts(keys("a", "b"), keys("a", "b"))
    decision = decide(facts, consent=RemovalConsent(keys=keys("a")))
    assert (decision.removals, decision.blocked_keys) == (keys("a"), keys("b"))
    assert not decision.unconfirmed_keys


def test_a_stated_number_removes_exactly_that_many() -> None:
    facts = RemovalFacts(keys("a", "b"), set())
    assert decide(facts, consent=RemovalConsent(number=2)).removals == keys("a", "b")
    with pytest.raises(Conflict, match="2 deployments would be removed, not 1"):
        decide(facts, consent=RemovalConsent(number=1))


def test_nothing_lost_and_nothing_held_decides_nothing() -> None:
    decision = decide(RemovalFacts(set(), set()), consent=RemovalConsent(number=3))
    assert not decision.removals | decision.blocked_keys | decision.released_keys
