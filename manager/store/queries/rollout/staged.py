"""Reads staged versions: what a rollout holds back from each cluster until it may have it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Want

from ...connection import Reader
from ...keys import BundleKey
from ...schema import deployments, wants
from ..targeting import in_parts


def staged_archives(reader: Reader) -> set[str]:
    """The archives of all staged versions; a bundle may no longer name them."""
    return {
        msgspec.json.decode(text, type=Want).archive
        for text in reader.execute(sa.select(wants.c.json)).scalars()
    }


def untold_clusters(reader: Reader, bundle: BundleKey) -> frozenset[ClusterId]:
    """The clusters that wait for the bundle and were never told any version of it."""
    d = deployments.c
    query = sa.select(d.cluster_id).where(
        d.workspace == bundle[0],
        d.bundle == bundle[1],
        d.staged != "",
        d.generation < 1,
        ~d.removed,
    )
    return frozenset(ClusterId(cluster) for cluster in reader.execute(query).scalars())


def bundles_on_clusters(reader: Reader, clusters: Collection[ClusterId]) -> set[BundleName]:
    """The bundles that any of the clusters has, without tombstones."""
    d = deployments.c
    query = sa.select(d.bundle).distinct().where(~d.removed)
    return {
        BundleName(name)
        for part in in_parts(sorted(clusters))
        for name in reader.execute(query.where(d.cluster_id.in_(part))).scalars()
    }
