"""Commands for bundles that get another name or another GitRepo."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Writer
from ..queries.targeting import in_parts
from ..schema import moves


def request_move(
    writer: Writer, workspace: Workspace, old: BundleName, new: BundleName, now: str
) -> None:
    """Store that a person requests the move; replaces other requests for the new name."""
    m = moves.c
    writer.execute(sa.delete(moves).where(m.workspace == workspace, m.new == new, m.repo == ""))
    row = {"workspace": workspace, "old": old, "new": new, "repo": "", "at": now}
    writer.execute(sa.insert(moves).prefix_with("OR REPLACE"), row)


def withdraw_move(writer: Writer, workspace: Workspace, old: BundleName) -> bool:
    """Delete the request of a person to move `old`. Returns whether there was one."""
    m = moves.c
    query = sa.delete(moves).where(m.workspace == workspace, m.old == old, m.repo == "")
    return writer.execute(query).rowcount > 0


def replace_claims(
    writer: Writer, workspace: Workspace, repo: str, names: Collection[BundleName], now: str
) -> None:
    """Store which bundles of other GitRepos `repo` claims; its other claims are deleted."""
    m = moves.c
    writer.execute(
        sa.delete(moves).where(m.workspace == workspace, m.repo == repo, m.old.not_in(list(names)))
    )
    rows = [
        {"workspace": workspace, "old": name, "new": name, "repo": repo, "at": now}
        for name in sorted(names)
    ]
    if rows:
        writer.execute(sa.insert(moves).prefix_with("OR IGNORE"), rows)


def delete_moves_of_bundles(
    writer: Writer, workspace: Workspace, names: Iterable[BundleName]
) -> None:
    """Delete the moves of bundles that were removed."""
    m = moves.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(moves).where(m.workspace == workspace, m.old.in_(part)))


def delete_handed_over(writer: Writer, workspace: Workspace, name: BundleName) -> None:
    """Delete the moves of a bundle to another GitRepo."""
    m = moves.c
    writer.execute(sa.delete(moves).where(m.workspace == workspace, m.old == name, m.new == name))


def delete_completed_move(
    writer: Writer, workspace: Workspace, old: BundleName, new: BundleName
) -> None:
    """Delete all moves that a rename from `old` to `new` completes or makes pointless."""
    m = moves.c
    writer.execute(
        sa.delete(moves).where(m.workspace == workspace, (m.new == new) | (m.old == old))
    )
