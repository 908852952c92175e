"""What was decided of a bundle, by whom and why: commits that were taken, rollbacks, releases, and
what people said to its rollout.

Rule: a few rows for each bundle, however many clusters follow them; each cluster's row names the
one by which it was told. `id` comes from the counter of generations, so that a later decision has
the higher number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.plan import Want

from ..store.queries import in_parts, next_generation
from ..store.schema import bundles, decisions, deployments, pins, revisions, wants
from . import delivery_log

COMMIT, ROLLBACK, RELEASE = "commit", "rollback", "release"
_SHOWN = 30
# So many are kept whether they are named or not; the others are looked through when there are so
# many of a bundle.
_KEPT, _MOST = 100, 200
Place = tuple[Workspace, BundleName]


def note(connection: Connection, place: Place, cause: str, number: int, **said: str) -> int:
    """Write down a decision for revision `number`; `said`: who, reason, at. Its id."""
    r = revisions.c
    query = sa.select(r.commit, r.author, r.subject).where(
        r.workspace == place[0], r.bundle == place[1], r.number == number
    )
    row = connection.execute(query).one_or_none()
    about = (
        {"commit": row.commit, "author": row.author, "subject": row.subject}
        if row
        else {"commit": "", "author": "", "subject": ""}
    )
    found = next_generation(connection)
    head = {
        "workspace": place[0],
        "bundle": place[1],
        "id": found,
        "cause": cause,
        "number": number,
    }
    connection.execute(sa.insert(decisions), {**head, **about, "who": "", "reason": "", **said})
    return found


def said(
    connection: Connection, place: Place, verb: str, *, who: str, reason: str, at: str
) -> None:
    """What a person said to the rollout of the revision that clusters should have now."""
    b, r = bundles.c, revisions.c
    pinned = sa.select(b.pinned).where(b.workspace == place[0], b.name == place[1])
    newest = sa.select(sa.func.max(r.number)).where(r.workspace == place[0], r.bundle == place[1])
    number = connection.execute(pinned).scalar() or connection.execute(newest).scalar() or 0
    note(connection, place, verb, number, who=who, reason=reason, at=at)


def taken(
    connection: Connection, workspace: Workspace, rows: list[dict[str, Any]], now: str
) -> None:
    """Clusters of these bundles follow the commit that they were made of. `rows`: bundle, number,
    commit, author, subject.
    """
    if not rows:
        return
    number = next_generation(connection)
    head = {
        "workspace": workspace,
        "id": number,
        "cause": COMMIT,
        "who": "",
        "reason": "",
        "at": now,
    }
    connection.execute(sa.insert(decisions), [head | row for row in rows])
    follow(connection, workspace, [row["bundle"] for row in rows], number)


def follow(
    connection: Connection, workspace: Workspace, names: Iterable[str], decision: int
) -> None:
    """All clusters of the bundles follow `decision`, but for those that have a pin of their own."""
    b, p = bundles.c, pins.c
    for part in in_parts(sorted(names)):
        connection.execute(
            sa.update(bundles)
            .where(b.workspace == workspace, b.name.in_(part))
            .values(decision=decision)
        )
        connection.execute(
            sa.delete(pins).where(p.workspace == workspace, p.bundle.in_(part), p.number == 0)
        )


def listing(connection: Connection, place: Place) -> list[dict[str, Any]]:
    """The last of them, newest first."""
    d = decisions.c
    query = (
        sa.select(decisions)
        .where(d.workspace == place[0], d.bundle == place[1])
        .order_by(d.id.desc())
        .limit(_SHOWN)
    )
    names = ("cause", "number", "commit", "author", "subject", "who", "reason", "at")
    return [{name: getattr(row, name) for name in names} for row in connection.execute(query)]


def unnamed(connection: Connection) -> list[tuple[str, str, int]]:
    """Decisions that no deployment was told by, of bundles that have many. Reads only, and may take
    seconds: a reader's work, not the writer's. What is not named here cannot be named any more:
    only the last ones are followed.
    """
    d = decisions.c
    crowded = (
        sa.select(d.workspace, d.bundle)
        .group_by(d.workspace, d.bundle)
        .having(sa.func.count() >= _MOST)
    )
    return [
        gone for place in connection.execute(crowded).all() for gone in _unnamed(connection, *place)
    ]


def _unnamed(connection: Connection, workspace: str, bundle: str) -> list[tuple[str, str, int]]:
    d, p, t = decisions.c, pins.c, deployments.c
    mine = (d.workspace == workspace) & (d.bundle == bundle)
    old = (
        connection.execute(sa.select(d.id).where(mine).order_by(d.id.desc()).offset(_KEPT))
        .scalars()
        .all()
    )
    named = set(
        connection.execute(
            sa.select(p.decision).where(p.workspace == workspace, p.bundle == bundle)
        ).scalars()
    )
    followed = sa.select(bundles.c.decision).where(
        bundles.c.workspace == workspace, bundles.c.name == bundle
    )
    named |= set(connection.execute(followed).scalars())
    named |= {
        msgspec.json.decode(text, type=Want).decision
        for text in connection.execute(sa.select(wants.c.json)).scalars()
    }
    rows = connection.execute(
        sa.select(t.decision, t.past).where(t.workspace == workspace, t.bundle == bundle)
    )
    for decision, text in rows:
        named.add(decision)
        named.update(line.decision for line in delivery_log.lines(text))
    return [(workspace, bundle, one) for one in old if one not in named]


def sweep(connection: Connection, gone: Sequence[tuple[str, str, int]]) -> None:
    """Delete what `unnamed` found."""
    d = decisions.c
    for part in in_parts(gone):
        connection.execute(
            sa.delete(decisions).where(sa.tuple_(d.workspace, d.bundle, d.id).in_(part))
        )


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    d = decisions.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(decisions).where(d.workspace == workspace, d.bundle.in_(part)))
