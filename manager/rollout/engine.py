"""Rollouts: what is staged is handed out as `core/rollout` decides.

Rule: reconciling stages, and says that there is something to decide (`dirty`); `advance` decides
and hands out, in one transaction with the progress that a restart must find again. A decision reads
what was reported and who was heard, and writes intent only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.decide import (
    Decision,
    Moment,
    Phase,
    Progress,
    Step,
    Tally,
    budgets_left,
    decide,
)
from fleetctl.core.rollout.strategy import Partition, Policy

from ..agents.presence import OFFLINE
from ..ingest import moves
from ..store.commands.rollout.rollouts import encode_steps
from ..store.counts import without_agent
from ..store.keys import Dirty
from ..store.queries import Scope, bundle_specs
from ..store.queries.pins import pinned_numbers
from ..store.queries.revisions import current_revision
from ..store.schema import bundles, clusters, deployments, passes, rollouts
from ..store.schema import pins as pins_table
from . import schedules
from .admission import Apart, Census, back_of, choose, going_back, hand_out, waiting_of
from .partitions import Shape, reshaped, shape_of

_json = msgspec.json.encode
_FEW = 500


def due(
    connection: Connection, now: float, turned: Collection[ClusterId] | None, *, settled: bool
) -> list[tuple[Workspace, BundleName]]:
    """The rollouts that must be looked at. `turned`: clusters that have fallen silent or are heard
    again, which no report says (None: any may have). `settled`: also those that have nothing to
    decide any more, of which a report changes the counts only.
    """
    r, d, p = rollouts.c, deployments.c, pins_table.c
    over = (r.phase == Phase.COMPLETED.value) & (r.silent == 0) & (r.wake == 0)
    where = (
        (r.dirty >= Dirty.PARTITIONS)
        | ((r.dirty > 0) & (sa.true() if settled else ~over))
        | ((r.wake > 0) & (r.wake <= now))
    )
    if turned is None or turned:
        going = (r.phase == Phase.PROGRESSING.value) | (
            (r.phase == Phase.COMPLETED.value) & (r.silent > 0)
        )
        # Who was sent back by name goes also when the rollout stands still.
        going |= (r.silent > 0) & sa.exists().where(
            (p.workspace == r.workspace) & (p.bundle == r.bundle) & (p.number > 0)
        )
        if turned is not None and len(turned) <= _FEW:
            mine = (d.workspace == r.workspace) & (d.bundle == r.bundle) & d.cluster_id.in_(turned)
            going &= sa.exists().where(mine)
        where |= going
    # what is not whole yet stands still
    where &= ~sa.exists().where((passes.c.workspace == r.workspace) & (passes.c.bundle == r.bundle))
    rows = connection.execute(
        sa.select(r.workspace, r.bundle).where(where).order_by(r.workspace, r.bundle)
    )
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def next_wake(connection: Connection) -> float:
    """When time alone would change something; 0 never."""
    return float(
        connection.execute(
            sa.select(sa.func.min(rollouts.c.wake)).where(rollouts.c.wake > 0)
        ).scalar()
        or 0.0
    )


@dataclass(frozen=True)
class Advanced:
    """The clusters whose document is another one now; `more`: call again, others may go at once."""

    touched: set[ClusterId]
    more: bool = False


def advance(
    connection: Connection,
    workspace: Workspace,
    bundle: BundleName,
    silent: Mapping[ClusterId, str],
    now: float,
    since: float = 0.0,
) -> Advanced:
    """Decide, hand out to a part of those who may go, and remember how far it is. `silent`: the
    enrolled clusters that are not heard, and how; `since`: when this manager started.
    """
    r, place = rollouts.c, (workspace, bundle)
    where = (r.workspace == workspace) & (r.bundle == bundle)
    row = connection.execute(sa.select(rollouts).where(where)).one_or_none()
    if (
        row is None
        or connection.execute(
            sa.select(passes.c.how).where(
                passes.c.workspace == workspace, passes.c.bundle == bundle
            )
        ).first()
    ):
        return Advanced(set())
    shape = shape_of(row.shape)
    if row.dirty >= Dirty.PARTITIONS or row.shape == b"null":
        spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
        shape, placed = (
            (shape, True) if spec is None else reshaped(connection, spec, shape, row.version)
        )
        if not placed:
            connection.execute(
                sa.update(rollouts).where(where).values(shape=_json(shape), dirty=Dirty.PARTITIONS)
            )
            return Advanced(set(), more=True)
    partitions, policy, own = (
        _partitions(shape),
        Policy(**shape.policy),
        pinned_numbers(connection, place).keys(),
    )
    heard, paused = _silent(connection, workspace, silent), _paused(connection, workspace)
    paused |= moves.on_the_way(connection, workspace, bundle) - heard.keys()
    back = back_of(connection, place, own, paused)
    barred = schedules.barred(
        connection,
        workspace,
        now,
        bundle=bundle,
        paused=paused | {one.cluster for one in back},
        passes=bool(row.ignoring),
    )
    apart = Apart(heard, barred.paused, {cluster: barred.opens(cluster) for cluster in barred.why})
    census = Census(connection, place, apart, own)
    tallies = census.tallies(len(partitions))
    steps = tuple(Step(*item) for item in msgspec.json.decode(row.steps))
    moment = Moment(now, since, shape.hold)
    decision = decide(
        partitions, tallies, policy, Progress(Phase(row.phase), row.reason, steps), moment
    )
    choice = choose(connection, place, census, decision.quotas, shape.swept)
    chosen = choice.who
    if not shape.hold:
        chosen += going_back(
            back, budgets_left(partitions, tallies, policy, decision.quotas), {*heard, *barred.why}
        )
    gone = {one.cluster for one in chosen}
    if chosen:
        hand_out(connection, chosen, int(now))
        left = (
            apart
            if gone.isdisjoint(apart.paused)
            else replace(apart, paused=set(apart.paused) - gone)
        )
        # what people read is how it is now
        tallies = Census(connection, place, left, own, census).tallies(len(partitions))
        decision = decide(partitions, tallies, policy, decision.progress, moment)
    decision = barred.timed(decision, waiting_of(connection, place, {*barred.why, *barred.under}))
    decision = barred.waking(decision, {one.cluster for one in back} - gone)
    shape = msgspec.structs.replace(shape, swept=choice.swept)
    _remember(
        connection, where, decision, shape, tallies, dirty=Dirty.DECISION if choice.more else 0
    )
    ended = decision.progress.phase is Phase.COMPLETED and row.phase != Phase.COMPLETED.value
    if ended and any(tally.ready_started for tally in tallies):
        connection.execute(
            sa.update(rollouts).where(where).values(good=current_revision(connection, place))
        )
    return Advanced(gone, choice.more)


def _silent(
    connection: Connection, workspace: Workspace, silent: Mapping[ClusterId, str]
) -> dict[ClusterId, str]:
    """A cluster without an agent is as one that is offline."""
    return {**silent, **dict.fromkeys(without_agent(connection, workspace), OFFLINE)}


def _remember(
    connection: Connection,
    where: Any,
    decision: Decision,
    shape: Shape,
    tallies: list[Tally],
    *,
    dirty: int,
) -> None:
    counts = [
        asdict(tally) | {"why": quota.why, "asks": quota.asks}
        for tally, quota in zip(tallies, decision.quotas, strict=True)
    ]
    values = {
        "phase": decision.progress.phase.value,
        "reason": decision.progress.reason,
        "waiting": decision.waiting,
        "steps": encode_steps(decision.progress.steps),
        "shape": _json(shape),
        "counts": _json(counts),
        "wake": decision.wake,
        "dirty": dirty,
        "silent": sum(
            t.may_go + t.offline + t.unknown + t.barred_ready + t.barred_down for t in tallies
        ),
    }
    connection.execute(sa.update(rollouts).where(where).values(**values))


def _partitions(shape: Shape) -> list[Partition]:
    """Only their numbers count for a decision; `members` is as long as there are clusters."""
    return [
        Partition(name, (ClusterId(""),) * count, budget, soak, approval)
        for name, count, budget, soak, approval in shape.partitions
    ]


def _paused(connection: Connection, workspace: Workspace) -> set[ClusterId]:
    """The index holds no others but those of which something is said about pausing."""
    c = clusters.c
    rows = connection.execute(
        sa.select(c.id, c.spec).where(
            c.workspace == workspace, sa.text("instr(spec, '\"paused\"') > 0")
        )
    )
    return {ClusterId(row.id) for row in rows if msgspec.json.decode(row.spec).get("paused")}


def wants_rollback(connection: Connection, workspace: Workspace, bundle: BundleName) -> str | None:
    """Why it failed, when its policy is to go back and clusters have the newest revision; else
    None.
    """
    r, b = rollouts.c, bundles.c
    joined = sa.select(r.phase, r.reason, r.shape, b.pinned).join(
        bundles, (b.workspace == r.workspace) & (b.name == r.bundle)
    )
    row = connection.execute(
        joined.where(r.workspace == workspace, r.bundle == bundle)
    ).one_or_none()
    if row is None or row.phase != Phase.FAILED.value or row.pinned:
        return None
    policy = shape_of(row.shape).policy
    return str(row.reason) if policy.get("on_failure") == "rollback" else None
