"""Clusters that join while a rollout has stopped get what the fleet had before.

Rule: a rollout that has failed or was aborted tells nobody its version any more, and a cluster that
never had the bundle must not stand empty until a person has time. It is told the last good revision
at once (when its window is open), since that disturbs nobody, and waits with all others for what is
staged. The last good revision is the newest whose rollout was completed; where none ever was, the
one before the present one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Key, Want
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Phase

from ..clock import unix
from ..revisions.last_good import find_last_good
from ..revisions.pins import Order, content_of
from ..store.bulk import many
from ..store.commands.delivery import delivery_columns, want_columns
from ..store.queries import Scope, bundle_specs, in_parts, next_generation
from ..store.schema import decisions, deployments, revisions, rollouts
from . import schedules

_STOPPED = (Phase.FAILED.value, Phase.ABORTED.value)


@dataclass(frozen=True)
class Lack:
    """The clusters that were never told a bundle, and what they get for now."""

    clusters: frozenset[ClusterId]
    order: Order


def lacking(
    connection: Connection, workspace: Workspace, names: Collection[BundleName], now: float
) -> Iterator[Lack]:
    """Of those of the bundles whose rollout has stopped; it is looked at again when a window opens
    for somebody who lacks it.
    """
    r, d = rollouts.c, deployments.c
    for part in in_parts(sorted(names)):
        query = sa.select(r.bundle, r.ignoring).where(
            r.workspace == workspace, r.bundle.in_(part), r.phase.in_(_STOPPED)
        )
        for name, ignoring in connection.execute(query).all():
            here = (
                (d.workspace == workspace)
                & (d.bundle == name)
                & (d.staged != "")
                & (d.generation < 1)
                & ~d.removed
            )
            ids = frozenset(
                ClusterId(i)
                for i in connection.execute(sa.select(d.cluster_id).where(here)).scalars()
            )
            barred = (
                schedules.barred(
                    connection, workspace, now, bundle=BundleName(name), passes=bool(ignoring)
                )
                if ids
                else schedules.Barred()
            )
            times = [barred.why[i].until for i in ids if barred.opens(i)]
            if times:
                where = (r.workspace == workspace) & (r.bundle == name)
                connection.execute(
                    sa.update(rollouts)
                    .where(where)
                    .values(wake=float(min(t for t in times if t is not None)))
                )
            ids = frozenset(i for i in ids if i not in barred)
            order = _order(connection, workspace, BundleName(name)) if ids else None
            if order is not None:
                yield Lack(ids, order)


def _order(connection: Connection, workspace: Workspace, name: BundleName) -> Order | None:
    now = next(iter(bundle_specs(connection, Scope(workspace, bundles=[name]))), None)
    number, r, d = find_last_good(connection, (workspace, name)), revisions.c, decisions.c
    where = (r.workspace == workspace) & (r.bundle == name) & (r.number == number)
    then = connection.execute(sa.select(r.spec).where(where)).scalar()
    if now is None or then is None:
        return None
    told = sa.select(sa.func.max(d.id)).where(
        d.workspace == workspace, d.bundle == name, d.number == number
    )
    content = content_of(msgspec.json.decode(then, type=BundleSpec), now)
    return Order(content, connection.execute(told).scalar() or 0, now=now)


def feed(connection: Connection, made: Mapping[Key, Want], now: str) -> set[ClusterId]:
    """Tell each cluster of `made` its deployment; what is staged for it stays."""
    if not made:
        return set()
    d, generation = deployments.c, next_generation(connection)
    rows = [
        {
            "c": key[0],
            "b": key[1],
            **{f"v_{name}": value for name, value in want_columns(want).items()},
        }
        for key, want in made.items()
    ]
    said: dict[str, object] = {
        name: sa.bindparam(f"v_{name}") for name in want_columns(next(iter(made.values())))
    }
    said |= delivery_columns(int(unix(now))) | {
        "generation": generation,
        "state": State.WAIT_APPLIED.value,
    }
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    many(connection, sa.update(deployments).where(where).values(**said), rows)
    return {key[0] for key in made}
