"""A change of a bundle that reaches very many deployments is written down in parts, each in a
transaction of its own.

Rule: who gets a bundle, and in which configuration, is decided by matching all clusters at once
(manager/reconcile/reconcile.py), because only the whole shows whether too many would lose it. But a
new content for the same clusters changes nothing of that, and a bundle that nobody has yet takes
nothing away: these two go in parts. The first needs no cluster to be looked at: all deployments
with the same target and customization are told the same, in one statement. Until a pass is over its
rollout stands still, and a restart goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Want, key_of
from fleetctl.core.targeting.target import outcomes, picking

from ..clock import rfc3339
from ..reconcile.desired import copied_by, want_of
from ..revisions import pins
from ..store import counts
from ..store.commands.delivery import want_columns
from ..store.keys import BundleKey as Place
from ..store.queries import Scope, bundle_specs, in_parts
from ..store.queries.pins import clusters_with_pins
from ..store.schema import bundles, clusters, deployments, passes, wants
from ..store.schema import options as options_table
from ..store.schema import pins as pins_table
from . import staging
from .admission import MOST

# From so many deployments on a change goes in parts.
MANY = 2000
ROWS, CLUSTERS = "rows", "clusters"
_json = msgspec.json.encode


class Exact(Protocol):
    """`reconcile` of manager/reconcile/reconcile.py, which stands above this module."""

    def __call__(self, connection: Connection, scope: Scope, *, now: str) -> set[ClusterId]: ...


def put_off(connection: Connection, scope: Scope) -> Scope:
    """The scope without the bundles that go in parts, which are written down as such."""
    if scope.bundles is None or scope.clusters is not None:
        return scope
    later = (
        {} if scope.wave else _later(connection, scope.workspace, bundle_specs(connection, scope))
    )
    mine, p = pending(connection, scope.workspace, scope.bundles), passes.c
    for part in in_parts(sorted(mine)):
        connection.execute(
            sa.delete(passes).where(p.workspace == scope.workspace, p.bundle.in_(part))
        )
    if later:
        rows = [
            {"workspace": scope.workspace, "bundle": name, "how": how, "cursor": ""}
            for name, how in later.items()
        ]
        connection.execute(sa.insert(passes), rows)
    return Scope(
        scope.workspace, [name for name in scope.bundles if name not in later], None, scope.wave
    )


def _later(
    connection: Connection, workspace: Workspace, specs: Sequence[BundleSpec]
) -> dict[BundleName, str]:
    """The bundles whose change goes in parts, and in which way. Of all others nothing is asked but
    their number.
    """
    if not _has_clusters(connection, workspace):
        return {}
    totals = counts.totals(connection, workspace, [spec.name for spec in specs])
    found = {spec.name: _how(connection, spec, totals.get(spec.name, 0)) for spec in specs}
    return {name: how for name, how in found.items() if how}


def _how(connection: Connection, spec: BundleSpec, total: int) -> str:
    """Of one that so many clusters have, or ""."""
    d, b = deployments.c, bundles.c
    place = (spec.workspace, spec.name)
    if not total:  # some may be removing it yet
        some = sa.select(d.bundle).where(d.workspace == place[0], d.bundle == place[1]).limit(1)
        return CLUSTERS if connection.execute(some).first() is None else ""
    if total < MANY:
        return ""
    kept = any(sort.partition == staging.KEPT for sort in counts.every(connection, *place))
    if kept or len(clusters_with_pins(connection, place, MOST + 1)) > MOST:
        return ""
    matched = connection.execute(
        sa.select(b.matched).where(b.workspace == place[0], b.name == place[1])
    ).scalar_one()
    order = _order(connection, spec)
    return (
        ROWS
        if matched and matched == _picking(order, spec) and outcomes(order.spec) is not None
        else ""
    )


def _order(connection: Connection, spec: BundleSpec) -> pins.Order:
    """What all clusters are to be told of it, an earlier revision when the bundle is pinned."""
    return pins.orders(connection, spec.workspace, [spec], [])[0]


def _picking(order: pins.Order, now: BundleSpec) -> str:
    """What deployments have been matched by, "" when the revision that is pinned makes other
    differences between clusters than Git does now. Who gets the bundle is always as Git says now,
    so that only the customizations count.
    """
    same = order.now is None or picking(order.spec) == picking(pins.content_of(now, now))
    return picking(now) if same else ""


def _has_clusters(connection: Connection, workspace: Workspace) -> bool:
    some = (
        sa.select(sa.literal(1))
        .select_from(clusters)
        .where(clusters.c.workspace == workspace)
        .limit(MANY)
        .subquery()
    )
    return connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() == MANY


def pending(
    connection: Connection, workspace: Workspace, names: Iterable[BundleName]
) -> set[BundleName]:
    """Those of the bundles of which a pass is under way."""
    p = passes.c
    known = set(connection.execute(sa.select(p.bundle).where(p.workspace == workspace)).scalars())
    return {name for name in names if name in known}


def every(connection: Connection) -> list[Place]:
    p = passes.c
    rows = connection.execute(sa.select(p.workspace, p.bundle).order_by(p.workspace, p.bundle))
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def whole(connection: Connection, workspace: Workspace, specs: Sequence[BundleSpec]) -> None:
    """These bundles have been matched with all clusters."""
    b, now = bundles.c, {spec.name: spec for spec in specs}
    orders = [
        order for order in pins.orders(connection, workspace, specs, []) if order.only is None
    ]
    rows = [{"n": order.spec.name, "m": _picking(order, now[order.spec.name])} for order in orders]
    if rows:
        where = (
            (b.workspace == workspace)
            & (b.name == sa.bindparam("n"))
            & (b.matched != sa.bindparam("m"))
        )
        connection.execute(sa.update(bundles).where(where).values(matched=sa.bindparam("m")), rows)


def go_on(
    connection: Connection, place: Place, now: float, exact: Exact
) -> tuple[set[ClusterId], bool]:
    """One part more: the clusters whose document is another one now, and whether there is more to
    be done.
    """
    p = passes.c
    where = (p.workspace == place[0]) & (p.bundle == place[1])
    row = connection.execute(sa.select(p.how, p.cursor).where(where)).one_or_none()
    spec = next(iter(bundle_specs(connection, Scope(place[0], [place[1]]))), None)
    if row is None or spec is None:
        connection.execute(sa.delete(passes).where(where))
        return set(), False
    step = _rows if row.how == ROWS else _clusters
    touched, cursor = step(connection, spec, row.cursor, rfc3339(now), exact)
    if cursor:
        connection.execute(sa.update(passes).where(where).values(cursor=cursor))
        return touched, True
    connection.execute(sa.delete(passes).where(where))
    whole(connection, place[0], [spec])
    staging.touch(connection, place[0], [place[1]], staging.ANEW)
    return touched, False


def _clusters(
    connection: Connection, spec: BundleSpec, cursor: str, now: str, exact: Exact
) -> tuple[set[ClusterId], str]:
    c = clusters.c
    query = (
        sa.select(c.id)
        .where(c.workspace == spec.workspace, c.id > cursor)
        .order_by(c.id)
        .limit(MOST)
    )
    ids = [ClusterId(i) for i in connection.execute(query).scalars()]
    touched = exact(connection, Scope(spec.workspace, [spec.name], ids), now=now) if ids else set()
    return touched, ids[-1] if len(ids) == MOST else ""


_END = sa.text("""
SELECT rowid FROM deployments INDEXED BY deployments_bundle WHERE workspace = :workspace
    AND bundle = :bundle AND rowid > :after
ORDER BY rowid LIMIT 1 OFFSET :most
""")
_KINDS = sa.text("""
SELECT DISTINCT staged, CASE staged WHEN '' THEN target END AS target,
    CASE staged WHEN '' THEN customization END AS customization
FROM deployments INDEXED BY deployments_bundle
WHERE workspace = :workspace AND bundle = :bundle AND rowid > :after AND rowid <= :end
    AND NOT removed AND NOT kept
AND cluster_id NOT IN (SELECT cluster_id FROM pins WHERE workspace = :workspace
    AND bundle = :bundle)
""")


def _rows(
    connection: Connection, spec: BundleSpec, cursor: str, now: str, exact: Exact
) -> tuple[set[ClusterId], str]:
    """What is staged for a row says more of it than what its cluster was told: that may have been
    under other labels.
    """
    at: dict[str, Any] = {
        "workspace": spec.workspace,
        "bundle": spec.name,
        "after": int(cursor or 0),
    }
    end = connection.execute(_END, at | {"most": MOST - 1}).scalar()
    at["end"] = 2**62 if end is None else end
    made, touched, staged = _made(connection, spec), set[ClusterId](), 0
    own = clusters_with_pins(connection, (spec.workspace, spec.name), MOST) if not cursor else []
    if own:  # the others are told what the bundle as a whole has
        touched |= exact(connection, Scope(spec.workspace, [spec.name], own), now=now)
    for kind in connection.execute(_KINDS, at).all():
        names = (
            _names(connection, kind.staged) if kind.staged else (kind.target, kind.customization)
        )
        want = made.get(names)
        if want is None:  # of a version that nobody knows any more: these are matched again
            mine = (
                connection.execute(sa.select(deployments.c.cluster_id).where(_mine(at, kind)))
                .scalars()
                .all()
            )
            touched |= exact(
                connection,
                Scope(spec.workspace, [spec.name], [ClusterId(i) for i in mine]),
                now=now,
            )
            continue
        told, more = _tell(connection, _mine(at, kind), want)
        touched, staged = touched | told, staged + more
    if staged:
        staging.begin_rollouts(connection, spec.workspace, [_order(connection, spec).spec], now)
    for part in in_parts(sorted(touched)):
        connection.execute(sa.update(clusters).where(clusters.c.id.in_(part)).values(issued=now))
    return touched, "" if end is None else str(end)


def _made(connection: Connection, spec: BundleSpec) -> dict[tuple[str, str], Want]:
    """What there is to be told, by the names of target and customization."""
    texts: dict[str, bytes] = {}
    order = _order(connection, spec)
    copied = copied_by(connection, spec.workspace, [order.spec])
    made = {
        names: want_of(order, names, options, texts, copied)
        for names, options in (outcomes(order.spec) or {}).items()
    }
    for table, rows in (
        (options_table, [{"key": key, "json": text} for key, text in texts.items()]),
        (wants, [{"key": key_of(want), "json": _json(want)} for want in made.values()]),
    ):
        if rows:
            connection.execute(sa.insert(table).prefix_with("OR IGNORE"), rows)
    return made


def left(connection: Connection, spec: BundleSpec) -> int:
    """How many clusters were told something else than they will be when the pass is over; those
    with a pin of their own apart.
    """
    d, p, found = deployments.c, pins_table.c, 0
    own = sa.select(p.cluster_id).where(
        p.workspace == spec.workspace, p.bundle == spec.name, p.number > 0
    )
    mine = (
        (d.workspace == spec.workspace)
        & (d.bundle == spec.name)
        & ~d.removed
        & d.cluster_id.not_in(own)
    )
    for names, want in _made(connection, spec).items():
        other = (
            (d.generation < 1)
            | (d.archive != want.archive)
            | (d.options_digest != want.options_digest)
        )
        here = (d.target == names[0]) & (d.customization == names[1])
        found += connection.execute(
            sa.select(sa.func.count()).where(mine, here, other)
        ).scalar_one()
    return found


def _names(connection: Connection, key: str) -> tuple[str, str]:
    text = connection.execute(sa.select(wants.c.json).where(wants.c.key == key)).scalar()
    want = None if text is None else msgspec.json.decode(text, type=Want)
    return ("", "(nothing is known)") if want is None else (want.target, want.customization)


def _mine(at: dict[str, Any], kind: Any) -> Any:
    d = deployments.c
    p = pins_table.c
    own = sa.select(p.cluster_id).where(p.workspace == at["workspace"], p.bundle == at["bundle"])
    where = (
        (d.workspace == at["workspace"])
        & (d.bundle == at["bundle"])
        & ~d.removed
        & ~d.kept
        & (d.staged == kind.staged)
    )
    where &= d.cluster_id.not_in(own)
    where &= sa.text("rowid > :after AND rowid <= :end").bindparams(
        after=at["after"], end=at["end"]
    )
    return (
        where
        if kind.staged
        else where & (d.target == kind.target) & (d.customization == kind.customization)
    )


def _tell(connection: Connection, mine: Any, want: Want) -> tuple[set[ClusterId], int]:
    """As `decide` of core/plan.py would for each: what is another one is staged; what only looks
    different is told at once. The clusters whose document is another one now, and how many are
    staged.
    """
    d, key, values = deployments.c, key_of(want), want_columns(want)
    other = (
        (d.generation < 1) | (d.archive != want.archive) | (d.options_digest != want.options_digest)
    )
    staged = connection.execute(
        sa.update(deployments).where(mine, other, d.staged != key).values(staged=key)
    ).rowcount
    seen = {
        name: values[name]
        for name in ("options_key", "target", "customization", "shown", "keep_resources")
    }
    differs = sa.or_(d.staged != "", *(d[name] != value for name, value in seen.items()))
    told = sa.or_(d.options_key != want.options_key, d.shown != values["shown"])
    asked = connection.execute(sa.select(d.cluster_id).where(mine, ~other, told)).scalars()
    touched = {ClusterId(i) for i in asked}
    connection.execute(
        sa.update(deployments).where(mine, ~other, differs).values(**seen, staged="")
    )
    return touched, staged
