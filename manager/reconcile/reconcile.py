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
    copied_by,
    downstream_resources,
    gather_desired,
)
from ..store import Reader, Writer, counts
from ..store.commands import deployments as commands
from ..store.commands.clusters import mark_documents_changed
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
    """What a reconcile did. `touched`: clusters whose documents changed; `removed`: deployments
    that no target selects any more; `held`: deployments whose removal is held now and was not
    before; `changes`: all differences, held removals included; `sent`: what the clusters had
    received before.
    """

    touched: set[ClusterId] = field(default_factory=set)
    removed: AbstractSet[Key] = frozenset()
    held: AbstractSet[Key] = frozenset()
    changes: Sequence[Change] = ()
    sent: Mapping[Key, Have] = field(default_factory=dict)


def reconcile(writer: Writer, scope: Scope, *, now: str) -> set[ClusterId]:
    """Store what the clusters in `scope` should receive. Returns the clusters whose documents
    changed.
    """
    return reconcile_scope(writer, scope, now=now).touched


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
    touched = commit_decision(writer, state, difference, decision, now)
    removals = decision.removals
    return ReconcileResult(
        touched, removals.removed, removals.verdict.held.keys(), difference.changes, state.sent
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
        sent=sent_deployments(reader, scope),
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
    removals = gather_removals(reader, scope, difference.targeted, difference.lost, now, consent)
    totals: dict[BundleName, int] = {}
    if scope.clusters is not None:
        totals = counts.count_by_bundle(
            reader, scope.workspace, {change.key[1] for change in changes}
        )
    rollouts = staging.bundles_with_rollouts(
        reader, scope.workspace, difference.desired.specs, difference.cluster_counts(totals)
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
    _insert_options(writer, decision.changes, difference.desired.texts)
    if decision.staged:
        staging.stage(writer, workspace, decision.staged, difference.specs, now)
        if scope.wave:
            restart_rollouts(writer, workspace, _bundles_in_use(decision.staged, state.sent))
    if decision.immediate:
        _send(writer, state, difference, decision.immediate, now)
    _mark_rollouts(writer, scope, difference, decision)
    if scope.clusters is None:
        batches.whole(writer, workspace, state.bundles)
    touched = decision.immediate_clusters
    if decision.staged:
        touched |= supply(writer, workspace, decision.staged_bundles, now=now)
    mark_documents_changed(writer, touched, now)
    return touched


def _bundles_in_use(changes: Sequence[Change], sent: Mapping[Key, Have]) -> set[BundleName]:
    """Return the bundles of `changes` that a cluster concerned has already."""
    return {
        change.key[1]
        for change in changes
        if change.key in sent and sent[change.key].generation > 0
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
    specs, sent = difference.specs, state.sent
    generation, seconds = next_generation(writer), int(unix(now))
    redeployed: list[commands.SentDeployment] = []
    updated: list[commands.SentDeployment] = []
    tombstones: list[Key] = []
    unsent: list[Key] = []
    for change in changes:
        cluster, bundle = change.key
        if change.want is not None:
            row = commands.SentDeployment(cluster, bundle, specs[bundle].repo, change.want)
            (redeployed if change.redeploy else updated).append(row)
        elif sent[change.key].generation:
            tombstones.append(change.key)
        else:
            unsent.append(change.key)
    workspace = state.scope.workspace
    commands.send_deployments(writer, workspace, redeployed, generation, seconds)
    commands.update_bundle_facts(writer, updated)
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
    changed = {change.key[1] for change in decision.changes}
    if scope.bundles is not None:
        changed = set(scope.bundles)
        delete_rollouts(writer, workspace, changed - specs.keys())
    mark_rollouts(writer, workspace, changed & rollouts, Dirty.PARTITIONS)
    partitioned = {
        name for name in rollouts if (specs[name].rollout_strategy or {}).get("partitions")
    }
    if scope.bundles is None and scope.clusters is not None:
        own = staging.mark_rollouts_of_clusters(writer, workspace, list(scope.clusters))
        # Partitions that must be made again may be made for other rules than the bundle has now.
        partitioned |= bundles_to_partition(writer, workspace, own - partitioned)
        staging.unplace(writer, workspace, list(scope.clusters), partitioned & own)
    elif scope.bundles is None:
        # A group may have changed which Schedule a cluster has.
        mark_rollouts(writer, workspace, rollouts)
        mark_rollouts(writer, workspace, partitioned, Dirty.PARTITIONS)


def supply(
    writer: Writer, workspace: Workspace, names: Collection[BundleName], *, now: str
) -> set[ClusterId]:
    """Send the last good revision to clusters that never had one of these bundles and whose rollout
    has stopped. Returns the clusters.
    """
    touched: set[ClusterId] = set()
    for joiners in late_joiners.find_late_joiners(writer, workspace, names, unix(now)):
        fleet = fleet_clusters(writer, Scope(workspace, clusters=joiners.clusters))
        copied = copied_by(writer, workspace, [joiners.order.spec])
        facts = DesiredFacts([joiners.order], copied)
        desired = compute_desired(facts, fleet, groups(writer, workspace))
        commands.insert_options(writer, desired.texts)
        touched |= late_joiners.tell_last_good(writer, desired.wants, now)
    return touched


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
