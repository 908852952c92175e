"""Writes agent releases, and the upgrades of agents to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.ids import ClusterId

from ..bulk import in_parts
from ..connection import Writer
from ..queries.agent_releases import QUEUED, WANTED, AgentUpgradeRow
from ..schema import agent_releases, agent_targets, clusters

_r, _w = agent_releases.c, agent_targets.c


def update_release(writer: Writer, release: AgentRelease) -> bool:
    """Replace what is stored of the same bytes. Returns whether they were stored."""
    update = sa.update(agent_releases).where(_r.sha256 == release.sha256)
    return writer.execute(update.values(**msgspec.structs.asdict(release))).rowcount > 0


def insert_release(writer: Writer, release: AgentRelease, added: str) -> None:
    row = {**msgspec.structs.asdict(release), "added_at": added}
    writer.execute(sa.insert(agent_releases), row)


def delete_releases(writer: Writer, version: str) -> None:
    """Delete a version for every platform."""
    writer.execute(sa.delete(agent_releases).where(_r.version == version))


def set_upgrade_state(
    writer: Writer, upgrade: AgentUpgradeRow, state: str, message: str, since: str
) -> None:
    where = (
        (_w.cluster_id == upgrade.cluster_id) & (_w.number == upgrade.number) & (_w.state != QUEUED)
    )
    values = {"state": state, "message": message, "state_since": since}
    writer.execute(sa.update(agent_targets).where(where).values(**values))


def insert_upgrades(writer: Writer, upgrades: Sequence[AgentUpgradeRow]) -> None:
    if upgrades:
        rows = [msgspec.structs.asdict(upgrade) for upgrade in upgrades]
        writer.execute(sa.insert(agent_targets), rows)


def start_upgrades(writer: Writer, ids: Sequence[ClusterId], now: str) -> None:
    """Let the agents of these queued clusters upgrade."""
    update = (
        sa.update(agent_targets)
        .where(_w.cluster_id == sa.bindparam("cluster"))
        .values(state=WANTED, state_since=now)
    )
    if ids:
        writer.execute(update, [{"cluster": cluster} for cluster in ids])


def delete_upgrades(writer: Writer, ids: Iterable[ClusterId]) -> dict[ClusterId, int]:
    """Returns the number of the command by cluster, for each that had an upgrade."""
    numbers: dict[ClusterId, int] = {}
    for part in in_parts(sorted(ids)):
        delete = sa.delete(agent_targets).where(_w.cluster_id.in_(part))
        for row in writer.execute(delete.returning(_w.cluster_id, _w.number)):
            numbers[ClusterId(row.cluster_id)] = row.number
    return numbers


def delete_upgrades_of_missing_clusters(writer: Writer) -> None:
    writer.execute(sa.delete(agent_targets).where(_w.cluster_id.not_in(sa.select(clusters.c.id))))
