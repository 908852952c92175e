"""Going back to an earlier revision, on a whole bundle or on some clusters, and following Git
again.

Rule: all of it or nothing. Each selected cluster must exist and must get the bundle, and at least
one must have been told it. Without a number the target is the revision before the one that those
clusters should have now (while a rollout is under way, the last good one). If it is not the same
revision for all of them, a person has to name the number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fleetctl.core.model.cluster import Group, matches, parse_selector
from fleetctl.core.model.errors import FleetError, NotFound, RefusedError, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName
from fleetctl.core.rollout.strategy import Strategy, partitions_of

from ..reconcile.reconcile import reconcile
from ..revisions import audit_log, history, pins
from ..rollout import batches, staging
from ..rollout.partitions import safe_strategy
from ..store import Reader, Writer
from ..store.commands.audit_log import insert_decision
from ..store.commands.pins import pin_clusters
from ..store.commands.rollout.rollouts import mark_rollouts, resume_rollout
from ..store.keys import BundleKey
from ..store.queries import Scope, bundle_specs, groups, last_generation
from ..store.queries.bundle_deployments import (
    BundleMember,
    bundle_members,
    count_deliveries_since,
)
from ..store.queries.clusters import cluster_exists
from ..store.queries.pins import PinCount, pin_counts, pin_numbers

_MOST_NAMES = 20


@dataclass(frozen=True)
class ClusterSelection:
    """Clusters by name, by label, or of a partition of the bundle's rollout; empty: the whole
    bundle.
    """

    names: tuple[str, ...] = ()
    selector: str = ""
    partition: str = ""

    def __bool__(self) -> bool:
        return bool(self.names or self.selector or self.partition)


@dataclass(frozen=True)
class RollbackRequest:
    """`number` 0: the revision before the present one. `release`: follow Git again instead; with
    `everyone` also on clusters with pins. `who`: the name of the person's token.
    """

    number: int = 0
    reason: str = ""
    person: str = ""
    clusters: ClusterSelection = ClusterSelection()
    release: bool = False
    everyone: bool = False


@dataclass(frozen=True)
class RollbackResult:
    """`clusters` are selected; of them `told` get something new at once and `waiting` wait for
    their rollout, all others have it already. `own`: clusters whose own pin stays, by its number.
    `resumed`: a pause has ended.
    """

    number: int
    clusters: int
    told: int
    waiting: int
    names: list[str]
    own: list[PinCount]
    resumed: bool
    changed_clusters: set[ClusterId] = field(default_factory=set)


@dataclass(frozen=True)
class SelectedCluster:
    """A cluster that should have the bundle. `is_sent`: some version of it. `number`: the
    revision that it is pinned to, 0 for none.
    """

    id: ClusterId
    name: ClusterName
    is_sent: bool
    number: int


def roll_back(
    writer: Writer, bundle: BundleKey, request: RollbackRequest, now: str
) -> RollbackResult:
    """Pin or release, and reconcile what follows. Raises NotFound, RefusedError, UsageError."""
    before = last_generation(writer)
    past = history.past_of(writer, bundle)
    if request.clusters:
        clusters = select_clusters(writer, bundle, request.clusters)
        if request.release:
            pinned_clusters = _release_clusters(writer, bundle, request, past, clusters, now)
            return _reconcile_clusters(writer, bundle, pinned_clusters, 0, before, now)
        number = _pin_clusters(writer, bundle, request, past, clusters, now)
        return _reconcile_clusters(writer, bundle, clusters, number, before, now)
    if request.release:
        _release_bundle(writer, bundle, request, past, now)
        return _reconcile_bundle(writer, bundle, 0, before, now, is_resumed=False)
    number = history.pin(
        writer, bundle, past, request.number, reason=request.reason, person=request.person, now=now
    )
    is_resumed = resume_rollout(writer, bundle)
    return _reconcile_bundle(writer, bundle, number, before, now, is_resumed=is_resumed)


def _pin_clusters(
    writer: Writer,
    bundle: BundleKey,
    request: RollbackRequest,
    past: history.BundleHistory,
    clusters: Sequence[SelectedCluster],
    now: str,
) -> int:
    """Pins the clusters to one revision and returns its number."""
    _check_told(bundle[1], clusters)
    current = request.number or _current_revision(bundle[1], clusters, past.current)
    number = request.number
    if not number and not any(cluster.number for cluster in clusters):
        number = history.rollback_target(writer, bundle)
    number = history.choose_revision(bundle[1], past.contents, number, current)
    decision = insert_decision(
        writer,
        bundle,
        audit_log.ROLLBACK,
        number,
        person=request.person,
        reason=request.reason,
        at=now,
    )
    pin_clusters(writer, bundle, [cluster.id for cluster in clusters], number, decision)
    return number


def _release_clusters(
    writer: Writer,
    bundle: BundleKey,
    request: RollbackRequest,
    past: history.BundleHistory,
    clusters: Sequence[SelectedCluster],
    now: str,
) -> list[SelectedCluster]:
    """Releases those of the clusters that have a pin and returns them."""
    pinned_clusters = [cluster for cluster in clusters if cluster.number]
    if not pinned_clusters:
        subject = f"cluster {clusters[0].name} has no pin"
        if len(clusters) > 1:
            subject = f"none of {_cluster_count(len(clusters))} has a pin"
        step = f"See `fleetctl bundle history {bundle[1]}`, or release the whole bundle."
        raise RefusedError(f"{subject} of its own", subject=f"bundle {bundle[1]}", next_step=step)
    decision = insert_decision(
        writer,
        bundle,
        audit_log.RELEASE,
        past.current,
        person=request.person,
        reason=request.reason,
        at=now,
    )
    pin_clusters(writer, bundle, [cluster.id for cluster in pinned_clusters], 0, decision)
    return pinned_clusters


def _release_bundle(
    writer: Writer,
    bundle: BundleKey,
    request: RollbackRequest,
    past: history.BundleHistory,
    now: str,
) -> None:
    """Releases the bundle and, on request, all clusters with pins."""
    pinned_clusters = pin_numbers(writer, bundle) if request.everyone else {}
    if past.pin or not pinned_clusters:
        history.release(writer, bundle, past, person=request.person, now=now)
    if pinned_clusters:
        decision = insert_decision(
            writer,
            bundle,
            audit_log.RELEASE,
            past.newest,
            person=request.person,
            reason=request.reason,
            at=now,
        )
        pin_clusters(writer, bundle, pinned_clusters, 0, decision)


def select_clusters(
    reader: Reader, bundle: BundleKey, selection: ClusterSelection
) -> list[SelectedCluster]:
    """The selected clusters, at least one. Raises NotFound, RefusedError, UsageError."""
    criteria = (selection.names, selection.selector, selection.partition)
    subject = f"bundle {bundle[1]}"
    if sum(map(bool, criteria)) > 1:
        step = "Give one of --cluster, -l and --partition."
        summary = "clusters are chosen in two ways at once"
        raise UsageError(summary, subject=subject, next_step=step)
    members = bundle_members(reader, bundle, selection.names)
    if selection.names:
        clusters = _by_name(reader, bundle, members, selection.names)
    elif selection.selector:
        selector = parse_selector(selection.selector)
        clusters = [member for member in members if matches(selector, member.cluster.labels)]
    else:
        ids = _partition_members(reader, bundle, members, selection.partition)
        clusters = [member for member in members if member.cluster.id in ids]
    if not clusters:
        description = f"partition {selection.partition}"
        if selection.selector:
            description = f"selector {selection.selector}"
        total = _cluster_count(len(members))
        summary = f"{description} selects none of the {total} that bundle {bundle[1]} is on"
        step = "See `fleetctl cluster list` for names and labels."
        raise NotFound(summary, subject=subject, next_step=step)
    numbers = pin_numbers(reader, bundle)
    return [
        SelectedCluster(
            member.cluster.id,
            member.cluster.name,
            member.is_sent,
            numbers.get(member.cluster.id, 0),
        )
        for member in clusters
    ]


def _by_name(
    reader: Reader, bundle: BundleKey, members: Sequence[BundleMember], names: Sequence[str]
) -> list[BundleMember]:
    by_name = {str(member.cluster.name): member for member in members}
    for name in names:
        if name not in by_name:
            raise _missing_cluster(
                bundle, name[:80], exists=cluster_exists(reader, bundle[0], name)
            )
    return [by_name[name] for name in dict.fromkeys(names)]


def _missing_cluster(bundle: BundleKey, name: str, *, exists: bool) -> FleetError:
    if exists:
        return RefusedError(
            f"cluster {name} does not get bundle {bundle[1]}",
            subject=f"bundle {bundle[1]} on {name}",
            next_step=f"See `fleetctl bundle status {bundle[1]}` for those that get it.",
        )
    return NotFound(
        f"Cluster {name} does not exist in workspace {bundle[0]}",
        subject=f"Cluster {bundle[0]}/{name}",
        next_step=f"See `fleetctl cluster list -n {bundle[0]}`.",
    )


def _partition_members(
    reader: Reader, bundle: BundleKey, members: Sequence[BundleMember], name: str
) -> frozenset[ClusterId]:
    [spec] = bundle_specs(reader, Scope(bundle[0], bundles=[bundle[1]]))
    return partition_members(
        bundle[1], safe_strategy(spec), members, groups(reader, bundle[0]), name
    )


def partition_members(
    bundle: BundleName,
    strategy: Strategy,
    members: Sequence[BundleMember],
    known_groups: Sequence[Group],
    name: str,
) -> frozenset[ClusterId]:
    """The clusters of a partition as the rollout would make it now. Raises NotFound."""
    fleet = [member.cluster for member in members]
    partitions = partitions_of(strategy, bundle, fleet, known_groups)
    for partition in partitions:
        if partition.name == name:
            return frozenset(partition.members)
    names = ", ".join(repr(partition.name) for partition in partitions[:_MOST_NAMES])
    raise NotFound(
        f"bundle {bundle} has no partition {name[:80]!r}",
        subject=f"rollout of {bundle}",
        next_step=f"Its partitions are {names or 'none: no cluster gets it'}.",
    )


def _check_told(bundle: BundleName, clusters: Sequence[SelectedCluster]) -> None:
    if any(cluster.is_sent for cluster in clusters):
        return
    subject = f"cluster {clusters[0].name} has"
    if len(clusters) > 1:
        subject = f"{_cluster_count(len(clusters))} have"
    step = f"`fleetctl rollout status {bundle}` shows what it waits for."
    raise RefusedError(
        f"{subject} never got bundle {bundle}: there is no earlier revision",
        subject=f"bundle {bundle}",
        next_step=step,
    )


def _current_revision(
    bundle: BundleName, clusters: Collection[SelectedCluster], newest: int
) -> int:
    """The revision that all of the clusters should have now. Raises RefusedError if it differs."""
    counts = Counter(cluster.number or newest for cluster in clusters)
    if len(counts) > 1:
        numbers = ", ".join(
            f"revision {number} on {_cluster_count(counts[number])}"
            for number in sorted(counts, reverse=True)
        )
        raise RefusedError(
            f"they should not all have the same now: {numbers}",
            subject=f"bundle {bundle}",
            next_step="Choose the revision with --to REV.",
        )
    return next(iter(counts))


def _reconcile_clusters(
    writer: Writer,
    bundle: BundleKey,
    clusters: Sequence[SelectedCluster],
    number: int,
    before: int,
    now: str,
) -> RollbackResult:
    """`before`: the last generation before the command."""
    ids = [cluster.id for cluster in clusters]
    changed_clusters = reconcile(
        writer, Scope(bundle[0], bundles=[bundle[1]], clusters=ids), now=now
    )
    counts = count_deliveries_since(writer, bundle, before, ids)
    return RollbackResult(
        number=number,
        clusters=len(clusters),
        told=counts.updated_clusters,
        waiting=counts.waiting_clusters,
        names=[str(cluster.name) for cluster in clusters[:_MOST_NAMES]],
        own=[],
        resumed=False,
        changed_clusters=changed_clusters,
    )


def _reconcile_bundle(
    writer: Writer, bundle: BundleKey, number: int, before: int, now: str, *, is_resumed: bool
) -> RollbackResult:
    """The rollout starts again also when no cluster has to be told anything."""
    scope = Scope(bundle[0], bundles=[bundle[1]])
    changed_clusters = reconcile(writer, scope, now=now)
    if mark_rollouts(writer, bundle[0], [bundle[1]]):
        [order] = pins.orders(writer, bundle[0], bundle_specs(writer, scope), [])
        staging.begin_rollouts(writer, bundle[0], [order.spec], now)
    own_pins = pin_counts(writer, bundle)
    counts = count_deliveries_since(writer, bundle, before)
    told_count, waiting = counts.updated_clusters, counts.waiting_clusters
    if batches.pending(writer, bundle[0], [bundle[1]]):
        told_count, waiting = 0, batches.count_waiting(writer, bundle_specs(writer, scope)[0])
    return RollbackResult(
        number=number,
        clusters=counts.clusters - sum(count.clusters for count in own_pins),
        told=told_count,
        waiting=waiting,
        names=[],
        own=own_pins,
        resumed=is_resumed,
        changed_clusters=changed_clusters,
    )


def _cluster_count(amount: int) -> str:
    return f"{amount} cluster" + ("" if amount == 1 else "s")
