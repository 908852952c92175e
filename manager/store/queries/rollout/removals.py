"""Reads removals that clusters were told and have not finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Key
from fleetctl.core.rollout.removal_guard import RemovalLimits

from ...bulk import in_parts
from ...connection import Reader
from ...schema import clusters, deployments, held_removals, meta, recent_removals
from ..targeting import Scope

LIMIT_KEYS = ("removals-least", "removals-percent", "removals-window")
# SQLite uses the partial index `deployments_removal_held` only for this literal condition.
_HELD = sa.text("removal_held")


class UnfinishedRemoval(NamedTuple):
    """A removal that an agent has not finished, and why."""

    cluster_id: str
    bundle: str
    message: str


class RemovalGroup(NamedTuple):
    """Removals of one bundle that are not finished for the same cause. `cluster_id` is one of
    their clusters; `report` is the JSON of its last report, empty when there is none of the
    removal.
    """

    workspace: str
    repo: str
    bundle: str
    cluster_id: str
    total: int
    report: bytes


# SQLite gives the other columns of the row that has the minimum.
_BY_CAUSE = """
SELECT d.workspace, d.repo, d.bundle, min(d.cluster_id), count(*),
    CASE WHEN d.reported_generation = d.generation THEN d.report ELSE x'' END,
    CASE WHEN d.reported_generation = d.generation THEN d.cause_key ELSE '' END
FROM deployments d WHERE d.is_removed = 1 {where} GROUP BY 1, 2, 3, 7
"""


def unfinished_removals(reader: Reader) -> list[UnfinishedRemoval]:
    """Those of which the agent says why they are not finished, by bundle."""
    d = deployments.c
    query = sa.select(d.cluster_id, d.bundle, d.message).where(
        d.is_removed, d.message != "", d.reported_generation == d.generation
    )
    return [UnfinishedRemoval(*row) for row in reader.execute(query.order_by(d.bundle))]


def group_removals_by_cause(
    reader: Reader, workspace: str | None, bundle: str = "", cluster_id: str = ""
) -> list[RemovalGroup]:
    """An empty filter selects all."""
    filters = {"workspace": workspace or "", "bundle": bundle, "cluster_id": cluster_id}
    values = {name: value for name, value in filters.items() if value}
    conditions = "".join(f" AND d.{name} = :{name}" for name in values)
    rows = reader.execute(sa.text(_BY_CAUSE.format(where=conditions)), values)
    return [RemovalGroup(*row[:6]) for row in rows]


def has_removals(reader: Reader, workspace: str, bundle: str) -> bool:
    """Whether a cluster still has to remove the bundle."""
    d = deployments.c
    query = sa.select(d.bundle).where(d.workspace == workspace, d.bundle == bundle, d.is_removed)
    return reader.execute(query.limit(1)).first() is not None


class HeldBundleRow(NamedTuple):
    """A bundle with held removals. `change`: labels, targets or groups; `held_since`: RFC 3339."""

    workspace: Workspace
    bundle: BundleName
    cause: str
    change: str
    held_since: str


def held_keys(reader: Reader, scope: Scope) -> set[Key]:
    """Return the deployments in the scope whose removal is held. Costs nothing while none is."""
    d = deployments.c
    query = sa.select(d.cluster_id, d.bundle).where(d.workspace == scope.workspace)
    if scope.bundles is not None:
        parts = in_parts(sorted(scope.bundles))
        queries = [query.where(_HELD, d.bundle.in_(part)) for part in parts]
    elif scope.clusters is not None:
        parts = in_parts(sorted(scope.clusters))
        queries = [query.where(d.removal_held, d.cluster_id.in_(part)) for part in parts]
    else:
        queries = [query.where(_HELD)]
    return {
        (ClusterId(row[0]), BundleName(row[1])) for part in queries for row in reader.execute(part)
    }


def held_bundles(reader: Reader, workspace: str | None) -> list[HeldBundleRow]:
    """Return the bundles with held removals in a workspace or (None) in all, by workspace and
    name.
    """
    h = held_removals.c
    query = sa.select(h.workspace, h.bundle, h.cause, h.change, h.held_since)
    query = query.order_by(h.workspace, h.bundle)
    rows = reader.execute(query.where(h.workspace == workspace) if workspace else query)
    return [HeldBundleRow(*row) for row in rows]


def count_held_clusters(reader: Reader, workspace: Workspace, bundle: BundleName) -> int:
    """Return on how many clusters the removal of the bundle is held."""
    d = deployments.c
    query = (
        sa.select(sa.func.count())
        .select_from(deployments)
        .where(d.workspace == workspace, d.bundle == bundle, _HELD)
    )
    return int(reader.execute(query).scalar_one())


def held_cluster_ids(reader: Reader, workspace: Workspace, bundle: BundleName) -> list[ClusterId]:
    """Return the clusters on which the removal of the bundle is held, sorted."""
    d = deployments.c
    query = sa.select(d.cluster_id).where(d.workspace == workspace, d.bundle == bundle, _HELD)
    return [ClusterId(i) for i in reader.execute(query.order_by(d.cluster_id)).scalars()]


def held_cluster_names(
    reader: Reader, workspace: Workspace, bundle: BundleName, limit: int
) -> list[str]:
    """Return the first names of the clusters on which the removal of the bundle is held."""
    c, d = clusters.c, deployments.c
    query = (
        sa.select(c.name)
        .join(deployments, d.cluster_id == c.id)
        .where(d.workspace == workspace, d.bundle == bundle, d.removal_held)
        .order_by(c.name)
        .limit(limit)
    )
    return list(reader.execute(query).scalars())


def count_losses(
    reader: Reader, workspace: Workspace, bundle: BundleName, *, after_minute: int
) -> int:
    """Return how many clusters lost the bundle, unconfirmed, after a minute of Unix time."""
    n = recent_removals.c
    query = sa.select(sa.func.coalesce(sa.func.sum(n.cluster_count), 0)).where(
        n.workspace == workspace, n.bundle == bundle, n.minute > after_minute
    )
    return int(reader.execute(query).scalar_one())


def clusters_with_other_bundles(
    reader: Reader, candidates: Iterable[ClusterId], bundles: Collection[BundleName]
) -> set[ClusterId]:
    """Return those of the clusters that have a deployment of a bundle outside `bundles`."""
    d = deployments.c
    return {
        ClusterId(row.cluster_id)
        for part in in_parts(sorted(candidates))
        for row in reader.execute(
            sa.select(d.cluster_id, d.bundle).where(
                d.cluster_id.in_(part), ~d.is_removed, ~d.removal_held
            )
        )
        if row.bundle not in bundles
    }


def removal_limits(reader: Reader) -> RemovalLimits:
    """Return the limits that the manager stored at its start."""
    rows = reader.execute(sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(LIMIT_KEYS)))
    return RemovalLimits(**{row.key.removeprefix("removals-"): row.value for row in rows})


def clusters_of_bundles(
    reader: Reader, workspace: Workspace, names: Collection[BundleName], *, inside: bool
) -> set[ClusterId]:
    """Return the clusters that have one of the bundles (`inside`), or any other bundle. Tombstones
    do not count.
    """
    d = deployments.c
    condition = d.bundle.in_(names) if inside else d.bundle.not_in(names)
    query = sa.select(d.cluster_id).where(d.workspace == workspace, ~d.is_removed, condition)
    return {ClusterId(i) for i in reader.execute(query).scalars()}
