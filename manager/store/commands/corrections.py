"""Writes requests to correct drift."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId

from ..connection import Writer
from ..schema import deployments
from .documents import mark_documents_changed


def request_corrections(
    writer: Writer, bundle: BundleName, numbers: Mapping[ClusterId, int], now: str
) -> None:
    """Ask the clusters to apply the bundle again; each gets the number of its request."""
    if not numbers:
        return
    d = deployments.c
    update = (
        sa.update(deployments)
        .where(d.cluster_id == sa.bindparam("cluster"), d.bundle == sa.bindparam("named"))
        .values(correction=sa.bindparam("number"))
    )
    rows = [
        {"cluster": cluster, "named": bundle, "number": number}
        for cluster, number in numbers.items()
    ]
    writer.execute(update, rows)
    mark_documents_changed(writer, numbers, now)
