"""Commands that move the deployments of a bundle to its new name."""

from __future__ import annotations

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Generation, Workspace
from fleetctl.core.model.status import State

from ..connection import Writer
from ..queries.moves import OptionsKey
from ..schema import deployments


def delete_deployments(writer: Writer, workspace: Workspace, bundle: BundleName) -> None:
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


def bury_deployments(
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
