"""Rollouts: what is staged is handed out as `core/rollout` decides.

Rule: reconciling stages, and says that there is something to decide (`dirty`); `advance` decides and hands out, in one transaction with the
progress that a restart must find again. A decision reads what was reported and who was heard, and writes intent only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.bundle import BundleSpec
from fleetctl.core.errors import FleetError
from fleetctl.core.ids import BundleName, ClusterId, Workspace
from fleetctl.core.plan import Want
from fleetctl.core.rollout import Decision, Moment, Phase, Progress, Quota, Step, Tally, budgets_left, decide
from fleetctl.core.status import State
from fleetctl.core.strategy import Partition, Policy, Strategy, partitions_of, place, policy_of, strategy_of
from manager import newcomers, past, pins, windows
from manager.clock import rfc3339, unix
from manager.gathering import Scope, bundle_specs, cluster_of, groups, in_parts, next_generation
from manager.live import HEARD, OFFLINE
from manager.staging import AGAIN, ANEW, told
from manager.store.schema import bundles, clusters, deployments, objects, rollouts, wants
from manager.store.schema import pins as pins_table
from manager.windows import Barred

_json = msgspec.json.encode
Health = Callable[[ClusterId], str]
_FEW = 500
_WELL = frozenset({State.READY.value, State.MODIFIED.value})


class Shape(msgspec.Struct, frozen=True):
    """The partitions as they stand, without their members, which are told by `deployments.partition`. `hold`: why Git says that nobody may
    be told anything, or "".
    """

    partitions: list[tuple[str, int, int, float, bool]]  # name, clusters, maxUnavailable, soak, approval
    policy: dict[str, Any]
    hold: str = ""


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


def due(connection: Connection, now: float, turned: Collection[ClusterId], *, settled: bool) -> list[tuple[Workspace, BundleName]]:
    """The rollouts that must be looked at. `turned`: clusters that have fallen silent or are heard again, which no report says. `settled`:
    also those that have nothing to decide any more, of which a report changes the counts only.
    """
    r, d, p = rollouts.c, deployments.c, pins_table.c
    over = (r.phase == Phase.COMPLETED.value) & (r.silent == 0) & (r.wake == 0)
    where = (r.dirty >= ANEW) | ((r.dirty > 0) & (sa.true() if settled else ~over)) | ((r.wake > 0) & (r.wake <= now))
    if turned:
        going = (r.phase == Phase.PROGRESSING.value) | ((r.phase == Phase.COMPLETED.value) & (r.silent > 0))
        # Who was sent back by name goes also when the rollout stands still.
        going |= (r.silent > 0) & sa.exists().where((p.workspace == r.workspace) & (p.bundle == r.bundle) & (p.number > 0))
        if len(turned) <= _FEW:
            mine = (d.workspace == r.workspace) & (d.bundle == r.bundle) & d.cluster_id.in_(turned)
            going &= sa.exists().where(mine)
        where |= going
    rows = connection.execute(sa.select(r.workspace, r.bundle).where(where).order_by(r.workspace, r.bundle))
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def next_wake(connection: Connection) -> float:
    """When time alone would change something; 0 never."""
    return float(connection.execute(sa.select(sa.func.min(rollouts.c.wake)).where(rollouts.c.wake > 0)).scalar() or 0.0)


def advance(
    connection: Connection, workspace: Workspace, bundle: BundleName, health: Health, now: float, since: float = 0.0
) -> set[ClusterId]:
    """Decide, hand out, and remember how far it is. The clusters whose document is another one now. `since`: when this manager started."""
    r = rollouts.c
    where = (r.workspace == workspace) & (r.bundle == bundle)
    row = connection.execute(sa.select(rollouts).where(where)).one_or_none()
    if row is None:
        return set()
    shape = _reshaped(connection, workspace, bundle) if row.dirty >= ANEW or row.shape == b"null" else None
    if shape is None:
        shape = msgspec.json.decode(row.shape, type=Shape)
    members = _members(connection, workspace, bundle)
    partitions, policy = _partitions(shape), Policy(**shape.policy)
    own = pins.holders(connection, (workspace, bundle))
    paused = _paused(connection, workspace)
    back = {m.cluster for m in members if m.cluster in own and m.staged and m.told} - paused
    barred = windows.barred(connection, workspace, now, paused=paused | back, passes=bool(row.ignoring))
    tallies = _tallies(len(partitions), members, health, barred, own)
    steps = tuple(Step(*item) for item in msgspec.json.decode(row.steps))
    moment = Moment(now, since, shape.hold)
    decision = decide(partitions, tallies, policy, Progress(Phase(row.phase), row.reason, steps), moment)
    chosen = _chosen(members, decision.quotas, health, barred)
    if not shape.hold:
        chosen += _going_back(members, back - barred.why.keys(), budgets_left(partitions, tallies, policy, decision.quotas), health)
    if chosen:
        _hand_out(connection, workspace, bundle, chosen, rfc3339(now))
    left = any(t.fresh > q.fresh > 0 for t, q in zip(tallies, decision.quotas, strict=True))
    if chosen:
        tallies = _told(tallies, chosen, health, barred)  # what people read is how it is now
        decision = decide(partitions, tallies, policy, decision.progress, moment)
    gone = {member.cluster for member in chosen}
    decision = barred.timed(decision, [m.cluster for m in members if m.staged and m.cluster not in gone])
    decision = barred.waking(decision, back - gone)
    _remember(connection, where, decision, shape, tallies, dirty=AGAIN if left else 0, waiting=len(back - gone))
    ended = decision.progress.phase is Phase.COMPLETED and row.phase != Phase.COMPLETED.value
    if ended and any(tally.ready_started for tally in tallies):
        connection.execute(sa.update(rollouts).where(where).values(good=newcomers.current(connection, workspace, bundle)))
    return gone


def _remember(
    connection: Connection, where: Any, decision: Decision, shape: Shape, tallies: list[Tally], *, dirty: int, waiting: int
) -> None:
    """`waiting`: clusters that go back, and are not told yet."""
    counts = [asdict(tally) | {"why": quota.why, "asks": quota.asks} for tally, quota in zip(tallies, decision.quotas, strict=True)]
    values = {
        "phase": decision.progress.phase.value,
        "reason": decision.progress.reason,
        "waiting": decision.waiting,
        "steps": _json([stored(step) for step in decision.progress.steps]),
        "shape": _json(shape),
        "counts": _json(counts),
        "wake": decision.wake,
        "dirty": dirty,
        "silent": sum(t.may_go + t.offline + t.unknown + t.later for t in tallies) + waiting,
    }
    connection.execute(sa.update(rollouts).where(where).values(**values))


def stored(step: Step) -> list[Any]:
    """A step as it is written down; read with `Step(*item)`."""
    return [step.opened, step.finished, step.approved, step.accepted, step.idle, step.idle_since]


def _reshaped(connection: Connection, workspace: Workspace, bundle: BundleName) -> Shape | None:
    """The partitions for the clusters of now, with everybody's place written down."""
    spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
    if spec is None:
        return None
    c, d = clusters.c, deployments.c
    query = sa.select(c.id, c.name, c.labels, c.annotations, c.spec, d.partition, d.position).join(deployments, d.cluster_id == c.id)
    rows = connection.execute(query.where(d.workspace == workspace, d.bundle == bundle, ~d.removed, ~d.kept)).all()
    strategy = safe_strategy(spec)
    made = partitions_of(strategy, bundle, [cluster_of(row, workspace) for row in rows], groups(connection, workspace))
    had = {row.id: (row.partition, row.position) for row in rows}
    places = {member: (at, place(bundle, member)) for at, part in enumerate(made) for member in part.members}
    moved = [{"c": i, "p": at, "q": position} for i, (at, position) in places.items() if had[i] != (at, position)]
    if moved:
        here = (d.cluster_id == sa.bindparam("c")) & (d.bundle == bundle)
        connection.execute(sa.update(deployments).where(here).values(partition=sa.bindparam("p"), position=sa.bindparam("q")), moved)
    shown = [(p.name, len(p.members), p.max_unavailable, p.soak, p.approval) for p in made]
    return Shape(shown, asdict(policy_of(strategy, len(made), len(rows))), _hold(connection, spec))


def _hold(connection: Connection, spec: BundleSpec) -> str:
    """A pause that Git states; a person's own one is a phase of the rollout."""
    if not spec.paused:
        return ""
    o = objects.c
    query = sa.select(o.spec).where(o.kind == "GitRepo", o.workspace == spec.workspace, o.name == spec.repo)
    text = connection.execute(query).scalar()
    if text is not None and msgspec.json.decode(text).get("paused"):
        return f"GitRepo {spec.repo} is paused"
    return "its fleet.yaml says paused: true"


def safe_strategy(spec: BundleSpec) -> Strategy:
    """What the bundle states; what cannot be read lets one cluster go at a time. (The scan refuses it; an older manager did not.)"""
    try:
        return strategy_of(spec.rollout_strategy)
    except FleetError:
        return Strategy(max_unavailable=1)


def _partitions(shape: Shape) -> list[Partition]:
    """Only their numbers count for a decision; `members` is as long as there are clusters."""
    return [Partition(name, (ClusterId(""),) * count, budget, soak, approval) for name, count, budget, soak, approval in shape.partitions]


def _members(connection: Connection, workspace: Workspace, bundle: BundleName) -> list[Member]:
    d = deployments.c
    query = sa.select(d.cluster_id, d.partition, d.position, d.staged, d.generation, d.state, d.reported, d.applied).where(
        d.workspace == workspace, d.bundle == bundle, ~d.removed
    )
    return [
        Member(
            ClusterId(r[0]), r[1], r[2], r[3], r[4] > 0, r[5], done=r[6] >= r[4] > 0 and (r[7] >= r[4] or r[5] == State.ERR_APPLIED.value)
        )
        for r in connection.execute(query.order_by(d.partition, d.position, d.cluster_id))
    ]


def _paused(connection: Connection, workspace: Workspace) -> set[ClusterId]:
    c = clusters.c
    rows = connection.execute(sa.select(c.id, c.spec).where(c.workspace == workspace, sa.cast(c.spec, sa.String).contains('"paused"')))
    return {ClusterId(row.id) for row in rows if msgspec.json.decode(row.spec).get("paused")}


def _class(member: Member, health: str, barred: Barred) -> str:
    """The counter of `Tally` that the cluster adds to."""
    paused = member.cluster in barred.paused
    well = member.state in _WELL or (paused and member.state == State.OUT_OF_SYNC.value)
    if not member.staged and paused and member.state == State.OUT_OF_SYNC.value:
        return "barred_ready"  # told, and paused before its agent had begun
    if not member.staged:
        return "ready_started" if well and health == HEARD else "down_started"
    if health != HEARD:
        return health
    if member.cluster in barred:
        return "barred_ready" if well or not member.told else "barred_down"
    return "fresh" if not member.told else "ready" if well else "down"


def _tallies(partitions: int, members: Sequence[Member], health: Health, barred: Barred, own: Collection[ClusterId]) -> list[Tally]:
    counts: list[Counter[str]] = [Counter() for _ in range(partitions)]
    for member in members:
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
            mine["failed"] += member.done and member.state == State.ERR_APPLIED.value and member.cluster not in own
    return [Tally(**count) for count in counts]


def _chosen(members: Sequence[Member], quotas: Sequence[Quota], health: Health, barred: Barred) -> list[Member]:
    """Who goes, in the partitions' own order."""
    left = [{"ready": quota.ready, "fresh": quota.fresh, "down": len(members) if quota.down else 0} for quota in quotas]
    found = []
    for member in members:
        if not member.staged or member.partition >= len(quotas):
            continue
        name = _class(member, health(member.cluster), barred)
        if left[member.partition].get(name, 0) > 0:
            left[member.partition][name] -= 1
            found.append(member)
    return found


def _told(tallies: Sequence[Tally], chosen: Sequence[Member], health: Health, barred: Barred) -> list[Tally]:
    """The counts after these were told."""
    found = [asdict(tally) for tally in tallies]
    for member in chosen:
        mine = found[member.partition]
        mine[_class(member, health(member.cluster), barred)] -= 1
        mine["down_started"] += 1
        mine["flying"] += 1
    return [Tally(**counts) for counts in found]


def _going_back(members: Sequence[Member], back: Collection[ClusterId], left: tuple[list[int], int], health: Health) -> list[Member]:
    """Of those that a person sends back by name, the ones that go now: whatever the rollout waits for, within what is `left` of each
    partition's budget and of the bundle's.
    """
    each, free = left
    found = []
    for member in members:
        if member.cluster not in back or member.partition >= len(each) or health(member.cluster) != HEARD:
            continue
        well = member.state in _WELL
        if well and min(free, each[member.partition]) <= 0:
            continue
        each[member.partition] -= well
        free -= well
        found.append(member)
    return found


def _hand_out(connection: Connection, workspace: Workspace, bundle: BundleName, chosen: Sequence[Member], now: str) -> None:
    generation = next_generation(connection)
    d = deployments.c
    by_key: dict[str, list[ClusterId]] = {}
    for member in chosen:
        by_key.setdefault(member.staged, []).append(member.cluster)
    for key, ids in by_key.items():
        want = msgspec.json.decode(connection.execute(sa.select(wants.c.json).where(wants.c.key == key)).scalar_one(), type=Want)
        values = {**told(want), "generation": generation, "state": State.WAIT_APPLIED.value, "staged": ""} | past.handed(int(unix(now)))
        for part in in_parts(ids):
            where = (d.workspace == workspace) & (d.bundle == bundle) & d.cluster_id.in_(part)
            connection.execute(sa.update(deployments).where(where).values(**values))
            connection.execute(sa.update(clusters).where(clusters.c.id.in_(part)).values(issued=now))


def wants_rollback(connection: Connection, workspace: Workspace, bundle: BundleName) -> str | None:
    """Why it failed, when its policy is to go back and clusters have the newest revision; else None."""
    r, b = rollouts.c, bundles.c
    joined = sa.select(r.phase, r.reason, r.shape, b.pinned).join(bundles, (b.workspace == r.workspace) & (b.name == r.bundle))
    row = connection.execute(joined.where(r.workspace == workspace, r.bundle == bundle)).one_or_none()
    if row is None or row.phase != Phase.FAILED.value or row.pinned:
        return None
    policy = msgspec.json.decode(row.shape, type=Shape).policy
    return str(row.reason) if policy.get("on_failure") == "rollback" else None
