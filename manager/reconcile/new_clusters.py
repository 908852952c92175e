"""Reconciles clusters that were created together, as if each had been created by itself.

A bundle gets a rollout by itself when it has many clusters. So it matters in which order clusters
are created while a bundle passes that number; only then they are reconciled in smaller parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fleetctl.core.model.ids import ClusterId, Workspace

from ..rollout.staging import MANY_CLUSTERS
from ..store import Reader, Writer, counts
from ..store.queries import Scope
from .decision import compute_difference
from .reconcile import gather_state, reconcile

# So many clusters do not give a bundle its rollout when it is on no cluster yet.
_MOST_TOGETHER = MANY_CLUSTERS - 1


def reconcile_new_clusters(
    writer: Writer, workspace: Workspace, clusters: Sequence[ClusterId], *, now: str
) -> set[ClusterId]:
    """Store what the new clusters should receive. Returns the clusters whose documents changed."""
    changed_clusters: set[ClusterId] = set()
    for start in range(0, len(clusters), _MOST_TOGETHER):
        part = clusters[start : start + _MOST_TOGETHER]
        changed_clusters |= _reconcile(writer, workspace, part, now)
    return changed_clusters


def _reconcile(
    writer: Writer, workspace: Workspace, clusters: Sequence[ClusterId], now: str
) -> set[ClusterId]:
    if _reaches_many_clusters(writer, workspace, clusters):
        middle = len(clusters) // 2
        first = _reconcile(writer, workspace, clusters[:middle], now)
        return first | _reconcile(writer, workspace, clusters[middle:], now)
    return reconcile(writer, Scope(workspace, clusters=clusters), now=now)


def _reaches_many_clusters(
    reader: Reader, workspace: Workspace, clusters: Sequence[ClusterId]
) -> bool:
    """Whether a bundle gets its rollout between the first and the last of the clusters."""
    new = len(clusters) - 1
    totals = counts.count_by_bundle(reader, workspace)
    near = {name: n for name, n in totals.items() if n < MANY_CLUSTERS <= n + new}
    if not near:
        return False
    scope = Scope(workspace, bundles=sorted(near), clusters=clusters)
    wants = compute_difference(gather_state(reader, scope)).deployments.wants
    return any(
        near[bundle] + number > MANY_CLUSTERS
        for bundle, number in Counter(bundle for _, bundle in wants).items()
    )
