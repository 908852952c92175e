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
    lost_keys,
)


@dataclass(frozen=True)
class FleetState:
    """What the store knows of a scope: clusters and groups, the `bundles` as Git has them with
    their pins, and what the clusters received (`sent`).
    """

    scope: Scope
    fleet: Sequence[Cluster]
    groups: Sequence[Group]
    bundles: Sequence[BundleSpec]
    facts: DesiredFacts
    sent: Mapping[Key, Have]


@dataclass(frozen=True)
class FleetDifference:
    """`changes` from what clusters received to what is `desired`; `lost`: deployments that no
    target selects any more.
    """

    desired: DesiredDeployments
    targeted: TargetedKeys
    changes: Sequence[Change]
    lost: set[Key]

    @property
    def specs(self) -> dict[BundleName, BundleSpec]:
        """The bundles by name."""
        return {spec.name: spec for spec in self.desired.specs}

    def cluster_counts(self, totals: Mapping[BundleName, int]) -> dict[BundleName, int]:
        """Return the number of clusters of each bundle. `totals`: stored numbers, for a scope that
        does not contain all clusters.
        """
        counts = Counter(bundle for _, bundle in self.desired.wants)
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
    """The changes without held removals: `staged` ones wait for their rollouts, `immediate` ones
    reach their clusters at once. `rollouts`: bundles that have or need a rollout.
    """

    removals: RemovalDecision
    staged: Sequence[Change]
    immediate: Sequence[Change]
    rollouts: AbstractSet[BundleName]

    @property
    def changes(self) -> list[Change]:
        return [*self.staged, *self.immediate]

    @property
    def staged_bundles(self) -> set[BundleName]:
        return {change.key[1] for change in self.staged}

    @property
    def immediate_clusters(self) -> set[ClusterId]:
        """The clusters whose documents change at once."""
        return clusters_of(self.immediate)


def compute_difference(state: FleetState) -> FleetDifference:
    """Compare what the clusters should receive with what they received."""
    desired = compute_desired(state.facts, state.fleet, state.groups)
    targeted = TargetedKeys(
        desired.wants,
        {spec.name for spec in desired.specs},
        {cluster.id for cluster in state.fleet},
    )
    changes = decide(desired.wants, state.sent)
    return FleetDifference(desired, targeted, changes, lost_keys(targeted, state.sent, changes))


def decide_reconcile(
    state: FleetState,
    difference: FleetDifference,
    limits: ReconcileLimits,
    consent: RemovalConsent,
) -> ReconcileDecision:
    """Decide which changes happen now. Raises Conflict when `consent` states another number of
    removals.
    """
    removals = decide_removals(limits.removals, difference.targeted, consent, state.scope.workspace)
    staged, immediate = [], []
    for change in difference.changes:
        if change.key in removals.blocked:
            continue
        if change.want is not None and change.redeploy and change.key[1] in limits.rollouts:
            staged.append(change)
        else:
            immediate.append(change)
    return ReconcileDecision(removals, staged, immediate, limits.rollouts)
