"""Reads clusters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId, Workspace

from ..bulk import in_parts, select_values
from ..connection import Reader
from ..keys import ALL_KEYS, KeyRange
from ..rows import columns_of, fetch_all, fetch_first, in_range, without_index
from ..schema import cluster_contacts, clusters

# The condition of the index `clusters_troubled`.
_HAS_TROUBLES = sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0")


class ClusterRow(msgspec.Struct, frozen=True):
    """A cluster. `last_seen_at` in Unix seconds, 0 for never; the other times are RFC 3339. JSON
    columns hold bytes.
    """

    id: ClusterId
    workspace: Workspace
    name: str
    uid: str
    generation: int
    created_at: str
    labels: bytes
    annotations: bytes
    spec: bytes
    public_key: bytes | None
    enrolled_at: str
    last_seen_at: float
    address: str
    agent: bytes
    is_leaving: bool
    schedules: str


class ClusterPresence(msgspec.Struct, frozen=True):
    """The columns of a cluster that tell whether its agent is there."""

    id: str
    workspace: str
    name: str
    enrolled_at: str
    last_seen_at: float


class SelectableCluster(msgspec.Struct, frozen=True):
    """As ClusterPresence, with the JSON of the labels that selectors match."""

    id: str
    workspace: str
    name: str
    enrolled_at: str
    last_seen_at: float
    labels: bytes


class ClusterAgent(msgspec.Struct, frozen=True):
    """A cluster and the JSON that its agent reports of itself."""

    workspace: str
    name: str
    agent: bytes


class ClusterSchedules(msgspec.Struct, frozen=True):
    """A cluster and the names of the Schedules that select it, joined by commas."""

    workspace: str
    name: str
    schedules: str


class EnrolledRow(msgspec.Struct, frozen=True):
    """What presence needs of a cluster whose agent has a key."""

    id: ClusterId
    public_key: bytes
    last_seen_at: float
    address: str
    reporter: str
    report_seq: int
    agent: bytes


class ClusterAgentRow(msgspec.Struct, frozen=True):
    """A cluster with what its agent reported of itself, as JSON."""

    id: ClusterId
    workspace: str
    name: str
    labels: bytes
    agent: bytes


class ClusterLabels(NamedTuple):
    """The labels that people set on a cluster."""

    id: ClusterId
    name: str
    labels: dict[str, str]


# Columns of `cluster_contacts`; a row type may hold them beside those of the cluster.
_CONTACT_COLUMNS = frozenset({"last_seen_at", "address", "reporter", "report_seq"})


def _select_with_contact(row_type: type[msgspec.Struct]) -> sa.Select[Any]:
    columns = [
        (cluster_contacts if name in _CONTACT_COLUMNS else clusters).c[name]
        for name in row_type.__struct_fields__
    ]
    contact = cluster_contacts.c.cluster_id == clusters.c.id
    return sa.select(*columns).select_from(clusters.join(cluster_contacts, contact))


_CLUSTERS = _select_with_contact(ClusterRow)
_ENROLLED = _select_with_contact(EnrolledRow).where(clusters.c.public_key.is_not(None))
_AGENT = sa.select(clusters.c.agent).where(clusters.c.id == sa.bindparam("cluster"))


def list_clusters(
    reader: Reader,
    workspace: str | None = None,
    name: str = "",
    keys: KeyRange = ALL_KEYS,
    ids: Collection[str] | None = None,
) -> list[ClusterRow]:
    """Sorted by workspace and name. Without a workspace: of all; without a name: all names; with
    `ids`: only these clusters.
    """
    c = clusters.c
    spaces: sa.ColumnElement[str] = c.workspace
    names: sa.ColumnElement[str] = c.name
    query = _CLUSTERS
    if ids is not None:
        # the clusters are found by their ids, not by a scan in the order of their names
        spaces, names = without_index(c.workspace), without_index(c.name)
        query = query.where(c.id.in_(select_values(ids)))
    if workspace:
        query = query.where(spaces == workspace)
    columns = (names,) if workspace else (spaces, names)
    if name:
        query = query.where(c.name == name)
    return fetch_all(reader, in_range(query, columns, keys), ClusterRow)


def cluster_presences(reader: Reader, ids: Collection[str]) -> list[ClusterPresence]:
    """These clusters, by id alone: with the workspace SQLite might scan all of it."""
    query = _select_with_contact(ClusterPresence)
    return [
        row
        for part in in_parts(sorted(ids))
        for row in fetch_all(reader, query.where(clusters.c.id.in_(part)), ClusterPresence)
    ]


def selectable_clusters(reader: Reader, workspace: str | None) -> list[SelectableCluster]:
    """All clusters, sorted by workspace and name."""
    c = clusters.c
    query = _select_with_contact(SelectableCluster).order_by(c.workspace, c.name)
    if workspace:
        query = query.where(c.workspace == workspace)
    return fetch_all(reader, query, SelectableCluster)


def count_clusters(reader: Reader, workspace: str | None) -> int:
    query = sa.select(sa.func.count()).select_from(clusters)
    if workspace:
        query = query.where(clusters.c.workspace == workspace)
    return int(reader.execute(query).scalar_one())


def clusters_with_reported_troubles(reader: Reader, workspace: str | None) -> list[ClusterAgent]:
    """Clusters with an agent that reports a trouble or a duplicate agent, by workspace and
    name.
    """
    c = clusters.c
    query = sa.select(*columns_of(ClusterAgent, clusters)).where(_HAS_TROUBLES)
    query = query.where(c.public_key.is_not(None))
    # sorted here: for a sorted query SQLite scans all clusters in their order
    if workspace:
        query = query.where(c.workspace == workspace)
    rows = fetch_all(reader, query, ClusterAgent)
    return sorted(rows, key=lambda row: (row.workspace, row.name))


def ids_with_troubles(reader: Reader) -> list[ClusterId]:
    """Clusters of all workspaces whose stored agent has a trouble or a duplicate."""
    ids = reader.execute(sa.select(clusters.c.id).where(_HAS_TROUBLES)).scalars()
    return [ClusterId(cluster) for cluster in ids]


def ids_without_agent(reader: Reader, workspace: str | None) -> set[ClusterId]:
    """Clusters for which no agent has a key."""
    query = sa.select(clusters.c.id).where(clusters.c.public_key.is_(None))
    if workspace:
        query = query.where(clusters.c.workspace == workspace)
    return {ClusterId(cluster) for cluster in reader.execute(query).scalars()}


def paused_cluster_names(reader: Reader, workspace: str | None) -> set[tuple[str, str]]:
    """Workspace and name of each cluster with `spec.paused: true`."""
    c = clusters.c
    has_key = sa.text("instr(spec, '\"paused\"') > 0")
    query = sa.select(c.workspace, c.name, c.spec).where(has_key)
    if workspace:
        query = query.where(c.workspace == workspace)
    return {
        (row.workspace, row.name)
        for row in reader.execute(query)
        if msgspec.json.decode(row.spec).get("paused")
    }


def cluster_schedules(
    reader: Reader, places: Collection[tuple[str, str]]
) -> list[ClusterSchedules]:
    """Those of the clusters (workspace, name) that a Schedule selects."""
    c = clusters.c
    query = sa.select(*columns_of(ClusterSchedules, clusters)).where(c.schedules != "")
    named = sa.tuple_(c.workspace, c.name)
    return [
        row
        for part in in_parts(sorted(places))
        for row in fetch_all(reader, query.where(named.in_(part)), ClusterSchedules)
    ]


def find_cluster(reader: Reader, cluster: ClusterId) -> ClusterRow | None:
    return fetch_first(reader, _CLUSTERS.where(clusters.c.id == cluster), ClusterRow)


def find_clusters(reader: Reader, ids: Collection[ClusterId]) -> dict[ClusterId, ClusterRow]:
    """These clusters by id; one that does not exist is missing."""
    return {
        row.id: row
        for part in in_parts(sorted(ids))
        for row in fetch_all(reader, _CLUSTERS.where(clusters.c.id.in_(part)), ClusterRow)
    }


def find_clusters_by_name(
    reader: Reader, workspace: str, names: Collection[str]
) -> list[ClusterRow]:
    """The clusters of the workspace with these names."""
    c = clusters.c
    query = _CLUSTERS.where(c.workspace == workspace)
    return [
        row
        for part in in_parts(sorted(names))
        for row in fetch_all(reader, query.where(c.name.in_(part)), ClusterRow)
    ]


def find_cluster_by_name(reader: Reader, workspace: str, name: str) -> ClusterRow | None:
    c = clusters.c
    query = _CLUSTERS.where(c.workspace == workspace, c.name == name)
    return fetch_first(reader, query, ClusterRow)


def enrolled_after(reader: Reader, after: str, limit: int) -> list[EnrolledRow]:
    """The clusters of all workspaces whose agent has a key, by id, from the one after `after`."""
    c = clusters.c
    query = _ENROLLED.where(c.id > after).order_by(c.id).limit(limit)
    return fetch_all(reader, query, EnrolledRow)


def find_enrolled(reader: Reader, cluster: ClusterId) -> EnrolledRow | None:
    """None for a cluster that does not exist or whose agent has no key."""
    return fetch_first(reader, _ENROLLED.where(clusters.c.id == cluster), EnrolledRow)


def count_enrolled(reader: Reader) -> int:
    """Counts the clusters that have no agent, which an index holds, and all clusters."""
    c = clusters.c
    every = sa.select(sa.func.count()).select_from(cluster_contacts)
    without = sa.select(sa.func.count()).select_from(clusters).where(c.public_key.is_(None))
    return int(reader.execute(every).scalar_one()) - int(reader.execute(without).scalar_one())


def agent_of(reader: Reader, cluster: ClusterId) -> bytes:
    """The JSON that the agent reported of itself, `{}` for a cluster that does not exist."""
    return reader.execute(_AGENT, {"cluster": cluster}).scalar() or b"{}"


def existing_clusters(reader: Reader, ids: Collection[ClusterId]) -> set[ClusterId]:
    """Those of the ids that name a cluster."""
    query = sa.select(clusters.c.id)
    return {
        ClusterId(cluster)
        for part in in_parts(sorted(ids))
        for cluster in reader.execute(query.where(clusters.c.id.in_(part))).scalars()
    }


def list_cluster_agents(reader: Reader, workspace: str) -> list[ClusterAgentRow]:
    """The clusters of the workspace, by name."""
    c = clusters.c
    query = sa.select(*columns_of(ClusterAgentRow, clusters)).where(c.workspace == workspace)
    return fetch_all(reader, query.order_by(c.name), ClusterAgentRow)


def cluster_labels(reader: Reader, workspace: Workspace) -> list[ClusterLabels]:
    """Return the labels of all clusters of the workspace, by name."""
    c = clusters.c
    query = sa.select(c.id, c.name, c.labels).where(c.workspace == workspace).order_by(c.name)
    return [
        ClusterLabels(ClusterId(row.id), row.name, msgspec.json.decode(row.labels))
        for row in reader.execute(query)
    ]


def cluster_names(reader: Reader, ids: Collection[ClusterId]) -> list[str]:
    """Return the names of the clusters, sorted."""
    c = clusters.c
    return sorted(
        name
        for part in in_parts(sorted(ids))
        for name in reader.execute(sa.select(c.name).where(c.id.in_(part))).scalars()
    )


def cluster_exists(reader: Reader, workspace: Workspace, name: str) -> bool:
    c = clusters.c
    query = sa.select(c.id).where(c.workspace == workspace, c.name == name)
    return reader.execute(query).first() is not None


def paused_clusters(reader: Reader, workspace: Workspace) -> set[ClusterId]:
    """The clusters with `spec.paused: true`. A partial index holds the candidates."""
    c = clusters.c
    query = sa.select(c.id, c.spec).where(
        c.workspace == workspace, sa.text("instr(spec, '\"paused\"') > 0")
    )
    return {
        ClusterId(row.id)
        for row in reader.execute(query)
        if msgspec.json.decode(row.spec).get("paused")
    }
