"""Holding removals back for a person: what reconciling would take away passes here before it is
stored.

Rule: what is held is frozen. The row stays, the cluster is told exactly what it was told before,
its agent goes on reporting, no newer version reaches it; when something picks the cluster again the
hold is gone and nothing has happened. The decision is the core's
(fleetctl/core/rollout/removal_guard.py); this module counts, and remembers in the same transaction,
so that neither a restart nor many small changes lose anything of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import Conflict
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change, Have, Key
from fleetctl.core.rollout.removal_guard import DAY_SECONDS, Limits, Past, Verdict, judge

from ..clock import unix
from ..rollout import staging
from ..store import counts
from ..store.queries import Scope, in_parts
from ..store.schema import clusters, deployments, holds, losses, meta

_MOST_NAMED = 5
_LIMITS = ("removals-least", "removals-percent", "removals-window")


@dataclass
class Removals:
    """What a person says of removals beforehand, and what became of them. `number`: exactly so many
    deployments may go; `sure`: these may. `gone`: what was taken away because nothing picks it any
    more; `held`: what is held now and was not before. `changes`: all differences that the pass
    decided, removals that are held included, from what the clusters `had`.
    """

    number: int | None = None
    sure: Collection[Key] = ()
    gone: set[Key] = field(default_factory=set)
    held: set[Key] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    had: Mapping[Key, Have] = field(default_factory=dict)


@dataclass(frozen=True)
class Picked:
    """What a pass is about: the keys that are wanted, the bundles and the clusters that there
    are.
    """

    wanted: Collection[Key]
    bundles: Collection[BundleName]
    clusters: Collection[ClusterId]


def let_through(
    connection: Connection,
    scope: Scope,
    picked: Picked,
    have: Mapping[Key, Have],
    changes: list[Change],
    now: str,
    said: Removals | None,
) -> list[Change]:
    """`changes` without the removals that are held, which are written down. Raises Conflict when a
    person has named another number.
    """
    said = said or Removals()
    said.changes, said.had = changes, have
    was = _held(connection, scope)
    lost = {
        c.key
        for c in changes
        if c.want is None
        and c.key[1] in picked.bundles
        and c.key[0] in picked.clusters
        and have[c.key].generation
    }
    if not was and not lost:
        return changes
    back = {key for key in was if key in picked.wanted or key not in lost}
    fresh = lost - was - set(said.sure)
    if said.number is not None and said.number != len(fresh):
        summary = f"{len(fresh)} deployments would be removed, not {said.number}"
        raise Conflict(
            summary,
            subject=f"workspace {scope.workspace}",
            next_step="Look again with --dry-run, and name the number that it says.",
        )
    verdict = (
        Verdict(fresh, {})
        if said.number is not None
        else _judged(connection, scope, picked, fresh, now)
    )
    kept = (was & lost) - set(said.sure) | verdict.held.keys()
    said.gone |= lost - kept
    said.held |= verdict.held.keys()
    if said.number is None:
        _count(connection, scope.workspace, verdict.go, now)
    _mark(connection, scope.workspace, verdict.held.keys(), held=True)
    _mark(connection, scope.workspace, back | (set(said.sure) & was), held=False)
    _write_down(
        connection, scope, verdict, {bundle for _, bundle in was | verdict.held.keys()}, now
    )
    return [change for change in changes if change.key not in kept]


def foreseen(
    connection: Connection, scope: Scope, picked: Picked, lost: Collection[Key], now: str
) -> tuple[Verdict, set[Key]]:
    """What `let_through` would make of `lost`, and what of it is held already. Reads only: a plan
    asks this.
    """
    was = _held(connection, scope) & set(lost)
    return _judged(connection, scope, picked, set(lost) - was, now), was


def _held(connection: Connection, scope: Scope) -> set[Key]:
    """What is held in the scope; there is an index of nothing else, so that this costs nothing as
    long as nothing is.
    """
    d = deployments.c
    query = sa.select(d.cluster_id, d.bundle).where(d.workspace == scope.workspace)
    if scope.bundles is not None:
        parts = [
            query.where(sa.text("kept"), d.bundle.in_(part))
            for part in in_parts(sorted(scope.bundles))
        ]
    elif scope.clusters is not None:
        parts = [
            query.where(d.kept, d.cluster_id.in_(part)) for part in in_parts(sorted(scope.clusters))
        ]
    else:
        parts = [query.where(sa.text("kept"))]
    return {
        (ClusterId(row[0]), BundleName(row[1]))
        for part in parts
        for row in connection.execute(part)
    }


def _judged(
    connection: Connection, scope: Scope, picked: Picked, fresh: Collection[Key], now: str
) -> Verdict:
    if not fresh:
        return Verdict(set(), {})
    limits = limits_of(connection)
    by_bundle: dict[BundleName, list[ClusterId]] = {}
    for cluster, bundle in sorted(fresh):
        by_bundle.setdefault(bundle, []).append(cluster)
    past = {bundle: _past(connection, scope.workspace, bundle, limits, now) for bundle in by_bundle}
    return judge(
        by_bundle,
        past,
        _emptied(connection, scope, picked, {cluster for cluster, _ in fresh}),
        limits,
    )


def _past(
    connection: Connection, workspace: Workspace, bundle: BundleName, limits: Limits, now: str
) -> Past:
    d, n = deployments.c, losses.c
    mine = (d.workspace == workspace) & (d.bundle == bundle)
    held = connection.execute(
        sa.select(sa.func.count()).select_from(deployments).where(mine, sa.text("kept"))
    ).scalar_one()
    since = int(unix(now))
    recent = {
        seconds: connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(n.count), 0)).where(
                n.workspace == workspace, n.bundle == bundle, n.minute > (since - seconds) // 60 - 1
            )
        ).scalar_one()
        for seconds in (limits.window, DAY_SECONDS)
    }
    return Past(
        of=_told(connection, workspace, bundle),
        held=held,
        window=recent[limits.window],
        day=recent[DAY_SECONDS],
    )


def _told(connection: Connection, workspace: str, bundle: str) -> int:
    """How many clusters have the bundle. Read from what the store counts: one label of one cluster
    must not cost a look at a million.
    """
    return sum(n for sort, n in counts.every(connection, workspace, bundle).items() if sort.told)


def _emptied(
    connection: Connection, scope: Scope, picked: Picked, losing: set[ClusterId]
) -> set[ClusterId]:
    """Of the clusters, those that would have nothing any more: neither what is wanted now nor
    anything outside the scope.
    """
    left = losing - {cluster for cluster, _ in picked.wanted}
    if scope.bundles is None or not left:
        return left
    d = deployments.c
    inside = set(scope.bundles)
    for part in in_parts(sorted(left)):
        rows = connection.execute(
            sa.select(d.cluster_id, d.bundle).where(d.cluster_id.in_(part), ~d.removed, ~d.kept)
        ).all()
        left -= {ClusterId(row.cluster_id) for row in rows if row.bundle not in inside}
    return left


def _count(connection: Connection, workspace: Workspace, gone: Iterable[Key], now: str) -> None:
    """Remember for a day that so many have lost it."""
    from sqlalchemy.dialects.sqlite import insert

    amounts: dict[BundleName, int] = {}
    for _, bundle in gone:
        amounts[bundle] = amounts.get(bundle, 0) + 1
    minute = int(unix(now)) // 60
    for bundle, amount in amounts.items():
        adding = insert(losses).values(
            workspace=workspace, bundle=bundle, minute=minute, count=amount
        )
        more = {"count": losses.c.count + adding.excluded.count}
        connection.execute(
            adding.on_conflict_do_update(
                index_elements=["workspace", "bundle", "minute"], set_=more
            )
        )
        old = losses.c.minute < minute - DAY_SECONDS // 60 - 1
        connection.execute(
            sa.delete(losses).where(losses.c.workspace == workspace, losses.c.bundle == bundle, old)
        )


def _mark(
    connection: Connection, workspace: Workspace, keys: Collection[Key], *, held: bool
) -> None:
    """What is held takes no part in a rollout: it stands in no partition, and what was staged for
    it is not.
    """
    if not keys:
        return
    d = deployments.c
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    values = (
        {"kept": True, "staged": "", "partition": staging.KEPT}
        if held
        else {"kept": False, "partition": staging.NOWHERE}
    )
    connection.execute(
        sa.update(deployments).where(where).values(**values),
        [{"c": c, "b": b} for c, b in sorted(keys)],
    )
    staging.touch(connection, workspace, {bundle for _, bundle in keys}, staging.ANEW)


def _write_down(
    connection: Connection,
    scope: Scope,
    verdict: Verdict,
    bundles: Collection[BundleName],
    now: str,
) -> None:
    """One row for each bundle of which something is held, since when first."""
    from sqlalchemy.dialects.sqlite import insert

    what = (
        "labels"
        if scope.clusters is not None
        else "targets"
        if scope.bundles is not None
        else "groups"
    )
    for bundle, cause in verdict.causes.items():
        adding = insert(holds).values(
            workspace=scope.workspace, bundle=bundle, cause=cause.value, what=what, since=now
        )
        again = {"cause": adding.excluded.cause, "what": adding.excluded.what}
        connection.execute(
            adding.on_conflict_do_update(index_elements=["workspace", "bundle"], set_=again)
        )
    d = deployments.c
    for part in in_parts(sorted(bundles)):
        still = sa.select(d.bundle).where(
            d.workspace == scope.workspace, d.bundle.in_(part), sa.text("kept")
        )
        gone = (
            (holds.c.workspace == scope.workspace)
            & holds.c.bundle.in_(part)
            & holds.c.bundle.not_in(still)
        )
        connection.execute(sa.delete(holds).where(gone))


def keys_of(connection: Connection, workspace: Workspace, bundle: BundleName) -> list[ClusterId]:
    """The clusters on which the bundle is held, sorted."""
    d = deployments.c
    query = sa.select(d.cluster_id).where(
        d.workspace == workspace, d.bundle == bundle, sa.text("kept")
    )
    return [ClusterId(i) for i in connection.execute(query.order_by(d.cluster_id)).scalars()]


def digest_of(held: Iterable[ClusterId]) -> str:
    """What tells one set of clusters from another of the same number."""
    return hashlib.sha256("\n".join(held).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Hold:
    """Removals of one bundle that wait: `count` of the `of` clusters that have it. `clusters`: a
    few names.
    """

    workspace: str
    bundle: str
    repo: str
    cause: str
    what: str
    since: str
    count: int
    of: int
    clusters: tuple[str, ...]
    digest: str

    @property
    def words(self) -> str:
        """For people, one line."""
        named = ", ".join(self.clusters) + (
            f" and {self.count - len(self.clusters)} more"
            if self.count > len(self.clusters)
            else ""
        )
        why = {
            "labels": "labels of clusters changed",
            "targets": "its targets changed",
            "groups": "a cluster group changed",
        }[self.what]
        last = ", and nothing would be left there" if self.cause == "last" else ""
        return f"would be removed from {self.count} of {self.of} clusters ({named}): {why}{last}"


def current(
    connection: Connection, workspace: str | None = None, *, digests: bool = False
) -> list[Hold]:
    """What is held, by workspace and bundle. Counted now, never remembered. `digests`: told too,
    which reads every name of a cluster.
    """
    h, d, c = holds.c, deployments.c, clusters.c
    amount = sa.func.count()
    query = sa.select(holds).order_by(h.workspace, h.bundle)
    found = []
    for row in connection.execute(
        query.where(h.workspace == workspace) if workspace else query
    ).all():
        mine = (d.workspace == row.workspace) & (d.bundle == row.bundle)
        count = connection.execute(
            sa.select(amount).select_from(deployments).where(mine, sa.text("kept"))
        ).scalar_one()
        if not count:
            continue  # its clusters were deleted
        of = _told(connection, row.workspace, row.bundle)
        named = (
            sa.select(c.name)
            .join(deployments, d.cluster_id == c.id)
            .where(mine, d.kept)
            .order_by(c.name)
            .limit(_MOST_NAMED)
        )
        repo = connection.execute(sa.select(d.repo).where(mine).limit(1)).scalar() or ""
        head: dict[str, Any] = {"workspace": row.workspace, "bundle": row.bundle, "repo": repo}
        said = {"cause": row.cause, "what": row.what, "since": row.since}
        digest = digest_of(keys_of(connection, row.workspace, row.bundle)) if digests else ""
        names = tuple(connection.execute(named).scalars())
        found.append(Hold(**head, **said, count=count, of=of, clusters=names, digest=digest))
    return found


def limits_of(connection: Connection) -> Limits:
    rows = connection.execute(sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(_LIMITS)))
    stored = {row.key.removeprefix("removals-"): row.value for row in rows}
    return Limits(**stored)


def set_limits(connection: Connection, limits: Limits) -> None:
    """As the manager was started; kept in the database, where every decision finds them."""
    values = dict(zip(_LIMITS, (limits.least, limits.percent, limits.window), strict=True))
    connection.execute(
        sa.insert(meta).prefix_with("OR REPLACE"),
        [{"key": key, "value": value} for key, value in values.items()],
    )
