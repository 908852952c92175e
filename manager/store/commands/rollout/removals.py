"""Commands for removals that are held for a person, and for losses of bundles."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.plan import Key
from fleetctl.core.rollout.removal_guard import Cause, RemovalLimits

from ...bulk import in_parts
from ...connection import Writer
from ...queries.rollout.removals import LIMIT_KEYS
from ...schema import deployments, held_removals, meta, recent_removals


def add_losses(
    writer: Writer, workspace: Workspace, amounts: Mapping[BundleName, int], minute: int, days: int
) -> None:
    """Add how many clusters lost each bundle in a minute of Unix time; delete what is older than
    `days` before it.
    """
    n = recent_removals.c
    oldest = minute - days * 1440 - 1
    for bundle, amount in amounts.items():
        adding = insert(recent_removals).values(
            workspace=workspace, bundle=bundle, minute=minute, cluster_count=amount
        )
        writer.execute(
            adding.on_conflict_do_update(
                index_elements=["workspace", "bundle", "minute"],
                set_={"cluster_count": n.cluster_count + adding.excluded.cluster_count},
            )
        )
        writer.execute(
            sa.delete(recent_removals).where(
                n.workspace == workspace, n.bundle == bundle, n.minute < oldest
            )
        )


def hold_deployments(writer: Writer, keys: Collection[Key], partition: int) -> None:
    """Mark deployments as held: their rows stay, and no staged version reaches them. `partition`:
    the number for deployments outside every rollout.
    """
    _update(writer, keys, {"removal_held": True, "staged_key": "", "partition": partition})


def release_deployments(writer: Writer, keys: Collection[Key], partition: int) -> None:
    """Mark deployments as not held. `partition`: the number for deployments without a place."""
    _update(writer, keys, {"removal_held": False, "partition": partition})


def _update(writer: Writer, keys: Collection[Key], values: Mapping[str, object]) -> None:
    if not keys:
        return
    d = deployments.c
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    rows = [{"c": cluster, "b": bundle} for cluster, bundle in sorted(keys)]
    writer.execute(sa.update(deployments).where(where).values(**values), rows)


def record_holds(
    writer: Writer,
    workspace: Workspace,
    causes: Mapping[BundleName, Cause],
    changed: str,
    now: str,
) -> None:
    """Store why removals of each bundle are held; `since` of an existing hold stays."""
    for bundle, cause in causes.items():
        adding = insert(held_removals).values(
            workspace=workspace, bundle=bundle, cause=cause.value, change=changed, held_since=now
        )
        update = {"cause": adding.excluded.cause, "change": adding.excluded.change}
        writer.execute(
            adding.on_conflict_do_update(index_elements=["workspace", "bundle"], set_=update)
        )


def delete_finished_holds(
    writer: Writer, workspace: Workspace, bundles: Collection[BundleName]
) -> None:
    """Delete the holds of those of the bundles of which no removal is held any more."""
    d, h = deployments.c, held_removals.c
    for part in in_parts(sorted(bundles)):
        still_held = sa.select(d.bundle).where(
            d.workspace == workspace, d.bundle.in_(part), sa.text("removal_held")
        )
        writer.execute(
            sa.delete(held_removals).where(
                h.workspace == workspace, h.bundle.in_(part), h.bundle.not_in(still_held)
            )
        )


def store_removal_limits(writer: Writer, limits: RemovalLimits) -> None:
    """Store the limits of the manager's configuration, where every decision reads them."""
    values = dict(zip(LIMIT_KEYS, (limits.least, limits.percent, limits.window), strict=True))
    writer.execute(
        sa.insert(meta).prefix_with("OR REPLACE"),
        [{"key": key, "value": value} for key, value in values.items()],
    )
