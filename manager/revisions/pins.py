"""Which revision of a bundle each cluster should have.

Rule: a cluster's own pin comes before the bundle's, and that before the newest from Git. A pin
changes what clusters get, never who gets it: targets, pauses and the rollout are as Git says now,
and an earlier revision's `doNotDeploy` takes the bundle from nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.targeting.target import Match, select

from ..store.queries import in_parts
from ..store.schema import bundles, pins, revisions
from .audit_log import Place

_FEW = 500
Revisions = dict[tuple[str, int], BundleSpec]


@dataclass(frozen=True)
class Order:
    """What clusters are to be told of a bundle: all, or `only` some. `now` says who gets it when
    `spec` is an earlier revision.
    """

    spec: BundleSpec
    decision: int = 0
    only: frozenset[ClusterId] | None = None
    now: BundleSpec | None = None

    def matches(self, fleet: Sequence[Cluster], known: Sequence[Group]) -> list[Match]:
        some = (
            fleet
            if self.only is None
            else [cluster for cluster in fleet if cluster.id in self.only]
        )
        found = select(self.spec, some, known)
        if self.now is None:
            return found
        mine = {match.cluster.id for match in select(self.now, some, known)}
        return [match for match in found if match.cluster.id in mine]


def orders(
    connection: Connection,
    workspace: Workspace,
    stored: Sequence[BundleSpec],
    fleet: Sequence[Cluster],
) -> list[Order]:
    """One for each bundle, then those of single clusters of `fleet`: the later one counts. Reads
    only.
    """
    names = [spec.name for spec in stored]
    heads = _heads(connection, workspace, names)
    own = _own(connection, workspace, names, fleet)
    wanted = {(name, head[0]) for name, head in heads.items()} | {
        (name, number) for name, number, _ in own
    }
    known = _revisions(connection, workspace, {(name, number) for name, number in wanted if number})
    now = {spec.name: spec for spec in stored}
    whole = [_order(now[name], *heads.get(name, (0, 0)), known) for name in names]
    of = {order.spec.name: order for order in whole}
    for (name, number, decision), some in own.items():
        order = _order(now[name], number, decision, known) if number else of[name]
        whole.append(Order(order.spec, decision, frozenset(some), order.now))
    return whole


def _order(now: BundleSpec, number: int, decision: int, known: Revisions) -> Order:
    """A revision that is not known any more (it never should be) counts as none."""
    then = known.get((now.name, number))
    return Order(now, decision) if then is None else Order(content_of(then, now), decision, now=now)


def content_of(then: BundleSpec, now: BundleSpec) -> BundleSpec:
    """The content and options of a revision, for whom the bundle is for now."""
    kept = {
        key: getattr(now, key)
        for key in ("targets", "overrides_targets", "paused", "rollout_strategy", "repo")
    }
    customizations = [
        msgspec.structs.replace(one, do_not_deploy=False) for one in then.customizations
    ]
    return msgspec.structs.replace(then, **kept, customizations=customizations)


def _heads(
    connection: Connection, workspace: Workspace, names: Sequence[BundleName]
) -> dict[str, tuple[int, int]]:
    """By bundle, the number that is pinned (0 none) and the decision that its clusters follow."""
    b = bundles.c
    query = sa.select(b.name, b.pinned, b.decision).where(b.workspace == workspace)
    return {
        row.name: (row.pinned, row.decision)
        for part in in_parts(names)
        for row in connection.execute(query.where(b.name.in_(part)))
    }


def _own(
    connection: Connection,
    workspace: Workspace,
    names: Sequence[BundleName],
    fleet: Sequence[Cluster],
) -> dict[tuple[BundleName, int, int], set[ClusterId]]:
    """The clusters with a pin of their own, or just released from one, by bundle, number and
    decision.
    """
    p, found = pins.c, dict[tuple[BundleName, int, int], set[ClusterId]]()
    query = sa.select(p.bundle, p.cluster_id, p.number, p.decision).where(p.workspace == workspace)
    if len(fleet) <= _FEW:
        queries = [query.where(p.cluster_id.in_([cluster.id for cluster in fleet]))]
    else:
        queries = [query.where(p.bundle.in_(part)) for part in in_parts(names)]
    asked = set(names)
    for one in queries:
        for row in connection.execute(one):
            if row.bundle in asked:
                found.setdefault((BundleName(row.bundle), row.number, row.decision), set()).add(
                    ClusterId(row.cluster_id)
                )
    return found


def _revisions(
    connection: Connection, workspace: Workspace, wanted: Collection[tuple[str, int]]
) -> Revisions:
    r, found = revisions.c, Revisions()
    query = sa.select(r.bundle, r.number, r.spec).where(r.workspace == workspace)
    for part in in_parts(sorted(wanted)):
        rows = connection.execute(query.where(sa.tuple_(r.bundle, r.number).in_(part)))
        found |= {
            (row.bundle, row.number): msgspec.json.decode(row.spec, type=BundleSpec) for row in rows
        }
    return found


def holders(connection: Connection, place: Place) -> dict[ClusterId, int]:
    """The clusters with a pin of their own, and the number of each."""
    p = pins.c
    query = sa.select(p.cluster_id, p.number).where(
        p.workspace == place[0], p.bundle == place[1], p.number > 0
    )
    return {ClusterId(row.cluster_id): row.number for row in connection.execute(query)}


def own(connection: Connection, place: Place, most: int) -> list[ClusterId]:
    """The clusters that have, or have just had, a pin of their own, `most` of them."""
    query = (
        sa.select(pins.c.cluster_id)
        .where(pins.c.workspace == place[0], pins.c.bundle == place[1])
        .limit(most)
    )
    return [ClusterId(i) for i in connection.execute(query).scalars()]


def counted_pins(connection: Connection, place: Place) -> list[dict[str, int]]:
    """How many clusters have a pin of their own, by number."""
    p = pins.c
    query = sa.select(p.number, sa.func.count().label("n")).where(
        p.workspace == place[0], p.bundle == place[1], p.number > 0
    )
    return [
        {"number": row.number, "clusters": row.n}
        for row in connection.execute(query.group_by(p.number).order_by(p.number))
    ]


def pin(
    connection: Connection, place: Place, ids: Iterable[ClusterId], number: int, decision: int
) -> None:
    """Clusters have revision `number` from now on, or (0) what the bundle has."""
    head = {"workspace": place[0], "bundle": place[1], "number": number, "decision": decision}
    rows = [head | {"cluster_id": cluster} for cluster in ids]
    if rows:
        connection.execute(sa.insert(pins).prefix_with("OR REPLACE"), rows)


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    """Bundles that are no more are pinned nowhere."""
    p = pins.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(pins).where(p.workspace == workspace, p.bundle.in_(part)))


def forget_cluster(connection: Connection, cluster: ClusterId) -> None:
    connection.execute(sa.delete(pins).where(pins.c.cluster_id == cluster))
