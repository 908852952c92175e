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
    writer.execute(
        sa.delete(moves).where(m.workspace == workspace, m.new_name == new, m.repo == "")
    )
    row = {
        "workspace": workspace,
        "old_name": old,
        "new_name": new,
        "repo": "",
        "requested_at": now,
    }
    writer.execute(sa.insert(moves).prefix_with("OR REPLACE"), row)


def withdraw_move(writer: Writer, workspace: Workspace, old: BundleName) -> bool:
    """Delete the request of a person to move `old`. Returns whether there was one."""
    m = moves.c
    query = sa.delete(moves).where(m.workspace == workspace, m.old_name == old, m.repo == "")
    return writer.execute(query).rowcount > 0


def replace_claims(
    writer: Writer, workspace: Workspace, repo: str, names: Collection[BundleName], now: str
) -> None:
    """Store which bundles of other GitRepos `repo` claims; its other claims are deleted."""
    m = moves.c
    writer.execute(
        sa.delete(moves).where(
            m.workspace == workspace, m.repo == repo, m.old_name.not_in(list(names))
        )
    )
    rows = [
        {
            "workspace": workspace,
            "old_name": name,
            "new_name": name,
            "repo": repo,
            "requested_at": now,
        }
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
        writer.execute(sa.delete(moves).where(m.workspace == workspace, m.old_name.in_(part)))


def delete_handed_over(writer: Writer, workspace: Workspace, name: BundleName) -> None:
    """Delete the moves of a bundle to another GitRepo."""
    m = moves.c
    writer.execute(
        sa.delete(moves).where(m.workspace == workspace, m.old_name == name, m.new_name == name)
    )


def delete_completed_move(
    writer: Writer, workspace: Workspace, old: BundleName, new: BundleName
) -> None:
    """Delete all moves that a rename from `old` to `new` completes or makes pointless."""
    m = moves.c
    writer.execute(
        sa.delete(moves).where(m.workspace == workspace, (m.new_name == new) | (m.old_name == old))
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
        "reported_generation": sa.literal(0),
        "moved_generation": sa.case((is_sent, generation), else_=d.moved_generation),
    }
    columns = [column.name for column in d if column.computed is None]
    rows = sa.select(*(values.get(name, d[name]) for name in columns)).where(
        d.workspace == workspace,
        d.bundle == names[0],
        ~d.is_removed,
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
    present = (d.workspace == workspace) & (d.bundle == bundle) & ~d.is_removed
    tombstone = {
        "is_removed": True,
        "generation": generation,
        "state": State.WAIT_APPLIED.value,
        "reported_generation": 0,
        "staged_key": "",
        "message": "",
        "removal_held": False,
    }
    writer.execute(sa.update(deployments).where(present, d.generation != 0).values(**tombstone))
    writer.execute(sa.delete(deployments).where(present))
