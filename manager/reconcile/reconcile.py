"""Reconciles what bundles, clusters and groups say with what each cluster receives: gather, decide
without a connection (manager/reconcile/decision.py), commit only the differences.

All of it runs inside one write transaction, so that what was read is still true when the decision
is stored. Status reports are never read here. What goes through a rollout is only staged
(manager/rollout/staging.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change, Have, Key

from ..clock import unix
from ..revisions import delivery_log
from ..rollout import batches, late_joiners, schedules, staging
from ..rollout.desired import (
    DesiredFacts,
    compute_desired,
    downstream_resources,
    find_copied_objects,
    gather_desired,
)
from ..store import Reader, Writer, counts
from ..store.commands import deployments as commands
from ..store.commands.documents import mark_documents_changed
from ..store.commands.rollout.rollouts import delete_rollouts, mark_rollouts, restart_rollouts
from ..store.keys import Dirty
from ..store.queries import Scope, bundle_specs, fleet_clusters, groups, next_generation
from ..store.queries.bundles import specs_with_downstream_resources
from ..store.queries.rollouts import bundles_to_partition
from ..store.queries.targeting import sent_deployments
from .decision import (
    FleetDifference,
    FleetState,
    ReconcileDecision,
    ReconcileLimits,
    compute_difference,
    decide_reconcile,
)
from .removal_guard import NO_CONSENT, RemovalConsent, commit_removals, gather_removals


@dataclass(frozen=True)
class ReconcileResult:
    """What a reconcile did. `changed_clusters`: clusters whose documents changed; `removals`:
    deployments that no target selects any more; `new_holds`: deployments whose removal is held now
    and was not before; `changes`: all differences, held removals included; `deliveries`: what the
    clusters had received before.
    """

    changed_clusters: set[ClusterId] = field(default_factory=set)
    removals: AbstractSet[Key] = frozenset()
    new_holds: AbstractSet[Key] = frozenset()
    changes: Sequence[Change] = ()
    deliveries: Mapping[Key, Have] = field(default_factory=dict)


def reconcile(writer: Writer, scope: Scope, *, now: str) -> set[ClusterId]:
    """Store what the clusters in `scope` should receive. Returns the clusters whose documents
    changed.
    """
    return reconcile_scope(writer, scope, now=now).changed_clusters


def reconcile_scope(
    writer: Writer, scope: Scope, *, now: str, consent: RemovalConsent | None = None
) -> ReconcileResult:
    """Store what the clusters in `scope` should receive, except removals that are held. `consent`:
    what a person allows to be removed; without it very large changes are stored in batches.

    Raises Conflict when `consent` states another number of removals.
    """
    if consent is None:
        scope, consent = batches.put_off(writer, scope), NO_CONSENT
    if scope.bundles is not None and not scope.bundles:
        return ReconcileResult()
    state = gather_state(writer, scope)
    if scope.bundles is None:
        # The labels or groups that Schedules select by may have changed.
        schedules.assign(writer, scope, state.fleet, state.groups)
    difference = compute_difference(state)
    limits = gather_limits(writer, state, difference, consent, now)
    decision = decide_reconcile(state, difference, limits, consent)
    changed_clusters = commit_decision(writer, state, difference, decision, now)
    removals = decision.removals
    return ReconcileResult(
        changed_clusters,
        removals.removals,
        removals.verdict.held.keys(),
        difference.changes,
        state.deliveries,
    )


def gather_state(reader: Reader, scope: Scope) -> FleetState:
    """Read clusters, groups, bundles and what the clusters received."""
    fleet = fleet_clusters(reader, scope)
    bundles = bundle_specs(reader, scope)
    return FleetState(
        scope=scope,
        fleet=fleet,
        groups=groups(reader, scope.workspace),
        bundles=bundles,
        facts=gather_desired(reader, scope.workspace, bundles, fleet),
        deliveries=sent_deployments(reader, scope),
    )


def gather_limits(
    reader: Reader,
    state: FleetState,
    difference: FleetDifference,
    consent: RemovalConsent,
    now: str,
) -> ReconcileLimits:
    """Read what may delay the changes: holds and losses, rollouts, Schedules and batches."""
    scope, changes = state.scope, difference.changes
    removals = gather_removals(reader, scope, difference.targets, difference.losses, now, consent)
    totals: dict[BundleName, int] = {}
    if scope.clusters is not None:
        totals = counts.count_by_bundle(
            reader, scope.workspace, {change.key[1] for change in changes}
        )
    rollouts = staging.bundles_with_rollouts(
        reader, scope.workspace, difference.deployments.specs, difference.cluster_counts(totals)
    )
    rollouts |= schedules.gated(reader, scope.workspace, changes)
    rollouts |= batches.pending(reader, scope.workspace, difference.specs)
    return ReconcileLimits(removals, rollouts)


def commit_decision(
    writer: Writer,
    state: FleetState,
    difference: FleetDifference,
    decision: ReconcileDecision,
    now: str,
) -> set[ClusterId]:
    """Store a decision and mark the rollouts that it concerns. Returns the clusters whose documents
    changed.
    """
    scope, workspace = state.scope, state.scope.workspace
    commit_removals(writer, scope, decision.removals, now)
    _insert_options(writer, decision.changes, difference.deployments.texts)
    if decision.staged_changes:
        staging.stage(writer, workspace, decision.staged_changes, difference.specs, now)
        if scope.wave:
            restart_rollouts(
                writer, workspace, _bundles_in_use(decision.staged_changes, state.deliveries)
            )
    if decision.immediate_changes:
        _send(writer, state, difference, decision.immediate_changes, now)
    _mark_rollouts(writer, scope, difference, decision)
    if scope.clusters is None:
        batches.whole(writer, workspace, state.bundles)
    changed_clusters = decision.immediate_clusters
    if decision.staged_changes:
        changed_clusters |= supply(writer, workspace, decision.bundles_to_stage, now=now)
    mark_documents_changed(writer, changed_clusters, now)
    return changed_clusters


def _bundles_in_use(changes: Sequence[Change], deliveries: Mapping[Key, Have]) -> set[BundleName]:
    """Return the bundles of `changes` that a cluster concerned has already."""
    return {
        change.key[1]
        for change in changes
        if change.key in deliveries and deliveries[change.key].generation > 0
    }


def _insert_options(writer: Writer, changes: Sequence[Change], texts: Mapping[str, bytes]) -> None:
    keys = {change.want.options_key for change in changes if change.want is not None}
    commands.insert_options(writer, {key: texts[key] for key in keys})


def _send(
    writer: Writer,
    state: FleetState,
    difference: FleetDifference,
    changes: Sequence[Change],
    now: str,
) -> None:
    """Store changes that clusters receive at once. A cluster that never received the bundle needs
    no tombstone.
    """
    specs, deliveries = difference.specs, state.deliveries
    generation, seconds = next_generation(writer), int(unix(now))
    redeployments: list[commands.SentDeployment] = []
    updates: list[commands.SentDeployment] = []
    tombstones: list[Key] = []
    unsent: list[Key] = []
    for change in changes:
        cluster, bundle = change.key
        if change.want is not None:
            row = commands.SentDeployment(cluster, bundle, specs[bundle].repo, change.want)
            (redeployments if change.redeploy else updates).append(row)
        elif deliveries[change.key].generation:
            tombstones.append(change.key)
        else:
            unsent.append(change.key)
    workspace = state.scope.workspace
    commands.send_deployments(writer, workspace, redeployments, generation, seconds)
    commands.update_bundle_facts(writer, updates)
    commands.bury_deployments(writer, tombstones, generation, delivery_log.REMOVAL, seconds)
    commands.delete_deployments(writer, unsent)


def _mark_rollouts(
    writer: Writer, scope: Scope, difference: FleetDifference, decision: ReconcileDecision
) -> None:
    """Mark the rollouts that must decide again. The partition of a cluster may change although no
    cluster receives a change: through its labels where partitions select by them, and through a
    group.
    """
    workspace, rollouts, specs = scope.workspace, decision.rollouts, difference.specs
    changed_bundles = {change.key[1] for change in decision.changes}
    if scope.bundles is not None:
        changed_bundles = set(scope.bundles)
        delete_rollouts(writer, workspace, changed_bundles - specs.keys())
    mark_rollouts(writer, workspace, changed_bundles & rollouts, Dirty.PARTITIONS)
    partitioned_bundles = {
        name for name in rollouts if (specs[name].rollout_strategy or {}).get("partitions")
    }
    if scope.bundles is None and scope.clusters is not None:
        cluster_bundles = staging.mark_rollouts_of_clusters(writer, workspace, list(scope.clusters))
        # Partitions that must be made again may be made for other rules than the bundle has now.
        partitioned_bundles |= bundles_to_partition(
            writer, workspace, cluster_bundles - partitioned_bundles
        )
        staging.unplace(
            writer, workspace, list(scope.clusters), partitioned_bundles & cluster_bundles
        )
    elif scope.bundles is None:
        # A group may have changed which Schedule a cluster has.
        mark_rollouts(writer, workspace, rollouts)
        mark_rollouts(writer, workspace, partitioned_bundles, Dirty.PARTITIONS)


def supply(
    writer: Writer, workspace: Workspace, names: Collection[BundleName], *, now: str
) -> set[ClusterId]:
    """Send the last good revision to clusters that never had one of these bundles and whose rollout
    has stopped. Returns the clusters.
    """
    changed_clusters: set[ClusterId] = set()
    for joiners in late_joiners.find_late_joiners(writer, workspace, names, unix(now)):
        fleet = fleet_clusters(writer, Scope(workspace, clusters=joiners.clusters))
        copied_objects = find_copied_objects(writer, workspace, [joiners.order.spec])
        facts = DesiredFacts([joiners.order], copied_objects)
        deployments = compute_desired(facts, fleet, groups(writer, workspace))
        commands.insert_options(writer, deployments.texts)
        changed_clusters |= late_joiners.tell_last_good(writer, deployments.wants, now)
    return changed_clusters


def bundles_that_copy(
    reader: Reader, workspace: Workspace, kind: str, name: str
) -> set[BundleName]:
    """Return the bundles that copy this Secret or ConfigMap to some cluster."""
    return {
        spec.name
        for spec in specs_with_downstream_resources(reader, workspace)
        if any(
            (resource.kind, resource.name) == (kind, name)
            for resource in downstream_resources(spec)
        )
    }
