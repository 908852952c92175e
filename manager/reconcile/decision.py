"""Decides what a reconcile stores: values in, values out. It has no connection.

`compute_difference` compares what clusters should receive with what they received;
`decide_reconcile` sorts the changes: removals that wait for a person, changes that go through a
rollout, and changes that clusters receive at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Change, Have, Key, clusters_of, decide

from ..rollout.desired import DesiredDeployments, DesiredFacts, compute_desired
from ..store.queries import Scope
from .removal_guard import (
    RemovalConsent,
    RemovalDecision,
    RemovalFacts,
    TargetedKeys,
    decide_removals,
    find_losses,
)


@dataclass(frozen=True)
class FleetState:
    """What the store knows of a scope: clusters and groups, the `bundles` as Git has them with
    their pins, and what the clusters received (`deliveries`).
    """

    scope: Scope
    fleet: Sequence[Cluster]
    groups: Sequence[Group]
    bundles: Sequence[BundleSpec]
    facts: DesiredFacts
    deliveries: Mapping[Key, Have]


@dataclass(frozen=True)
class FleetDifference:
    """`changes` from what clusters received to what is `deployments`; `losses`: deployments that no
    target selects any more.
    """

    deployments: DesiredDeployments
    targets: TargetedKeys
    changes: Sequence[Change]
    losses: set[Key]

    @property
    def specs(self) -> dict[BundleName, BundleSpec]:
        """The bundles by name."""
        return {spec.name: spec for spec in self.deployments.specs}

    def cluster_counts(self, totals: Mapping[BundleName, int]) -> dict[BundleName, int]:
        """Return the number of clusters of each bundle. `totals`: stored numbers, for a scope that
        does not contain all clusters.
        """
        counts = Counter(bundle for _, bundle in self.deployments.wants)
        return {
            name: max(counts[name], totals.get(name, 0)) for name in counts.keys() | totals.keys()
        }


@dataclass(frozen=True)
class ReconcileLimits:
    """What delays changes: facts about removals, and the bundles that have or need a rollout."""

    removals: RemovalFacts
    rollouts: AbstractSet[BundleName]


@dataclass(frozen=True)
class ReconcileDecision:
    """The changes without held removals: `staged_changes` wait for their rollouts,
    `immediate_changes` reach their clusters at once. `rollouts`: bundles that have or need a
    rollout.
    """

    removals: RemovalDecision
    staged_changes: Sequence[Change]
    immediate_changes: Sequence[Change]
    rollouts: AbstractSet[BundleName]

    @property
    def changes(self) -> list[Change]:
        return [*self.staged_changes, *self.immediate_changes]

    @property
    def bundles_to_stage(self) -> set[BundleName]:
        return {change.key[1] for change in self.staged_changes}

    @property
    def immediate_clusters(self) -> set[ClusterId]:
        """The clusters whose documents change at once."""
        return clusters_of(self.immediate_changes)


def compute_difference(state: FleetState) -> FleetDifference:
    """Compare what the clusters should receive with what they received."""
    deployments = compute_desired(state.facts, state.fleet, state.groups)
    targets = TargetedKeys(
        deployments.wants,
        {spec.name for spec in deployments.specs},
        {cluster.id for cluster in state.fleet},
    )
    changes = decide(deployments.wants, state.deliveries)
    return FleetDifference(
        deployments, targets, changes, find_losses(targets, state.deliveries, changes)
    )


def decide_reconcile(
    state: FleetState,
    difference: FleetDifference,
    limits: ReconcileLimits,
    consent: RemovalConsent,
) -> ReconcileDecision:
    """Decide which changes happen now. Raises Conflict when `consent` states another number of
    removals.
    """
    removals = decide_removals(limits.removals, difference.targets, consent, state.scope.workspace)
    staged_changes, immediate_changes = [], []
    for change in difference.changes:
        if change.key in removals.blocked_keys:
            continue
        if change.want is not None and change.redeploy and change.key[1] in limits.rollouts:
            staged_changes.append(change)
        else:
            immediate_changes.append(change)
    return ReconcileDecision(removals, staged_changes, immediate_changes, limits.rollouts)
