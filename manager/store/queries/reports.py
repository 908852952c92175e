"""Reads what the store holds of the agents' reports on deployments.

Rule: these queries run for every report of every agent, in the thread that writes. So each one is
built once: building it costs more than SQLite does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Generation

from ..connection import Reader
from ..rows import columns_of
from ..schema import deployments


class ReportedRow(msgspec.Struct, frozen=True):
    """What a deployment should be and what its agent reported last: `reported_generation` is the
    generation of that report; `state_since` and `first_ready_at` in Unix seconds.
    """

    bundle: BundleName
    workspace: str
    generation: Generation
    is_removed: bool
    reported_generation: int
    applied_generation: int
    state: str
    first_ready_at: int
    state_since: int


_d = deployments.c
_OF_CLUSTER = _d.cluster_id == sa.bindparam("cluster")
_ALL = sa.select(*columns_of(ReportedRow, deployments)).where(_OF_CLUSTER)
_BY_BUNDLE = _ALL.where(_d.bundle == sa.bindparam("name"))
_REPORTED = sa.select(_d.bundle).where(_OF_CLUSTER, ~_d.is_removed, _d.reported_generation > 0)
_ANY = sa.select(_d.bundle).where(_OF_CLUSTER).limit(1)
# A report about more bundles than this reads all deployments of the cluster with one query, so that
# bundles which do not exist cost no query each.
_MOST_SINGLE_READS = 20


def reported_rows(
    reader: Reader, cluster: ClusterId, bundles: Sequence[BundleName]
) -> dict[BundleName, ReportedRow]:
    """The deployments of these bundles on the cluster, tombstones included; one that does not exist
    is missing.
    """
    if len(bundles) > _MOST_SINGLE_READS:
        names = set(bundles)
        every_row = reader.execute(_ALL, {"cluster": cluster})
        return {row.bundle: ReportedRow(*row) for row in every_row if row.bundle in names}
    rows: dict[BundleName, ReportedRow] = {}
    for name in bundles:
        row = reader.execute(_BY_BUNDLE, {"cluster": cluster, "name": name}).one_or_none()
        if row is not None:
            rows[name] = ReportedRow(*row)
    return rows


def reported_bundles(reader: Reader, cluster: ClusterId) -> list[BundleName]:
    """The bundles that the cluster's agent reported, without tombstones."""
    return list(reader.execute(_REPORTED, {"cluster": cluster}).scalars())


def has_deployments(reader: Reader, cluster: ClusterId) -> bool:
    """Whether the cluster has any deployment, a tombstone too."""
    return reader.execute(_ANY, {"cluster": cluster}).first() is not None
