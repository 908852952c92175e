"""What was decided of a bundle, by whom and why: commits that were taken, rollbacks, releases, and what people said to its rollout.

Rule: a few rows for each bundle, however many clusters follow them; each cluster's row names the one by which it was told. `id` comes from
the counter of generations, so that a later decision has the higher number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.ids import BundleName, Workspace
from manager.gathering import in_parts, next_generation
from manager.store.schema import bundles, decisions, pins, revisions

COMMIT, ROLLBACK, RELEASE = "commit", "rollback", "release"
_SHOWN = 30
Place = tuple[Workspace, BundleName]


def note(connection: Connection, place: Place, cause: str, number: int, **said: str) -> int:
    """Write down a decision for revision `number`; `said`: who, reason, at. Its id."""
    r = revisions.c
    query = sa.select(r.commit, r.author, r.subject).where(r.workspace == place[0], r.bundle == place[1], r.number == number)
    row = connection.execute(query).one_or_none()
    about = {"commit": row.commit, "author": row.author, "subject": row.subject} if row else {"commit": "", "author": "", "subject": ""}
    found = next_generation(connection)
    head = {"workspace": place[0], "bundle": place[1], "id": found, "cause": cause, "number": number}
    connection.execute(sa.insert(decisions), {**head, **about, "who": "", "reason": "", **said})
    return found


def said(connection: Connection, place: Place, verb: str, *, who: str, reason: str, at: str) -> None:
    """What a person said to the rollout of the revision that clusters should have now."""
    b, r = bundles.c, revisions.c
    pinned = sa.select(b.pinned).where(b.workspace == place[0], b.name == place[1])
    newest = sa.select(sa.func.max(r.number)).where(r.workspace == place[0], r.bundle == place[1])
    number = connection.execute(pinned).scalar() or connection.execute(newest).scalar() or 0
    note(connection, place, verb, number, who=who, reason=reason, at=at)


def taken(connection: Connection, workspace: Workspace, rows: list[dict[str, Any]], now: str) -> None:
    """Clusters of these bundles follow the commit that they were made of. `rows`: bundle, number, commit, author, subject."""
    if not rows:
        return
    number = next_generation(connection)
    head = {"workspace": workspace, "id": number, "cause": COMMIT, "who": "", "reason": "", "at": now}
    connection.execute(sa.insert(decisions), [head | row for row in rows])
    follow(connection, workspace, [row["bundle"] for row in rows], number)


def follow(connection: Connection, workspace: Workspace, names: Iterable[str], decision: int) -> None:
    """All clusters of the bundles follow `decision`, but for those that have a pin of their own."""
    b, p = bundles.c, pins.c
    for part in in_parts(sorted(names)):
        connection.execute(sa.update(bundles).where(b.workspace == workspace, b.name.in_(part)).values(decision=decision))
        connection.execute(sa.delete(pins).where(p.workspace == workspace, p.bundle.in_(part), p.number == 0))


def listing(connection: Connection, place: Place) -> list[dict[str, Any]]:
    """The last of them, newest first."""
    d = decisions.c
    query = sa.select(decisions).where(d.workspace == place[0], d.bundle == place[1]).order_by(d.id.desc()).limit(_SHOWN)
    names = ("cause", "number", "commit", "author", "subject", "who", "reason", "at")
    return [{name: getattr(row, name) for name in names} for row in connection.execute(query)]


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    d = decisions.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(decisions).where(d.workspace == workspace, d.bundle.in_(part)))
