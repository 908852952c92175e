"""Reads the deployments of one bundle."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.plan import Want
from fleetctl.core.model.status import ResourceStatus

from ..bulk import in_parts
from ..connection import Reader
from ..keys import BundleKey
from ..schema import clusters, deployments, staged_targets
from .targeting import cluster_of, shown_labels


class BundleMember(msgspec.Struct, frozen=True):
    """A cluster that should have the bundle. `is_sent`: some version of it."""

    cluster: Cluster
    is_sent: bool


class DeliveryCounts(msgspec.Struct, frozen=True):
    """How many clusters a bundle has, how many of them were told something since a generation, and
    how many wait for what was decided since.
    """

    clusters: int = 0
    updated_clusters: int = 0
    waiting_clusters: int = 0


def bundle_members(
    reader: Reader, bundle: BundleKey, names: Sequence[str] = ()
) -> list[BundleMember]:
    """The clusters that should have the bundle, sorted by name: those of `names`, or all."""
    c, d = clusters.c, deployments.c
    query = (
        sa.select(c.id, c.name, c.labels, c.annotations, c.spec, d.generation)
        .join(deployments, d.cluster_id == c.id)
        .where(d.workspace == bundle[0], d.bundle == bundle[1], ~d.is_removed)
        .order_by(c.name)
    )
    queries = [query]
    if names:
        by_name = query.where(c.workspace == bundle[0])
        queries = [by_name.where(c.name.in_(part)) for part in in_parts(names)]
    return [
        BundleMember(cluster_of(row, bundle[0]), row.generation > 0)
        for statement in queries
        for row in reader.execute(statement)
    ]


def count_deliveries_since(
    reader: Reader,
    bundle: BundleKey,
    generation: int,
    cluster_ids: Sequence[ClusterId] | None = None,
) -> DeliveryCounts:
    """`cluster_ids` None: all clusters of the bundle."""
    if cluster_ids is None:
        return _count_since(reader, bundle, generation, sa.true())
    column = deployments.c.cluster_id
    parts = [
        _count_since(reader, bundle, generation, column.in_(part)) for part in in_parts(cluster_ids)
    ]
    return DeliveryCounts(
        sum(part.clusters for part in parts),
        sum(part.updated_clusters for part in parts),
        sum(part.waiting_clusters for part in parts),
    )


def _count_since(
    reader: Reader, bundle: BundleKey, generation: int, condition: sa.ColumnElement[bool]
) -> DeliveryCounts:
    d, w = deployments.c, staged_targets.c
    matching = sa.and_(d.workspace == bundle[0], d.bundle == bundle[1], ~d.is_removed, condition)
    staged_keys = reader.execute(
        sa.select(d.staged_key).where(matching, d.staged_key != "").distinct()
    )
    query = sa.select(w.key, w.json)
    recent = [
        row.key
        for part in in_parts(staged_keys.scalars().all())
        for row in reader.execute(query.where(w.key.in_(part)))
        if msgspec.json.decode(row.json, type=Want).decision > generation
    ]
    total = sa.func.total
    counts = reader.execute(
        sa.select(
            sa.func.count(), total(d.generation > generation), total(d.staged_key.in_(recent))
        ).where(matching)
    ).one()
    return DeliveryCounts(int(counts[0]), int(counts[1]), int(counts[2]))


class ReportedDeployment(msgspec.Struct, frozen=True):
    """A deployment with the last report of its agent. `correction`: the number of the last request
    to correct drift.
    """

    cluster_id: ClusterId
    name: str
    labels: dict[str, str]
    correction: int
    resources: list[ResourceStatus]


class _StoredReport(msgspec.Struct):
    """The part of a stored report that is read here."""

    resources: list[ResourceStatus] = []


def deployments_with_reports(reader: Reader, bundle: BundleKey) -> list[ReportedDeployment]:
    """The deployments of the bundle that were told some version, sorted by cluster name."""
    d, c = deployments.c, clusters.c
    query = (
        sa.select(c.id, c.name, c.labels, d.correction, d.report)
        .join(clusters, d.cluster_id == c.id)
        .where(c.workspace == bundle[0], d.bundle == bundle[1], ~d.is_removed, d.generation > 0)
        .order_by(c.name)
    )
    return [
        ReportedDeployment(
            ClusterId(row.id),
            row.name,
            dict(shown_labels(row.name, msgspec.json.decode(row.labels))),
            row.correction,
            msgspec.json.decode(row.report, type=_StoredReport).resources if row.report else [],
        )
        for row in reader.execute(query)
    ]
