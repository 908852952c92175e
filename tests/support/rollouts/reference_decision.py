"""The decision of a rollout with every cluster looked at, one by one: what
manager/rollout/admission.py must answer by counting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Quota, Tally
from manager.presence import HEARD, OFFLINE
from manager.rollout.barred import BarredClusters
from manager.store.schema import deployments

Health = Callable[[ClusterId], str]
_WELL = frozenset({State.READY.value, State.MODIFIED.value})


@dataclass(frozen=True)
class Member:
    """One cluster of a rollout, as it is stored."""

    cluster: ClusterId
    partition: int
    position: int
    staged: str
    told: bool
    state: str
    done: bool  # its agent has applied what it was told, or could not


def members(connection: Connection, workspace: Workspace, bundle: BundleName) -> list[Member]:
    d = deployments.c
    query = sa.select(
        d.cluster_id,
        d.partition,
        d.position,
        d.staged_key,
        d.generation,
        d.state,
        d.reported_generation,
        d.applied_generation,
    ).where(d.workspace == workspace, d.bundle == bundle, ~d.is_removed, ~d.removal_held)
    return [
        Member(
            ClusterId(r[0]),
            r[1],
            r[2],
            r[3],
            r[4] > 0,
            r[5],
            done=r[6] >= r[4] > 0 and (r[7] >= r[4] or r[5] == State.ERR_APPLIED.value),
        )
        for r in connection.execute(query.order_by(d.partition, d.position, d.cluster_id))
    ]


def _class(member: Member, health: str, barred: BarredClusters) -> str:
    """The counter of `Tally` that the cluster adds to."""
    paused_clusters = member.cluster in barred.paused_clusters
    well = member.state in _WELL or (paused_clusters and member.state == State.OUT_OF_SYNC.value)
    if not member.staged and paused_clusters and member.state == State.OUT_OF_SYNC.value:
        return "barred_ready"  # told, and paused before its agent had begun
    if not member.staged:
        return "ready_started" if well and health == HEARD else "down_started"
    if health != HEARD:
        return health
    if member.cluster in barred:
        return "barred_ready" if well or not member.told else "barred_down"
    return "fresh" if not member.told else "ready" if well else "down"


def tallies(
    partitions: int,
    every: Sequence[Member],
    health: Health,
    barred: BarredClusters,
    own: Collection[ClusterId],
) -> list[Tally]:
    counts: list[Counter[str]] = [Counter() for _ in range(partitions)]
    for member in every:
        if member.partition >= partitions:
            continue
        heard = health(member.cluster)
        name = _class(member, heard, barred)
        mine = counts[member.partition]
        mine[name] += 1
        if name in {"barred_ready", "barred_down"} and member.staged:
            mine["later"] += barred.opens(member.cluster)
        if name == "down_started":
            mine["flying"] += not member.done and heard != OFFLINE
            mine["silent"] += heard == OFFLINE
            mine["failed"] += (
                member.done
                and member.state == State.ERR_APPLIED.value
                and member.cluster not in own
            )
    return [Tally(**count) for count in counts]


def chosen(
    every: Sequence[Member], quotas: Sequence[Quota], health: Health, barred: BarredClusters
) -> list[Member]:
    """Who goes, in the partitions' own order."""
    left = [
        {"ready": quota.ready, "fresh": quota.fresh, "down": len(every) if quota.down else 0}
        for quota in quotas
    ]
    found = []
    for member in every:
        if not member.staged or member.partition >= len(quotas):
            continue
        name = _class(member, health(member.cluster), barred)
        if left[member.partition].get(name, 0) > 0:
            left[member.partition][name] -= 1
            found.append(member)
    return found


def after(
    before: Sequence[Tally], gone: Sequence[Member], health: Health, barred: BarredClusters
) -> list[Tally]:
    """The counts after these were told."""
    found = [asdict(tally) for tally in before]
    for member in gone:
        mine = found[member.partition]
        mine[_class(member, health(member.cluster), barred)] -= 1
        mine["down_started"] += 1
        mine["flying"] += 1
    return [Tally(**counts) for counts in found]


def going_back(
    every: Sequence[Member],
    back: Collection[ClusterId],
    left: tuple[list[int], int],
    health: Health,
) -> list[Member]:
    """Of those that a person sends back by name, the ones that go now: whatever the rollout waits
    for, within what is `left` of each partition's budget and of the bundle's.
    """
    each, free = left
    found = []
    for member in every:
        if (
            member.cluster not in back
            or member.partition >= len(each)
            or health(member.cluster) != HEARD
        ):
            continue
        well = member.state in _WELL
        if well and min(free, each[member.partition]) <= 0:
            continue
        each[member.partition] -= well
        free -= well
        found.append(member)
    return found
