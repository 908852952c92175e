"""Deletes an object and what belongs to it. Runs in one transaction."""

from __future__ import annotations

from typing import Any

from fleetctl.core.model.ids import ClusterId

from ..reconcile.reconcile import reconcile
from ..revisions import history
from ..store.commands import clusters as cluster_commands
from ..store.commands import deployments as deployment_commands
from ..store.commands import objects as object_commands
from ..store.commands import tokens as token_commands
from ..store.commands.ingest.moves import delete_moves_of_bundles
from ..store.commands.pins import delete_pins_of_cluster
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.connection import Reader, Writer
from ..store.keys import Dirty
from ..store.queries import Scope
from ..store.queries import clusters as cluster_queries
from ..store.queries import objects as object_queries
from ..store.queries import reports as report_queries
from ..store.queries.clusters import ClusterRow
from ..store.queries.objects import StoredObjectKey
from ..views.not_found import not_found
from .object_effects import reconcile_object


def removal_effect(reader: Reader, key: StoredObjectKey) -> dict[str, Any]:
    """What a delete would remove: names of the bundles, the number of deployments, and names of the
    clusters that would lose something. Raises NotFound.
    """
    kind, workspace, name = key
    if not object_queries.object_exists(reader, key):
        raise not_found(reader, kind, workspace, name)
    if kind == "GitRepo":
        deployments = object_queries.deployments_of_repo(reader, workspace, name)
        bundles = object_queries.bundle_names_of_repo(reader, workspace, name)
    elif kind == "Cluster":
        deployments = object_queries.deployments_of_cluster(reader, workspace, name)
        bundles = {deployment.bundle for deployment in deployments}
    else:
        return {"bundles": [], "deployments": 0, "clusters": []}
    return {
        "bundles": sorted(bundles),
        "deployments": len(deployments),
        "clusters": sorted({deployment.cluster for deployment in deployments}),
    }


def delete_object(
    writer: Writer, key: StoredObjectKey, *, now: str, uninstall: bool
) -> set[ClusterId]:
    """Delete an existing object, and of a GitRepo also its bundles. `uninstall`: of a Cluster, have
    its agent remove everything first. Returns the clusters whose documents changed.
    """
    kind, workspace, name = key
    if kind == "Cluster":
        cluster = cluster_queries.find_cluster_by_name(writer, workspace, name)
        assert cluster is not None
        return delete_cluster(writer, cluster, now=now, uninstall=uninstall)
    object_commands.delete_object(writer, key)
    if kind == "ClusterRegistrationToken":
        token_commands.delete_registrations_of_source(writer, workspace, name)
    if kind == "GitRepo":
        return _delete_repo(writer, key, now)
    return reconcile_object(writer, key, now)


def _delete_repo(writer: Writer, key: StoredObjectKey, now: str) -> set[ClusterId]:
    _, workspace, name = key
    object_commands.delete_repo(writer, workspace, name)
    bundles = object_commands.delete_bundles_of_repo(writer, workspace, name)
    history.forget(writer, workspace, bundles)
    delete_moves_of_bundles(writer, workspace, bundles)
    return reconcile(writer, Scope(workspace, bundles=set(bundles)), now=now)


def delete_cluster(
    writer: Writer, cluster: ClusterRow, *, now: str, uninstall: bool
) -> set[ClusterId]:
    """Delete the cluster with its key. With `uninstall` and an enrolled agent, first tell the agent
    to remove everything (`leaving`). Returns the id.
    """
    if uninstall and cluster.public_key and _start_leaving(writer, cluster, now):
        return {cluster.id}
    bundles = deployment_commands.delete_deployments_of_cluster(writer, cluster.id)
    mark_rollouts(writer, cluster.workspace, bundles, Dirty.PARTITIONS)
    delete_pins_of_cluster(writer, cluster.id)
    cluster_commands.delete_cluster(writer, cluster.id)
    return {cluster.id}


def _start_leaving(writer: Writer, cluster: ClusterRow, now: str) -> bool:
    """Turn the cluster's deployments into tombstones. Returns whether there are any."""
    cluster_commands.start_leaving(writer, cluster.id, now)
    scope = Scope(cluster.workspace, clusters=[cluster.id])
    reconcile(writer, scope, now=now)
    return report_queries.has_deployments(writer, cluster.id)
