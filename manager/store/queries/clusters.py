"""Queries about clusters."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId, Workspace

from ..connection import Reader
from ..schema import clusters
from .targeting import in_parts


class ClusterLabels(NamedTuple):
    """The labels that people set on a cluster."""

    id: ClusterId
    name: str
    labels: dict[str, str]


def cluster_labels(reader: Reader, workspace: Workspace) -> list[ClusterLabels]:
    """Return the labels of all clusters of the workspace, by name."""
    c = clusters.c
    query = sa.select(c.id, c.name, c.labels).where(c.workspace == workspace).order_by(c.name)
    return [
        ClusterLabels(ClusterId(row.id), row.name, msgspec.json.decode(row.labels))
        for row in reader.execute(query)
    ]


def cluster_names(reader: Reader, ids: Collection[ClusterId]) -> list[str]:
    """Return the names of the clusters, sorted."""
    c = clusters.c
    return sorted(
        name
        for part in in_parts(sorted(ids))
        for name in reader.execute(sa.select(c.name).where(c.id.in_(part))).scalars()
    )


def cluster_exists(reader: Reader, workspace: Workspace, name: str) -> bool:
    c = clusters.c
    query = sa.select(c.id).where(c.workspace == workspace, c.name == name)
    return reader.execute(query).first() is not None


def paused_clusters(reader: Reader, workspace: Workspace) -> set[ClusterId]:
    """The clusters with `spec.paused: true`. A partial index holds the candidates."""
    c = clusters.c
    query = sa.select(c.id, c.spec).where(
        c.workspace == workspace, sa.text("instr(spec, '\"paused\"') > 0")
    )
    return {
        ClusterId(row.id)
        for row in reader.execute(query)
        if msgspec.json.decode(row.spec).get("paused")
    }
