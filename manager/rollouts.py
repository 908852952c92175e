"""Rollouts: what a bundle's clusters should be told is staged first, and handed out as `core/rollout` decides.

A bundle has one when it states a `rolloutStrategy`, when it has so many clusters that Fleet makes partitions of them, or when a person has
paused it. Every other bundle is handed out at once. A newer version takes the place of what is staged: two versions never mix.

Rule: reconciling stages, and says that there is something to decide (`dirty`); `advance` decides and hands out, in one transaction with the
progress that a restart must find again. A decision reads what was reported and who was heard, and writes intent only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.bundle import BundleSpec
from fleetctl.core.errors import FleetError, NotFound, RefusedError
from fleetctl.core.ids import BundleName, ClusterId, Workspace
from fleetctl.core.plan import Change, Want, key_of
from fleetctl.core.rollout import Decision, Phase, Progress, Quota, Step, Tally, decide
from fleetctl.core.status import State
from fleetctl.core.strategy import Partition, Policy, Strategy, partitions_of, policy_of, strategy_of
from manager.clock import rfc3339
from manager.gathering import Scope, bundle_specs, cluster_of, groups, in_parts, next_generation
from manager.store.schema import bundles, clusters, deployments, rollouts, wants

_json = msgspec.json.encode
# Fleet makes partitions of this many clusters without being asked.
MANY = 200
HEARD, UNKNOWN, OFFLINE = "heard", "unknown", "offline"
Health = Callable[[ClusterId], str]
_WELL = frozenset({State.READY.value, State.MODIFIED.value})
AGAIN, ANEW = 1, 2


class Shape(msgspec.Struct, frozen=True):
    """The partitions as they stand, without their members, which are told by `deployments.partition`."""

    partitions: list[tuple[str, int, int, float, bool]]  # name, clusters, maxUnavailable, soak, approval
    policy: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """One cluster of a rollout, as it is stored."""

    cluster: ClusterId
    partition: int
    position: int
    staged: str
    told: bool
    state: str
    answered: bool


# Staging


def gated(connection: Connection, workspace: Workspace, specs: Iterable[BundleSpec], counts: Mapping[BundleName, int]) -> set[BundleName]:
    """Those of the bundles whose changes go through a rollout. `counts`: clusters of each."""
    specs = list(specs)
    known = {spec.name for spec in specs if spec.rollout_strategy or counts.get(spec.name, 0) >= MANY}
    r = rollouts.c
    for part in in_parts(sorted({spec.name for spec in specs} - known)):
        known |= set(connection.execute(sa.select(r.bundle).where(r.workspace == workspace, r.bundle.in_(part))).scalars())
    return known


def stage(
    connection: Connection, workspace: Workspace, changes: Sequence[Change], specs: Mapping[BundleName, BundleSpec], now: str
) -> None:
    """Write down what the clusters of `changes` (all with a redeployment) should be told, and that somebody must decide."""
    held = {key_of(change.want): change.want for change in changes if change.want is not None}
    adding = sa.insert(wants).prefix_with("OR IGNORE")
    connection.execute(adding, [{"key": key, "json": _json(want)} for key, want in held.items()])
    rows = [_blank(change, workspace, specs[change.key[1]]) for change in changes]
    _insert(connection, rows)
    for name in sorted({change.key[1] for change in changes}):
        _begin(connection, workspace, specs[name], now)


def _blank(change: Change, workspace: Workspace, spec: BundleSpec) -> dict[str, Any]:
    """A row for a cluster that was told nothing yet; one that is there keeps all but what is staged."""
    want = change.want
    assert want is not None
    return {
        "cluster_id": change.key[0],
        "bundle": change.key[1],
        "workspace": workspace,
        "repo": spec.repo,
        "generation": 0,
        **told(want),
        "removed": False,
        "state": State.PENDING.value,
        "applied": 0,
        "reported": 0,
        "reported_at": "",
        "message": "",
        "report": b"",
        "staged": key_of(want),
    }


def told(want: Want) -> dict[str, Any]:
    """The columns of what a cluster is told."""
    return {
        "archive": want.archive,
        "size": want.size,
        "options_digest": want.options_digest,
        "options_key": want.options_key,
        "target": want.target,
        "customization": want.customization,
        "commit": want.commit,
        "shown": want.shown.encode(),
        "keep_resources": want.keep_resources,
    }


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """One that was being removed starts anew: its tombstone goes, and what runs is taken over."""
    from sqlalchemy.dialects.sqlite import insert

    adding = insert(deployments)
    gone = deployments.c.removed
    fresh = {name: sa.case((gone, adding.excluded[name]), else_=deployments.c[name]) for name in rows[0] if name not in _KEYS}
    values = fresh | {"staged": adding.excluded.staged, "removed": False}
    connection.execute(adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=values), rows)


_KEYS = frozenset({"cluster_id", "bundle", "workspace"})


def _begin(connection: Connection, workspace: Workspace, spec: BundleSpec, now: str) -> None:
    """The bundle's rollout, for its version of now; one that a person has paused stays paused."""
    b, r = bundles.c, rollouts.c
    version = connection.execute(sa.select(b.generation).where(b.workspace == workspace, b.name == spec.name)).scalar() or 0
    where = (r.workspace == workspace) & (r.bundle == spec.name)
    old = connection.execute(sa.select(r.version, r.phase, r.reason).where(where)).one_or_none()
    if old is not None and old.version == version:
        connection.execute(sa.update(rollouts).where(where).values(dirty=ANEW))
        return
    paused = old is not None and old.phase == Phase.PAUSED.value
    values = {
        "version": version,
        "commit": spec.commit,
        "begun": now,
        "phase": Phase.PAUSED.value if paused else Phase.PROGRESSING.value,
        "reason": old.reason if old is not None and paused else "",
        "waiting": "",
        "steps": b"[]",
        "counts": b"[]",
        "wake": 0.0,
        "dirty": ANEW,
    }
    if old is None:
        connection.execute(sa.insert(rollouts), {"workspace": workspace, "bundle": spec.name, "shape": b"null", "silent": 0, **values})
    else:
        connection.execute(sa.update(rollouts).where(where).values(**values))


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    """Bundles that are no more have no rollout."""
    r = rollouts.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(rollouts).where(r.workspace == workspace, r.bundle.in_(part)))


def touch(connection: Connection, workspace: str, names: Iterable[str], how: int = AGAIN) -> bool:
    """Something that the rollouts of these bundles look at has changed. Whether there are any."""
    r, found = rollouts.c, 0
    for part in in_parts(sorted(names)):
        where = (r.workspace == workspace) & r.bundle.in_(part)
        found += connection.execute(sa.update(rollouts).where(where).values(dirty=sa.func.max(r.dirty, how))).rowcount
    return found > 0


def held_archives(connection: Connection) -> set[str]:
    """Of versions that are held back, which may be none of the bundles' own any more."""
    return {msgspec.json.decode(text, type=Want).archive for text in connection.execute(sa.select(wants.c.json)).scalars()}


def sweep(connection: Connection) -> None:
    """Versions that nobody waits for any more go."""
    used = sa.select(deployments.c.staged).where(deployments.c.staged != "")
    connection.execute(sa.delete(wants).where(wants.c.key.not_in(used)))


# Deciding


def due(connection: Connection, now: float, *, silent: bool) -> list[tuple[Workspace, BundleName]]:
    """The rollouts that must be looked at. `silent`: also those that wait to hear of somebody."""
    r = rollouts.c
    where = (r.dirty > 0) | ((r.wake > 0) & (r.wake <= now))
    if silent:
        where |= r.silent > 0
    rows = connection.execute(sa.select(r.workspace, r.bundle).where(where).order_by(r.workspace, r.bundle))
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def next_wake(connection: Connection) -> float:
    """When time alone would change something; 0 never."""
    return float(connection.execute(sa.select(sa.func.min(rollouts.c.wake)).where(rollouts.c.wake > 0)).scalar() or 0.0)


def advance(connection: Connection, workspace: Workspace, bundle: BundleName, health: Health, now: float) -> set[ClusterId]:
    """Decide, hand out, and remember how far it is. The clusters whose document is another one now."""
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
    paused = _paused(connection, workspace)
    tallies = _tallies(len(partitions), members, health, paused)
    steps = tuple(Step(*item) for item in msgspec.json.decode(row.steps))
    decision = decide(partitions, tallies, policy, Progress(Phase(row.phase), row.reason, steps), now)
    chosen = _chosen(members, decision.quotas, health, paused)
    if chosen:
        _hand_out(connection, workspace, bundle, chosen, rfc3339(now))
    left = any(t.fresh > q.fresh > 0 for t, q in zip(tallies, decision.quotas, strict=True))
    _remember(connection, where, decision, shape, tallies, dirty=AGAIN if left else 0)
    return {member.cluster for member in chosen}


def _remember(connection: Connection, where: Any, decision: Decision, shape: Shape, tallies: list[Tally], *, dirty: int) -> None:
    counts = [asdict(tally) | {"why": quota.why} for tally, quota in zip(tallies, decision.quotas, strict=True)]
    values = {
        "phase": decision.progress.phase.value,
        "reason": decision.progress.reason,
        "waiting": decision.waiting,
        "steps": _json([[s.opened, s.finished, s.approved] for s in decision.progress.steps]),
        "shape": _json(shape),
        "counts": _json(counts),
        "wake": decision.wake,
        "dirty": dirty,
        "silent": sum(t.offline + t.unknown for t in tallies),
    }
    connection.execute(sa.update(rollouts).where(where).values(**values))


def _reshaped(connection: Connection, workspace: Workspace, bundle: BundleName) -> Shape | None:
    """The partitions for the clusters of now, with everybody's place written down."""
    spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
    if spec is None:
        return None
    c, d = clusters.c, deployments.c
    query = sa.select(c.id, c.name, c.labels, c.annotations, c.spec, d.partition, d.position).join(deployments, d.cluster_id == c.id)
    rows = connection.execute(query.where(d.workspace == workspace, d.bundle == bundle, ~d.removed)).all()
    strategy = safe_strategy(spec)
    made = partitions_of(strategy, bundle, [cluster_of(row, workspace) for row in rows], groups(connection, workspace))
    had = {row.id: (row.partition, row.position) for row in rows}
    places = {member: (at, position) for at, part in enumerate(made) for position, member in enumerate(part.members)}
    moved = [{"c": i, "p": place[0], "q": place[1]} for i, place in places.items() if had[i] != place]
    if moved:
        here = (d.cluster_id == sa.bindparam("c")) & (d.bundle == bundle)
        connection.execute(sa.update(deployments).where(here).values(partition=sa.bindparam("p"), position=sa.bindparam("q")), moved)
    shown = [(p.name, len(p.members), p.max_unavailable, p.soak, p.approval) for p in made]
    return Shape(shown, asdict(policy_of(strategy, len(made), len(rows))))


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
    query = sa.select(d.cluster_id, d.partition, d.position, d.staged, d.generation, d.state, d.reported).where(
        d.workspace == workspace, d.bundle == bundle, ~d.removed
    )
    return [
        Member(ClusterId(r[0]), r[1], r[2], r[3], r[4] > 0, r[5], answered=r[6] >= r[4] > 0)
        for r in connection.execute(query.order_by(d.partition, d.position))
    ]


def _paused(connection: Connection, workspace: Workspace) -> set[ClusterId]:
    c = clusters.c
    rows = connection.execute(sa.select(c.id, c.spec).where(c.workspace == workspace, sa.cast(c.spec, sa.String).contains('"paused"')))
    return {ClusterId(row.id) for row in rows if msgspec.json.decode(row.spec).get("paused")}


def _class(member: Member, health: str, paused: set[ClusterId]) -> str:
    """The counter of `Tally` that the cluster adds to."""
    held = member.cluster in paused
    well = member.state in _WELL or (held and member.state == State.OUT_OF_SYNC.value)
    if not member.staged:
        return "ready_started" if well and health == HEARD else "down_started"
    if health != HEARD:
        return health
    if held:
        return "barred_ready" if well else "barred_down"
    return "fresh" if not member.told else "ready" if well else "down"


def _tallies(partitions: int, members: Sequence[Member], health: Health, paused: set[ClusterId]) -> list[Tally]:
    counts: list[Counter[str]] = [Counter() for _ in range(partitions)]
    for member in members:
        if member.partition >= partitions:
            continue
        heard = health(member.cluster)
        name = _class(member, heard, paused)
        mine = counts[member.partition]
        mine[name] += 1
        if name == "down_started":
            mine["flying"] += not member.answered and heard != OFFLINE
            mine["failed"] += member.answered and member.state == State.ERR_APPLIED.value
    return [Tally(**count) for count in counts]


def _chosen(members: Sequence[Member], quotas: Sequence[Quota], health: Health, paused: set[ClusterId]) -> list[Member]:
    """Who goes, in the partitions' own order."""
    left = [{"ready": quota.ready, "fresh": quota.fresh, "down": len(members) if quota.down else 0} for quota in quotas]
    found = []
    for member in members:
        if not member.staged or member.partition >= len(quotas):
            continue
        name = _class(member, health(member.cluster), paused)
        if left[member.partition].get(name, 0) > 0:
            left[member.partition][name] -= 1
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
        values = {**told(want), "generation": generation, "state": State.WAIT_APPLIED.value, "staged": ""}
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


# What people say


def command(connection: Connection, workspace: Workspace, bundle: BundleName, verb: str, reason: str, now: float) -> None:
    """`pause`, `resume`, `abort` or `approve`. Raises NotFound, RefusedError."""
    r = rollouts.c
    spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
    if spec is None:
        raise NotFound(
            f"bundle {bundle} does not exist in workspace {workspace}", subject=f"bundle {bundle}", next_step="fleetctl get bundles"
        )
    where = (r.workspace == workspace) & (r.bundle == bundle)
    row = connection.execute(sa.select(rollouts).where(where)).one_or_none()
    if row is None:
        if verb != "pause":
            step = "It has no rolloutStrategy, and is handed out at once; `fleetctl rollout pause` holds the next change."
            raise RefusedError(f"bundle {bundle} has no rollout", subject=f"bundle {bundle}", next_step=step)
        _begin(connection, workspace, spec, rfc3339(now))
        row = connection.execute(sa.select(rollouts).where(where)).one()
    connection.execute(sa.update(rollouts).where(where).values(**_said(row, verb, reason), dirty=sa.func.max(r.dirty, AGAIN)))


def _said(row: Any, verb: str, reason: str) -> dict[str, Any]:
    phase = Phase(row.phase)
    subject, steps = f"rollout of {row.bundle}", msgspec.json.decode(row.steps)
    if verb == "pause":
        return {"phase": Phase.PAUSED.value, "reason": reason, "wake": 0.0}
    if verb == "abort":
        return {"phase": Phase.ABORTED.value, "reason": reason or "aborted", "wake": 0.0}
    if verb == "resume":
        if phase not in {Phase.PAUSED, Phase.FAILED, Phase.ABORTED}:
            raise RefusedError(
                f"the rollout of {row.bundle} is {phase.value}, not paused", subject=subject, next_step="Nothing is to be done."
            )
        # What made it fail is forgiven: the clocks of the partitions that are not finished start anew.
        kept = [[opened if finished else 0.0, finished, approved] for opened, finished, approved in steps]
        return {"phase": Phase.PROGRESSING.value, "reason": "", "steps": _json(kept)}
    shape = msgspec.json.decode(row.shape, type=Shape) if row.shape != b"null" else Shape([], {})
    waiting = [at for at, p in enumerate(shape.partitions) if p[4] and not (at < len(steps) and (steps[at][0] or steps[at][2]))]
    if not waiting:
        raise RefusedError(
            f"the rollout of {row.bundle} waits for no approval", subject=subject, next_step="See `fleetctl rollout status`."
        )
    steps += [[0.0, 0.0, False] for _ in range(waiting[0] + 1 - len(steps))]
    steps[waiting[0]][2] = True
    return {"steps": _json(steps)}
