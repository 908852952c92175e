"""Reads agent releases, and the upgrades of agents to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.ids import ClusterId

from ..connection import Reader
from ..rows import columns_of, fetch_all, fetch_first
from ..schema import agent_releases, agent_targets, clusters

# States of an upgrade. A queued one waits until another cluster of the same command is done.
QUEUED, WANTED, DONE = "queued", "wanted", "done"
_MOST_IDS = 500


class StoredAgentRelease(NamedTuple):
    """An agent release and the RFC 3339 time when it was added."""

    release: AgentRelease
    added_at: str


class AgentUpgradeRow(msgspec.Struct, frozen=True):
    """The version that a cluster's agent should run. `number` is that of the command that set it;
    at most `max_concurrent` clusters of one command upgrade at once, 0 means all.
    """

    cluster_id: ClusterId
    workspace: str
    number: int
    version: str
    sha256: str
    max_concurrent: int
    state: str
    message: str
    state_since: str


class QueueStatus(NamedTuple):
    """The queue of one command: `running` clusters upgrade or failed to, `max_concurrent` may."""

    max_concurrent: int
    running: int


_r, _w = agent_releases.c, agent_targets.c
_RELEASE_COLUMNS = columns_of(AgentRelease, agent_releases)
_UPGRADES = sa.select(*columns_of(AgentUpgradeRow, agent_targets))


def list_releases(reader: Reader, version: str = "") -> list[StoredAgentRelease]:
    """The releases of one version, or of all, in the order in which they were added."""
    query = sa.select(_r.added_at, *_RELEASE_COLUMNS).order_by(_r.added_at, _r.version)
    if version:
        query = query.where(_r.version == version)
    return [StoredAgentRelease(_release(fields), added) for added, *fields in reader.execute(query)]


def _release(fields: Iterable[Any]) -> AgentRelease:
    return AgentRelease(**dict(zip(AgentRelease.__struct_fields__, fields, strict=True)))


def has_other_build(reader: Reader, release: AgentRelease) -> bool:
    """Whether other bytes have the same version, Python and platform."""
    query = sa.select(_r.sha256).where(
        _r.version == release.version,
        _r.python == release.python,
        _r.platform == release.platform,
        _r.sha256 != release.sha256,
    )
    return reader.execute(query).first() is not None


def clusters_upgrading_to(reader: Reader, sha256: str) -> list[ClusterId]:
    query = sa.select(_w.cluster_id).where(_w.sha256 == sha256)
    return list(reader.execute(query).scalars())


def count_upgrades(reader: Reader) -> dict[str, int]:
    """The number of existing clusters that should run a release, by its SHA-256."""
    query = (
        sa.select(_w.sha256, sa.func.count())
        .join(clusters, clusters.c.id == _w.cluster_id)
        .group_by(_w.sha256)
    )
    return {row[0]: row[1] for row in reader.execute(query)}


def release_of_cluster(reader: Reader, cluster: ClusterId) -> tuple[int, AgentRelease] | None:
    """(number of the command, the release) that the cluster's agent should run now."""
    query = (
        sa.select(_w.number, *_RELEASE_COLUMNS)
        .join(agent_releases, _r.sha256 == _w.sha256)
        .where(_w.cluster_id == cluster, _w.state != QUEUED)
    )
    row = reader.execute(query).one_or_none()
    return None if row is None else (row[0], _release(row[1:]))


def may_fetch_release(reader: Reader, cluster: ClusterId, sha256: str) -> bool:
    """Whether the cluster's agent should run this release now."""
    query = sa.select(_w.number).where(
        _w.cluster_id == cluster, _w.sha256 == sha256, _w.state != QUEUED
    )
    return reader.execute(query).first() is not None


def find_started_upgrade(reader: Reader, cluster: ClusterId, number: int) -> AgentUpgradeRow | None:
    """The upgrade of the cluster by one command, when it is not queued."""
    query = _UPGRADES.where(_w.cluster_id == cluster, _w.number == number, _w.state != QUEUED)
    return fetch_first(reader, query, AgentUpgradeRow)


def list_upgrades(
    reader: Reader, workspace: str | None, ids: Sequence[str]
) -> list[AgentUpgradeRow]:
    """The upgrades of these clusters; for many ids, those of the whole workspace, or of all
    workspaces for None.
    """
    if len(ids) <= _MOST_IDS:
        return fetch_all(reader, _UPGRADES.where(_w.cluster_id.in_(ids)), AgentUpgradeRow)
    query = _UPGRADES.where(_w.workspace == workspace) if workspace else _UPGRADES
    return fetch_all(reader, query, AgentUpgradeRow)


def queue_status(reader: Reader, number: int) -> QueueStatus | None:
    """None when no cluster of the command is queued."""
    query = sa.select(_w.max_concurrent).where(_w.number == number, _w.state == QUEUED).limit(1)
    newest = reader.execute(query).scalar()
    if newest is None:
        return None
    running = sa.select(sa.func.count()).where(_w.number == number, _w.state.not_in((QUEUED, DONE)))
    return QueueStatus(newest, reader.execute(running).scalar_one())


def queued_clusters(reader: Reader, number: int, limit: int) -> list[ClusterId]:
    """The first `limit` queued clusters of a command, by name."""
    query = (
        sa.select(_w.cluster_id)
        .join(clusters, clusters.c.id == _w.cluster_id)
        .where(_w.number == number, _w.state == QUEUED)
        .order_by(clusters.c.name)
        .limit(limit)
    )
    return list(reader.execute(query).scalars())
