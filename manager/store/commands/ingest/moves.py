"""Commands for bundles that get another name or another GitRepo."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Generation, Workspace
from fleetctl.core.model.status import State

from ...bulk import in_parts
from ...connection import Writer
from ...queries.ingest.moves import OptionsKey
from ...schema import deployments, moves


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


def delete_deployments_of_bundle(writer: Writer, workspace: Workspace, bundle: BundleName) -> None:
    """Delete all rows of a bundle, tombstones included."""
    d = deployments.c
    writer.execute(sa.delete(deployments).where(d.workspace == workspace, d.bundle == bundle))


def copy_deployments(
    writer: Writer,
    workspace: Workspace,
    names: tuple[BundleName, BundleName],
    options: tuple[OptionsKey, OptionsKey],
    generation: Generation,
) -> None:
    """Copy the deployments with the first of `options` from the first of `names` to the second,
    with the second of `options`. What a cluster received is sent again, as `generation`, and waits
    for a report.
    """
    d = deployments.c
    is_sent = d.generation > 0
    values: dict[str, sa.ColumnElement[object]] = {
        "bundle": sa.literal(names[1]),
        "options_key": sa.literal(options[1].key),
        "options_digest": sa.literal(options[1].digest),
        "generation": sa.case((is_sent, generation), else_=d.generation),
        "state": sa.case((is_sent, State.WAIT_APPLIED.value), else_=d.state),
        "reported": sa.literal(0),
        "moved": sa.case((is_sent, generation), else_=d.moved),
    }
    columns = [column.name for column in d if column.computed is None]
    rows = sa.select(*(values.get(name, d[name]) for name in columns)).where(
        d.workspace == workspace,
        d.bundle == names[0],
        ~d.removed,
        d.options_key == options[0].key,
        d.options_digest == options[0].digest,
    )
    writer.execute(sa.insert(deployments).from_select(columns, rows))


def bury_renamed_deployments(
    writer: Writer, workspace: Workspace, bundle: BundleName, generation: Generation
) -> None:
    """Turn the deployments of a bundle into tombstones; those that no cluster received are
    deleted.
    """
    d = deployments.c
    present = (d.workspace == workspace) & (d.bundle == bundle) & ~d.removed
    tombstone = {
        "removed": True,
        "generation": generation,
        "state": State.WAIT_APPLIED.value,
        "reported": 0,
        "staged": "",
        "message": "",
        "kept": False,
    }
    writer.execute(sa.update(deployments).where(present, d.generation != 0).values(**tombstone))
    writer.execute(sa.delete(deployments).where(present))
