"""Writes deployments: one row for each cluster and bundle."""

from __future__ import annotations

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId

from ..connection import Writer
from ..schema import deployments


def delete_deployments_of_cluster(writer: Writer, cluster: ClusterId) -> list[BundleName]:
    """Returns the bundles of the deleted deployments, tombstones included."""
    d = deployments.c
    delete = sa.delete(deployments).where(d.cluster_id == cluster)
    return list(writer.execute(delete.returning(d.bundle)).scalars())
