"""Reads the pins: which revision a bundle or a single cluster must have in place of the newest."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..connection import Reader
from ..keys import BundleKey
from ..schema import bundles, pins
from .targeting import in_parts

# Up to this number of clusters the index by cluster is used, above it the primary key.
_FEW_CLUSTERS = 500


class PinRow(msgspec.Struct, frozen=True):
    """The pin of one cluster. `number` 0: the cluster was released by `decision` and follows the
    bundle.
    """

    bundle: BundleName
    cluster_id: ClusterId
    number: int
    decision: int


class PinCount(msgspec.Struct, frozen=True):
    """How many clusters are pinned to revision `number`."""

    number: int
    clusters: int


class BundleHead(msgspec.Struct, frozen=True):
    """The revision that a bundle is pinned to (0: none) and the decision that its clusters
    follow.
    """

    pinned: int = 0
    decision: int = 0


def bundle_heads(
    reader: Reader, workspace: Workspace, names: Sequence[BundleName]
) -> dict[BundleName, BundleHead]:
    b = bundles.c
    query = sa.select(b.name, b.pinned, b.decision).where(b.workspace == workspace)
    return {
        BundleName(row.name): BundleHead(row.pinned, row.decision)
        for part in in_parts(names)
        for row in reader.execute(query.where(b.name.in_(part)))
    }


def cluster_pins(
    reader: Reader,
    workspace: Workspace,
    names: Sequence[BundleName],
    clusters: Sequence[ClusterId],
) -> list[PinRow]:
    """The pins of `clusters` for the bundles `names`. May return pins of other clusters, since a
    large set of clusters is not part of the statement.
    """
    p = pins.c
    query = sa.select(p.bundle, p.cluster_id, p.number, p.decision).where(p.workspace == workspace)
    if len(clusters) <= _FEW_CLUSTERS:
        queries = [query.where(p.cluster_id.in_(clusters))]
    else:
        queries = [query.where(p.bundle.in_(part)) for part in in_parts(names)]
    requested = set(names)
    return [
        PinRow(BundleName(row.bundle), ClusterId(row.cluster_id), row.number, row.decision)
        for statement in queries
        for row in reader.execute(statement)
        if row.bundle in requested
    ]


def pinned_numbers(reader: Reader, bundle: BundleKey) -> dict[ClusterId, int]:
    """The clusters that have a pin, and the revision of each."""
    p = pins.c
    query = sa.select(p.cluster_id, p.number).where(
        p.workspace == bundle[0], p.bundle == bundle[1], p.number > 0
    )
    return {ClusterId(row.cluster_id): row.number for row in reader.execute(query)}


def clusters_with_pins(reader: Reader, bundle: BundleKey, limit: int) -> list[ClusterId]:
    """At most `limit` clusters that have a pin or were just released from one."""
    p = pins.c
    query = (
        sa.select(p.cluster_id).where(p.workspace == bundle[0], p.bundle == bundle[1]).limit(limit)
    )
    return [ClusterId(cluster) for cluster in reader.execute(query).scalars()]


def pin_counts(reader: Reader, bundle: BundleKey) -> list[PinCount]:
    """How many clusters of the bundle have a pin, by revision in ascending order."""
    p = pins.c
    query = sa.select(p.number, sa.func.count().label("clusters")).where(
        p.workspace == bundle[0], p.bundle == bundle[1], p.number > 0
    )
    rows = reader.execute(query.group_by(p.number).order_by(p.number))
    return [PinCount(row.number, row.clusters) for row in rows]
