"""Clusters that join while a rollout has stopped get what the fleet had before.

Rule: a rollout that has failed or was aborted delivers its version to no more clusters, and a
cluster that never had the bundle must not stay empty until a person has time. It is told the last
good revision at once (when its window is open), since that disturbs nobody, and waits with all
other clusters for what is staged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Key, Want

from ..clock import unix
from ..revisions.last_good import find_last_good
from ..revisions.pins import Order, content_of
from ..store import Reader, Writer
from ..store.commands.rollout.rollouts import set_wake
from ..store.commands.rollout.staged import tell_deployments
from ..store.keys import BundleKey
from ..store.queries import Scope, bundle_specs
from ..store.queries.audit_log import newest_decision
from ..store.queries.revisions import specs_by_revision
from ..store.queries.rollout.staged import clusters_never_told
from ..store.queries.rollouts import StoppedRollout, rollouts_that_stopped
from . import schedules


@dataclass(frozen=True)
class LateJoiners:
    """Clusters that never received a bundle, and what they receive until the rollout continues."""

    clusters: frozenset[ClusterId]
    order: Order


def find_late_joiners(
    writer: Writer, workspace: Workspace, names: Collection[BundleName], now: float
) -> list[LateJoiners]:
    """The late joiners of those of the bundles whose rollout has stopped. The rollout is decided
    again when a window opens for one of them.
    """
    joiners = []
    for rollout in rollouts_that_stopped(writer, workspace, names):
        bundle = workspace, rollout.bundle
        clusters, wake = _open_clusters(writer, workspace, rollout, now)
        if wake:
            set_wake(writer, bundle, wake)
        order = _last_good_order(writer, bundle) if clusters else None
        if order is not None:
            joiners.append(LateJoiners(clusters, order))
    return joiners


def _open_clusters(
    reader: Reader, workspace: Workspace, rollout: StoppedRollout, now: float
) -> tuple[frozenset[ClusterId], float]:
    """The clusters that never received the bundle and are inside their window, and when the next
    window of the other clusters opens (0: never).
    """
    clusters = clusters_never_told(reader, (workspace, rollout.bundle))
    if not clusters:
        return clusters, 0.0
    bars = schedules.find_barred_clusters(
        reader, workspace, now, bundle=rollout.bundle, passes=rollout.ignores_windows
    )
    times = [bars.closed_windows[cluster].until for cluster in clusters if bars.opens(cluster)]
    wake = min((time for time in times if time is not None), default=0)
    return frozenset(cluster for cluster in clusters if cluster not in bars), float(wake)


def _last_good_order(reader: Reader, bundle: BundleKey) -> Order | None:
    """None if the bundle or a last good revision does not exist."""
    spec = next(iter(bundle_specs(reader, Scope(bundle[0], bundles=[bundle[1]]))), None)
    number = find_last_good(reader, bundle)
    revision = specs_by_revision(reader, bundle[0], [(bundle[1], number)]).get((bundle[1], number))
    if spec is None or revision is None:
        return None
    decision = newest_decision(reader, bundle, number)
    return Order(content_of(revision, spec), decision, now=spec)


def tell_last_good(writer: Writer, wants: Mapping[Key, Want], now: str) -> set[ClusterId]:
    """Send each cluster its deployment. What is staged for it stays. Returns the clusters."""
    tell_deployments(writer, wants, int(unix(now)))
    return {cluster for cluster, _ in wants}
