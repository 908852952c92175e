"""Reads batches: bundles whose change is stored in several transactions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Want

from ...connection import Reader
from ...keys import BundleKey
from ...schema import batch_jobs, bundles, clusters, deployments, pins


class Batch(NamedTuple):
    """`method`: by rows or by clusters; `cursor`: the last row or cluster that is done, "" for
    none.
    """

    method: str
    cursor: str


def find_batch(reader: Reader, bundle: BundleKey) -> Batch | None:
    p = batch_jobs.c
    query = sa.select(p.method, p.cursor).where(p.workspace == bundle[0], p.bundle == bundle[1])
    row = reader.execute(query).one_or_none()
    return None if row is None else Batch(row.method, row.cursor)


def pending_batches(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> set[BundleName]:
    """Those of the bundles that have a batch."""
    p = batch_jobs.c
    rows = reader.execute(sa.select(p.bundle).where(p.workspace == workspace)).scalars()
    return set(names).intersection(rows)


def list_batches(reader: Reader) -> list[BundleKey]:
    p = batch_jobs.c
    rows = reader.execute(sa.select(p.workspace, p.bundle).order_by(p.workspace, p.bundle))
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def has_many_clusters(reader: Reader, workspace: Workspace, least: int) -> bool:
    """Whether the workspace has at least so many clusters."""
    first_clusters = (
        sa.select(sa.literal(1))
        .select_from(clusters)
        .where(clusters.c.workspace == workspace)
        .limit(least)
        .subquery()
    )
    return (
        reader.execute(sa.select(sa.func.count()).select_from(first_clusters)).scalar_one() == least
    )


def has_deployments(reader: Reader, bundle: BundleKey) -> bool:
    """Whether there is any deployment of the bundle, including tombstones."""
    d = deployments.c
    query = sa.select(d.bundle).where(d.workspace == bundle[0], d.bundle == bundle[1]).limit(1)
    return reader.execute(query).first() is not None


def targeting_of_bundle(reader: Reader, bundle: BundleKey) -> str:
    """The digest of the targeting by which all deployments of the bundle were matched, or ""."""
    b = bundles.c
    query = sa.select(b.matched_targeting).where(b.workspace == bundle[0], b.name == bundle[1])
    return str(reader.execute(query).scalar_one())


def clusters_after(
    reader: Reader, workspace: Workspace, cursor: str, limit: int
) -> list[ClusterId]:
    """The next clusters of the workspace in the order of their ids."""
    c = clusters.c
    query = (
        sa.select(c.id).where(c.workspace == workspace, c.id > cursor).order_by(c.id).limit(limit)
    )
    return [ClusterId(cluster) for cluster in reader.execute(query).scalars()]


class RowRange(NamedTuple):
    """Deployments of a bundle with row ids above `after`, up to `end`."""

    bundle: BundleKey
    after: int
    end: int


class DeploymentKind(NamedTuple):
    """What deployments of a bundle have in common: the key of the staged version, or (if it is "")
    the names of target and customization.
    """

    staged_key: str
    target: str
    customization: str


_ROW_ID: sa.ColumnElement[int] = sa.literal_column("rowid")
_END = sa.text("""
SELECT rowid FROM deployments INDEXED BY deployments_bundle
WHERE workspace = :workspace AND bundle = :bundle AND rowid > :after
ORDER BY rowid LIMIT 1 OFFSET :most
""")
_KINDS = sa.text("""
SELECT DISTINCT staged_key, CASE staged_key WHEN '' THEN target END AS target,
    CASE staged_key WHEN '' THEN customization END AS customization
FROM deployments INDEXED BY deployments_bundle
WHERE workspace = :workspace AND bundle = :bundle AND rowid > :after AND rowid <= :end
    AND NOT is_removed AND NOT removal_held
    AND cluster_id NOT IN (
        SELECT cluster_id FROM pins WHERE workspace = :workspace AND bundle = :bundle
    )
""")


def end_of_batch(reader: Reader, bundle: BundleKey, after: int, limit: int) -> int | None:
    """The last of the next `limit` rows, None if there are no more than that."""
    values = {"workspace": bundle[0], "bundle": bundle[1], "after": after, "most": limit - 1}
    row: int | None = reader.execute(_END, values).scalar()
    return row


def deployment_kinds(reader: Reader, rows: RowRange) -> list[DeploymentKind]:
    """The kinds of the deployments without a pin of their own."""
    values = {"workspace": rows.bundle[0], "bundle": rows.bundle[1]}
    limits = {"after": rows.after, "end": rows.end}
    return [
        DeploymentKind(row.staged_key, row.target or "", row.customization or "")
        for row in reader.execute(_KINDS, values | limits)
    ]


def clusters_of_kind(reader: Reader, rows: RowRange, kind: DeploymentKind) -> list[ClusterId]:
    query = sa.select(deployments.c.cluster_id).where(of_kind(rows, kind))
    return [ClusterId(cluster) for cluster in reader.execute(query).scalars()]


def of_kind(rows: RowRange, kind: DeploymentKind) -> sa.ColumnElement[bool]:
    """The condition for the deployments of a kind. Only for modules of the store."""
    d, p = deployments.c, pins.c
    workspace, bundle = rows.bundle
    clusters_with_pin = sa.select(p.cluster_id).where(p.workspace == workspace, p.bundle == bundle)
    conditions: list[sa.ColumnElement[bool]] = [
        d.workspace == workspace,
        d.bundle == bundle,
        ~d.is_removed,
        ~d.removal_held,
        d.staged_key == kind.staged_key,
        d.cluster_id.not_in(clusters_with_pin),
        rows.after < _ROW_ID,
        rows.end >= _ROW_ID,
    ]
    if not kind.staged_key:
        conditions += [d.target == kind.target, d.customization == kind.customization]
    return sa.and_(*conditions)


def count_other_versions(
    reader: Reader, bundle: BundleKey, kind: DeploymentKind, want: Want
) -> int:
    """How many clusters with the target and customization of `kind`, and without a pin of their
    own, were told another version than `want`.
    """
    d, p = deployments.c, pins.c
    clusters_with_pin = sa.select(p.cluster_id).where(
        p.workspace == bundle[0], p.bundle == bundle[1], p.number > 0
    )
    query = sa.select(sa.func.count()).where(
        d.workspace == bundle[0],
        d.bundle == bundle[1],
        ~d.is_removed,
        d.cluster_id.not_in(clusters_with_pin),
        d.target == kind.target,
        d.customization == kind.customization,
        other_version(want),
    )
    return int(reader.execute(query).scalar_one())


def other_version(want: Want) -> sa.ColumnElement[bool]:
    """The condition that a cluster was told another version. Only for modules of the store."""
    d = deployments.c
    return sa.or_(
        d.generation < 1, d.archive != want.archive, d.options_digest != want.options_digest
    )
