"""The decision of a reconcile, on values."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    CommitId,
    Digest,
    Generation,
    RepoName,
    Workspace,
)
from fleetctl.core.model.plan import Have, Key
from fleetctl.core.rollout.removal_guard import Past, RemovalLimits
from manager.reconcile.decision import (
    FleetDifference,
    FleetState,
    ReconcileDecision,
    ReconcileLimits,
    compute_difference,
    decide_reconcile,
)
from manager.reconcile.removal_guard import NO_CONSENT, LossHistory, RemovalFacts
from manager.revisions.pins import Order
from manager.rollout.desired import DesiredFacts
from manager.store.queries import Scope

SPACE, WEB = Workspace("space"), BundleName("web")


def bundle(archive: str = "1", *, selector: dict[str, object] | None = None) -> BundleSpec:
    return BundleSpec(
        workspace=SPACE,
        name=WEB,
        repo=RepoName("apps"),
        path="web",
        commit=CommitId("c"),
        archive=Digest(archive),
        size=1,
        targets=[Target(name="all", cluster_selector=selector or {})],
    )


def cluster(name: str, **labels: str) -> Cluster:
    return Cluster(workspace=SPACE, name=name, id=ClusterId(name), labels=labels)


def state(spec: BundleSpec, fleet: list[Cluster], sent: dict[Key, Have]) -> FleetState:
    facts = DesiredFacts([Order(spec)], {})
    return FleetState(Scope(SPACE, bundles=[WEB]), fleet, [], [spec], facts, sent)


def sent_to(spec: BundleSpec, *clusters: Cluster) -> dict[Key, Have]:
    """What the clusters received when this was the bundle."""
    wants = compute_difference(state(spec, list(clusters), {})).deployments.wants
    return {
        key: Have(
            generation=Generation(1),
            archive=want.archive,
            options_digest=want.options_digest,
            options_key=want.options_key,
            target=want.target,
            customization=want.customization,
            keep_resources=want.keep_resources,
            bundle_facts=want.bundle_facts,
        )
        for key, want in wants.items()
    }


def decide(
    before: FleetState, *, rollouts: frozenset[BundleName] = frozenset()
) -> tuple[FleetDifference, ReconcileDecision]:
    difference = compute_difference(before)
    history = LossHistory({WEB: Past(of=100)}, set(), RemovalLimits())
    limits = ReconcileLimits(RemovalFacts(difference.losses, set(), history), rollouts)
    return difference, decide_reconcile(before, difference, limits, NO_CONSENT)


def test_a_decision_that_is_stored_leaves_no_difference() -> None:
    a, b = cluster("a"), cluster("b")
    difference, decision = decide(state(bundle(), [a, b], sent_to(bundle(), a, b)))
    assert not difference.changes
    assert not decision.changes


def test_without_a_rollout_clusters_receive_a_change_at_once() -> None:
    a = cluster("a")
    _, decision = decide(state(bundle("2"), [a], sent_to(bundle("1"), a)))
    assert [change.key for change in decision.immediate_changes] == [(a.id, WEB)]
    assert decision.immediate_clusters == {a.id}


def test_a_redeployment_of_a_bundle_with_a_rollout_is_staged() -> None:
    a = cluster("a")
    before = state(bundle("2"), [a], sent_to(bundle("1"), a))
    _, decision = decide(before, rollouts=frozenset({WEB}))
    assert decision.bundles_to_stage == {WEB}
    assert not decision.immediate_changes


def test_a_removal_does_not_wait_for_the_rollout() -> None:
    a, b = cluster("a", env="prod"), cluster("b", env="test")
    before = state(bundle(selector={"matchLabels": {"env": "prod"}}), [a, b], sent_to(bundle(), b))
    difference, decision = decide(before, rollouts=frozenset({WEB}))
    assert difference.losses == {(b.id, WEB)}
    assert [change.key for change in decision.immediate_changes] == [(b.id, WEB)]
    assert [change.key for change in decision.staged_changes] == [(a.id, WEB)]


def test_a_held_removal_is_no_change() -> None:
    fleet = [cluster(f"c{n:02}") for n in range(50)]
    before = state(
        bundle(selector={"matchLabels": {"env": "prod"}}), fleet, sent_to(bundle(), *fleet)
    )
    difference, decision = decide(before)
    assert len(difference.losses) == 50
    assert not decision.changes


def test_stored_numbers_count_for_clusters_outside_the_scope() -> None:
    difference = compute_difference(state(bundle(), [cluster("a")], {}))
    assert difference.cluster_counts({}) == {WEB: 1}
    assert difference.cluster_counts({WEB: 300}) == {WEB: 300}
