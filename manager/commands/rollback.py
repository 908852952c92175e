"""Going back to an earlier revision, on a whole bundle or on some clusters, and following Git
again: what people may ask for.

Rule: all of it or nothing. Who is meant must exist, must get the bundle, and must have been told it
once; without a number it is the revision before the one that those clusters should have now (while
a rollout is under way, the last good one), and when that is not the same for all of them a person
has to say which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import NotFound, RefusedError, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName
from fleetctl.core.model.plan import Want
from fleetctl.core.rollout.strategy import partitions_of

from ..reconcile.reconcile import reconcile
from ..revisions import audit_log, history, pins
from ..revisions.audit_log import Place
from ..rollout import batches, staging
from ..rollout.partitions import safe_strategy
from ..store.queries import (
    Scope,
    bundle_specs,
    cluster_of,
    groups,
    in_parts,
    last_generation,
    shown_labels,
)
from ..store.schema import clusters, deployments, wants

_SHOWN = 20


@dataclass(frozen=True)
class Chosen:
    """Clusters by name, by label, or of a partition of the bundle's rollout; nothing said is the
    whole bundle.
    """

    names: tuple[str, ...] = ()
    selector: str = ""
    partition: str = ""

    def __bool__(self) -> bool:
        return bool(self.names or self.selector or self.partition)


@dataclass(frozen=True)
class Ask:
    """`number` 0: the revision before the present one. `release`: follow Git again instead; with
    `everyone` also where clusters have pins of their own. `who` is the name of the person's token.
    """

    number: int = 0
    reason: str = ""
    who: str = ""
    chosen: Chosen = Chosen()
    release: bool = False
    everyone: bool = False


@dataclass(frozen=True)
class Outcome:
    """`clusters` are meant; of them `told` something new at once and `waiting` for their rollout,
    the others have it already.
    """

    number: int
    clusters: int
    told: int
    waiting: int
    names: list[str]
    own: list[dict[str, int]]  # clusters whose own pin stays, by its number
    resumed: bool  # a pause has ended
    touched: set[ClusterId] = field(default_factory=set)


@dataclass(frozen=True)
class Member:
    """A cluster that should have the bundle. `told`: it has been told once. `number`: its own
    pin.
    """

    id: ClusterId
    name: ClusterName
    told: bool
    number: int


def go(connection: Connection, place: Place, ask: Ask, now: str) -> Outcome:
    """Pin or release, and reconcile what follows. Raises NotFound, RefusedError, UsageError."""
    row, known = history.revisions_of(connection, place)
    before = last_generation(connection)
    some = members(connection, place, ask.chosen) if ask.chosen else []
    if ask.release:
        return _release(connection, place, ask, some, before, now)
    if not some:
        number = history.pin(connection, place, ask.number, ask.reason, who=ask.who, now=now)
        return _whole(
            connection, place, number, before, now, resumed=staging.resume(connection, *place)
        )
    _check_told(place[1], some)
    newest = row.pinned or max(known, default=0)
    present = ask.number or _present(place[1], some, newest)
    number = ask.number or (
        0 if any(member.number for member in some) else history.last_good(connection, place)
    )
    number = history.meant(place[1], known, number, present)
    decision = audit_log.note(
        connection, place, audit_log.ROLLBACK, number, who=ask.who, reason=ask.reason, at=now
    )
    pins.pin(connection, place, (member.id for member in some), number, decision)
    return _some(connection, place, some, number, before, now)


def _release(
    connection: Connection, place: Place, ask: Ask, some: list[Member], before: int, now: str
) -> Outcome:
    row, known = history.revisions_of(connection, place)
    number = row.pinned or max(known, default=0)
    said = {"who": ask.who, "reason": ask.reason, "at": now}
    if ask.chosen:
        pinned = [member for member in some if member.number]
        if not pinned:
            step = f"See `fleetctl bundle history {place[1]}`, or release the whole bundle."
            who = (
                f"cluster {some[0].name} has no pin"
                if len(some) == 1
                else f"none of {_many(len(some))} has a pin"
            )
            raise RefusedError(f"{who} of its own", subject=f"bundle {place[1]}", next_step=step)
        decision = audit_log.note(connection, place, audit_log.RELEASE, number, **said)
        pins.pin(connection, place, (member.id for member in pinned), 0, decision)
        return _some(connection, place, pinned, 0, before, now)
    own = pins.holders(connection, place) if ask.everyone else {}
    if row.pinned or not own:
        history.release(connection, place, who=ask.who, now=now)
    if own:
        pins.pin(
            connection,
            place,
            own,
            0,
            audit_log.note(connection, place, audit_log.RELEASE, max(known, default=0), **said),
        )
    return _whole(connection, place, 0, before, now, resumed=False)


def members(connection: Connection, place: Place, chosen: Chosen) -> list[Member]:
    """Who is meant, by name. Raises NotFound, RefusedError, UsageError; never nobody."""
    if sum(map(bool, (chosen.names, chosen.selector, chosen.partition))) > 1:
        step = "Give one of --cluster, -l and --partition."
        raise UsageError(
            "clusters are chosen in two ways at once", subject=f"bundle {place[1]}", next_step=step
        )
    rows = _rows(connection, place, chosen.names)
    if chosen.names:
        found = [_named(connection, place, rows, name) for name in dict.fromkeys(chosen.names)]
    elif chosen.selector:
        selector = parse_selector(chosen.selector)
        found = [
            row
            for row in rows.values()
            if matches(selector, shown_labels(row.name, msgspec.json.decode(row.labels)))
        ]
    else:
        mine = set(_partition(connection, place, rows, chosen.partition))
        found = [row for row in rows.values() if row.id in mine]
    if not found:
        what = f"selector {chosen.selector}" if chosen.selector else f"partition {chosen.partition}"
        summary = f"{what} picks none of the {_many(len(rows))} that bundle {place[1]} is on"
        raise NotFound(
            summary,
            subject=f"bundle {place[1]}",
            next_step="See `fleetctl cluster list` for names and labels.",
        )
    own = pins.holders(connection, place)
    return [Member(row.id, row.name, row.generation > 0, own.get(row.id, 0)) for row in found]


def _rows(connection: Connection, place: Place, names: Sequence[str]) -> dict[str, Any]:
    """The clusters that should have the bundle, by name and in its order: those of `names`, or
    all.
    """
    c, d = clusters.c, deployments.c
    query = sa.select(c.id, c.name, c.labels, c.annotations, c.spec, d.generation).join(
        deployments, d.cluster_id == c.id
    )
    where = (d.workspace == place[0]) & (d.bundle == place[1]) & ~d.removed
    query = query.where(where).order_by(c.name)
    few = [query.where(c.workspace == place[0], c.name.in_(part)) for part in in_parts(names)] or [
        query
    ]
    return {row.name: row for one in few for row in connection.execute(one)}


def _named(connection: Connection, place: Place, rows: dict[str, Any], name: str) -> Any:
    if name in rows:
        return rows[name]
    c = clusters.c
    there = connection.execute(
        sa.select(c.id).where(c.workspace == place[0], c.name == name)
    ).first()
    shown = name[:80]
    if there is None:
        step = f"See `fleetctl cluster list -n {place[0]}`."
        raise NotFound(
            f"Cluster {shown} does not exist in workspace {place[0]}",
            subject=f"Cluster {place[0]}/{shown}",
            next_step=step,
        )
    step = f"See `fleetctl bundle status {place[1]}` for those that get it."
    raise RefusedError(
        f"cluster {shown} does not get bundle {place[1]}",
        subject=f"bundle {place[1]} on {shown}",
        next_step=step,
    )


def _partition(
    connection: Connection, place: Place, rows: dict[str, Any], name: str
) -> Iterable[ClusterId]:
    """Its clusters, of those that should have the bundle, as the rollout would make it now."""
    [spec] = bundle_specs(connection, Scope(place[0], bundles=[place[1]]))
    fleet = [cluster_of(row, place[0]) for row in rows.values()]
    made = partitions_of(safe_strategy(spec), place[1], fleet, groups(connection, place[0]))
    found = next((partition for partition in made if partition.name == name), None)
    if found is None:
        known = (
            ", ".join(repr(partition.name) for partition in made[:_SHOWN])
            or "none: no cluster gets it"
        )
        step = f"Its partitions are {known}."
        raise NotFound(
            f"bundle {place[1]} has no partition {name[:80]!r}",
            subject=f"rollout of {place[1]}",
            next_step=step,
        )
    return found.members


def _check_told(bundle: BundleName, some: list[Member]) -> None:
    if any(member.told for member in some):
        return
    who = f"cluster {some[0].name} was" if len(some) == 1 else f"{_many(len(some))} were"
    step = f"`fleetctl rollout status {bundle}` says what is waited for."
    raise RefusedError(
        f"{who} never told bundle {bundle}: there is nothing to go back from",
        subject=f"bundle {bundle}",
        next_step=step,
    )


def _present(bundle: BundleName, some: list[Member], newest: int) -> int:
    """The one revision that all of them should have now."""
    counts = Counter(member.number or newest for member in some)
    if len(counts) > 1:
        numbers = ", ".join(
            f"revision {number} on {_many(counts[number])}"
            for number in sorted(counts, reverse=True)
        )
        step = "Say which one they should have with --to REV."
        raise RefusedError(
            f"they should not all have the same now: {numbers}",
            subject=f"bundle {bundle}",
            next_step=step,
        )
    return next(iter(counts))


def _some(
    connection: Connection, place: Place, some: list[Member], number: int, before: int, now: str
) -> Outcome:
    ids = [member.id for member in some]
    touched = reconcile(connection, Scope(place[0], bundles=[place[1]], clusters=ids), now=now)
    told = waiting = 0
    for part in in_parts(ids):
        counts = _counted(connection, place, before, deployments.c.cluster_id.in_(part))
        told, waiting = told + counts[1], waiting + counts[2]
    names = [str(member.name) for member in some[:_SHOWN]]
    return Outcome(number, len(some), told, waiting, names, [], resumed=False, touched=touched)


def _whole(
    connection: Connection, place: Place, number: int, before: int, now: str, *, resumed: bool
) -> Outcome:
    """Everywhere. The rollout begins anew also when nobody has to be told anything."""
    touched = reconcile(connection, Scope(place[0], bundles=[place[1]]), now=now)
    if staging.touch(connection, place[0], [place[1]]):
        [order] = pins.orders(
            connection, place[0], bundle_specs(connection, Scope(place[0], bundles=[place[1]])), []
        )
        staging.begin(connection, place[0], order.spec, now)
    own = pins.counted_pins(connection, place)
    amount, told, waiting = _counted(connection, place, before, sa.true())
    if batches.pending(connection, place[0], [place[1]]):
        told, waiting = (
            0,
            batches.left(
                connection, bundle_specs(connection, Scope(place[0], bundles=[place[1]]))[0]
            ),
        )
    return Outcome(
        number,
        amount - sum(one["clusters"] for one in own),
        told,
        waiting,
        [],
        own,
        resumed,
        touched,
    )


def _counted(connection: Connection, place: Place, before: int, where: Any) -> tuple[int, int, int]:
    """Of the bundle's clusters: how many, how many were told something since `before`, and how many
    wait for what was decided since.
    """
    d = deployments.c
    mine = (d.workspace == place[0]) & (d.bundle == place[1]) & ~d.removed & where
    staged = (
        connection.execute(sa.select(d.staged).where(mine, d.staged != "").distinct())
        .scalars()
        .all()
    )
    query = sa.select(wants.c.key, wants.c.json)
    texts = [
        row
        for part in in_parts(staged)
        for row in connection.execute(query.where(wants.c.key.in_(part)))
    ]
    since = [row.key for row in texts if msgspec.json.decode(row.json, type=Want).decision > before]
    total = sa.func.total
    row = connection.execute(
        sa.select(sa.func.count(), total(d.generation > before), total(d.staged.in_(since))).where(
            mine
        )
    ).one()
    return int(row[0]), int(row[1]), int(row[2])


def _many(amount: int) -> str:
    return f"{amount} cluster" + ("" if amount == 1 else "s")
