"""Reads what the store holds of the agents' reports, for many clusters with one statement.

Rule: these queries run for every report of every agent, in the thread that writes. The number of
statements does not depend on the number of reports; keys are passed as one JSON array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Generation

from ..connection import Reader
from ..counts import ids_text
from ..schema import deployments


class ReportedRow(msgspec.Struct, frozen=True, gc=False):
    """What a deployment should be, how it is counted and what its agent reported last:
    `reported_generation` is the generation of that report; `state_since` and `first_ready_at` in
    Unix seconds.
    """

    cluster_id: ClusterId
    bundle: BundleName
    workspace: str
    repo: str
    partition: int
    is_staged: bool
    generation: Generation
    is_removed: bool
    state: str
    applied_generation: int
    reported_generation: int
    reported_at: str
    state_since: int
    first_ready_at: int
    message: str
    report: bytes
    cause_key: str
    resource_counts: str


class AgentRow(NamedTuple):
    """The JSON that the agent of a cluster reports of itself."""

    agent: bytes
    is_leaving: bool


# CROSS JOIN: SQLite reads the keys first, whatever it estimates.
_ROWS = """
SELECT d.cluster_id, d.bundle, d.workspace, d.repo, d.partition, d.staged_key <> '', d.generation,
    d.is_removed, d.state, d.applied_generation, d.reported_generation, d.reported_at,
    d.state_since, d.first_ready_at, d.message, d.report, d.cause_key, d.resource_counts
FROM json_each(?) j
CROSS JOIN deployments d ON d.cluster_id = j.value ->> 0 AND d.bundle = j.value ->> 1
"""
_REPORTED_BUNDLES = """
SELECT d.cluster_id, d.bundle FROM json_each(?) j CROSS JOIN deployments d ON d.cluster_id = j.value
WHERE NOT d.is_removed AND d.reported_generation > 0
"""
_AGENTS = """
SELECT c.id, c.agent, c.is_leaving FROM json_each(?) j CROSS JOIN clusters c ON c.id = j.value
"""
_ANY = (
    sa.select(deployments.c.bundle)
    .where(deployments.c.cluster_id == sa.bindparam("cluster"))
    .limit(1)
)


def reported_rows(
    reader: Reader, keys: Iterable[tuple[ClusterId, BundleName]]
) -> dict[ClusterId, dict[BundleName, ReportedRow]]:
    """The deployments with these keys, tombstones included; one that does not exist is missing."""
    text = msgspec.json.encode(list(keys)).decode()
    rows: dict[ClusterId, dict[BundleName, ReportedRow]] = {}
    for columns in reader.exec_driver_sql(_ROWS, (text,)).fetchall():
        row = ReportedRow(*columns)
        rows.setdefault(row.cluster_id, {})[row.bundle] = row
    return rows


def reported_bundles(
    reader: Reader, clusters: Collection[ClusterId]
) -> dict[ClusterId, list[BundleName]]:
    """The bundles that the agent of each cluster reported, without tombstones."""
    names: dict[ClusterId, list[BundleName]] = {}
    for cluster, bundle in reader.exec_driver_sql(
        _REPORTED_BUNDLES, (ids_text(clusters),)
    ).fetchall():
        names.setdefault(cluster, []).append(bundle)
    return names


def agent_rows(reader: Reader, clusters: Collection[ClusterId]) -> dict[ClusterId, AgentRow]:
    """What the agents of these clusters report of themselves."""
    rows = reader.exec_driver_sql(_AGENTS, (ids_text(clusters),)).fetchall()
    return {ClusterId(row[0]): AgentRow(row[1], bool(row[2])) for row in rows}


def has_deployments(reader: Reader, cluster: ClusterId) -> bool:
    """Whether the cluster has any deployment, a tombstone too."""
    return reader.execute(_ANY, {"cluster": cluster}).first() is not None
