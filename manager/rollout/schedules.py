"""Which clusters may change now, by the Schedules of their workspace (core/rollout/schedule.py).

Rule: `clusters.schedules` names the Schedules that select a cluster, written in the transaction
that changes a Schedule, a label or a group; so a decision looks at each combination of Schedules
once, not at each cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change
from fleetctl.core.rollout.schedule import ScheduleSpec, ScheduleVerdict, targets_of
from fleetctl.core.targeting.target import Kind, criteria_match, kinds
from fleetctl.zones import zone_of

from ..store import Reader, Writer, counts
from ..store.commands.rollout.rollouts import mark_rollouts_of_workspace
from ..store.commands.rollout.schedules import set_schedules
from ..store.keys import BundleKey
from ..store.queries import Scope, fleet_clusters, groups
from ..store.queries.rollout.schedules import (
    ScheduledClusters,
    bundles_ignoring_windows,
    clusters_under_schedules,
    clusters_with_schedules,
    has_schedules,
    schedule_texts,
    schedules_of_clusters,
    waiting_clusters_with_schedules,
)
from .barred import BarredClusters
from .calendars import Calendars, read_calendar
from .schedule_status import status

__all__ = [
    "BarredClusters",
    "Calendars",
    "apply_schedule_change",
    "assign",
    "bundles_ignoring_windows",
    "check_reason",
    "check_schedule",
    "find_barred_clusters",
    "find_closed_windows",
    "gated",
    "of_cluster",
    "picker",
    "status",
]
# Above this number of staged deployments all clusters under Schedules are read: looking at the
# cluster of each deployment costs twelve times as much as one cluster there.
_FEW_DEPLOYMENTS = 2000


def check_schedule(spec: Any) -> ScheduleSpec:
    """Raises UsageError."""
    schedule = spec_of(spec)
    zone_of(schedule.location)
    return schedule


def find_barred_clusters(
    reader: Reader,
    workspace: Workspace,
    now: float,
    *,
    bundle: BundleName | None = None,
    paused_clusters: Collection[ClusterId] = frozenset(),
    passes: bool = False,
) -> BarredClusters:
    """The clusters of the workspace that may not change now. With `bundle`, the result is complete
    only for clusters with a staged version of it. `passes`: a person has allowed this version to
    change clusters outside their windows.
    """
    calendar = None if passes else read_calendar(reader, workspace, now)
    if not calendar:
        return BarredClusters(paused_clusters=paused_clusters)
    if bundle is None:
        rows = clusters_with_schedules(reader, workspace)
    else:
        rows = _rows_with_staged(reader, workspace, bundle)
    closed_clusters: dict[ClusterId, ScheduleVerdict] = {}
    open_clusters: dict[ClusterId, ScheduleVerdict] = {}
    for row in rows:
        verdict = calendar.verdict(row.schedules)
        clusters = open_clusters if verdict.open else closed_clusters
        clusters.update(dict.fromkeys(row.clusters, verdict))
    return BarredClusters(closed_clusters, paused_clusters, open_clusters)


def find_closed_windows(
    reader: Reader, workspace: str | None, now: float
) -> dict[str, ScheduleVerdict]:
    """The clusters outside their windows, at least those for which something is staged, in a
    workspace or in all.
    """
    if not has_schedules(reader, workspace):
        return {}
    calendars = Calendars(reader, now)
    verdicts: dict[str, ScheduleVerdict] = {}
    for row in _rows_with_staged(reader, workspace, None):
        verdict = calendars.of(row.workspace).verdict(row.schedules)
        if not verdict.open:
            verdicts.update(dict.fromkeys(row.clusters, verdict))
    return verdicts


def _rows_with_staged(
    reader: Reader, workspace: str | None, bundle: BundleName | None
) -> list[ScheduledClusters]:
    """The clusters under Schedules, at least those for which something (or the bundle) is staged.
    Costs nothing if nothing is staged.
    """
    totals = counts.count_deployments(reader, workspace, bundle or "")
    total = sum(number for count_key, number in totals.items() if count_key.is_staged)
    if not total:
        return []
    if total > _FEW_DEPLOYMENTS:
        return clusters_with_schedules(reader, workspace)
    return waiting_clusters_with_schedules(reader, workspace, bundle)


class ClusterWindows(Protocol):
    """The names of the Schedules of a cluster, joined by commas."""

    @property
    def schedules(self) -> str: ...


def of_cluster(
    reader: Reader, bundle: BundleKey, cluster: ClusterWindows, now: float
) -> ScheduleVerdict | None:
    """The closed window that holds the bundle on a cluster at this time, or None."""
    if not cluster.schedules or tuple(bundle) in bundles_ignoring_windows(reader, bundle[0]):
        return None
    verdict = read_calendar(reader, bundle[0], now).verdict(cluster.schedules)
    return None if verdict.open else verdict


def assign(
    writer: Writer, scope: Scope, fleet: Sequence[Cluster], known_groups: Sequence[Group]
) -> None:
    """Store which Schedules select the clusters of `fleet`, which are those of the scope."""
    texts = schedule_texts(writer, scope.workspace)
    before = schedules_of_clusters(writer, scope)
    if not texts and not before:
        return
    targets = {name: _targets(text) for name, text in texts.items()}
    set_schedules(writer, find_changes(targets, before, fleet, known_groups))


def find_changes(
    targets: Mapping[str, Sequence[Target]],
    before: Mapping[ClusterId, str],
    fleet: Sequence[Cluster],
    known_groups: Sequence[Group],
) -> dict[str, list[ClusterId]]:
    """The clusters whose Schedules are not those of `before`, by the names of their Schedules."""
    select = picker(targets, known_groups)
    changes: dict[str, list[ClusterId]] = {}
    for cluster in fleet:
        names = select(cluster)
        if before.get(cluster.id, "") != names:
            changes.setdefault(names, []).append(cluster.id)
    return changes


def picker(
    specs: Mapping[str, Sequence[Target]], known_groups: Sequence[Group]
) -> Callable[[Cluster], str]:
    """Returns a function that gives the names of the Schedules that select a cluster, joined by
    commas. All clusters of one kind cost one computation.
    """
    kind_of = kinds([target for targets in specs.values() for target in targets], known_groups)
    cache: dict[Kind, str] = {}

    def pick(cluster: Cluster) -> str:
        kind = kind_of(cluster)
        if kind not in cache:
            cache[kind] = ",".join(_selecting(specs, cluster, known_groups))
        return cache[kind]

    return pick


def _selecting(
    specs: Mapping[str, Sequence[Target]], cluster: Cluster, known_groups: Sequence[Group]
) -> Iterable[str]:
    member_of = [group for group in known_groups if matches(group.selector, cluster.labels)]
    for name, targets in specs.items():
        if any(criteria_match(target, cluster, member_of) for target in targets):
            yield name


def _targets(text: bytes) -> list[Target]:
    """The targets of a stored Schedule, which was checked when it was written."""
    return targets_of(msgspec.json.decode(text, type=ScheduleSpec))


def apply_schedule_change(writer: Writer, workspace: Workspace) -> None:
    """A Schedule was written or removed: the rollouts of its workspace are decided again."""
    scope = Scope(workspace)
    assign(writer, scope, fleet_clusters(writer, scope), groups(writer, workspace))
    mark_rollouts_of_workspace(writer, workspace)


def gated(reader: Reader, workspace: Workspace, changes: Collection[Change]) -> set[BundleName]:
    """Bundles that change on a cluster under a Schedule: they have a rollout that waits for the
    window.
    """
    if not has_schedules(reader, workspace):
        return set()
    deployed_changes = [change for change in changes if change.want is not None and change.redeploy]
    rows = clusters_under_schedules(reader, {change.key[0] for change in deployed_changes})
    return {change.key[1] for change in deployed_changes if change.key[0] in rows}


def check_reason(bundle: str, reason: str) -> str:
    """The reason of a person's `ignore-windows`. Raises UsageError if there is none."""
    if not reason.strip():
        raise UsageError(
            "a change outside its window needs a reason",
            subject=f"rollout of {bundle}",
            next_step="Add --reason TEXT.",
        )
    return reason.strip()
