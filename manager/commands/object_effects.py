"""Reconciles what depends on an object that a person changed, in the same transaction."""

from __future__ import annotations

from fleetctl.core.documents.object_check import DATA_KINDS
from fleetctl.core.model.ids import ClusterId, Workspace

from ..reconcile.reconcile import bundles_that_copy, reconcile
from ..rollout import schedules
from ..store.commands.documents import mark_copies_changed, mark_documents_changed
from ..store.connection import Writer
from ..store.queries import Scope
from ..store.queries import clusters as cluster_queries
from ..store.queries import objects as object_queries
from ..store.queries.objects import StoredObjectKey

_KINDS = frozenset({"Cluster", "ClusterGroup", "Schedule", *DATA_KINDS})


def reconcile_object(writer: Writer, key: StoredObjectKey, now: str) -> set[ClusterId]:
    """Reconcile after a change of the object. Returns the clusters whose documents changed."""
    kind, workspace, name = key
    if kind not in _KINDS:
        return set()
    if kind == "Schedule":
        schedules.apply_schedule_change(writer, workspace)
        return set()
    if kind == "ClusterGroup":
        return reconcile(writer, Scope(workspace, wave=True), now=now)
    if kind == "Cluster":
        return _reconcile_cluster(writer, workspace, name, now)
    changed_clusters = mark_copies_changed(writer, workspace, name, now)
    copying_bundles = bundles_that_copy(writer, workspace, kind, name)
    if not copying_bundles:
        return changed_clusters
    scope = Scope(workspace, bundles=copying_bundles, wave=True)
    return changed_clusters | reconcile(writer, scope, now=now)


def _reconcile_cluster(writer: Writer, workspace: Workspace, name: str, now: str) -> set[ClusterId]:
    """A change of a cluster concerns this cluster alone. Its document changes even when its bundles
    do not.
    """
    cluster = cluster_queries.find_cluster_by_name(writer, workspace, name)
    if cluster is None:
        return set()
    ids = mark_documents_changed(writer, [cluster.id], now)
    return reconcile(writer, Scope(workspace, clusters=[cluster.id]), now=now) | ids


def reconcile_repo(writer: Writer, workspace: Workspace, repo: str, now: str) -> set[ClusterId]:
    """Reconcile all bundles of a GitRepo after its pause began or ended, without reading Git."""
    names = object_queries.bundle_names_of_repo(writer, workspace, repo)
    if not names:
        return set()
    return reconcile(writer, Scope(workspace, bundles=names), now=now)
