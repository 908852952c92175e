"""Queries about deployments: one row for each cluster and bundle."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..connection import Reader
from ..schema import deployments, options
from .targeting import in_parts


def count_deployments_of_repo(reader: Reader, workspace: Workspace, repo: str) -> int:
    """Return the number of deployments of a GitRepo's bundles, without tombstones."""
    d = deployments.c
    query = sa.select(sa.func.count()).where(d.workspace == workspace, d.repo == repo, ~d.removed)
    return int(reader.execute(query).scalar_one())


def count_deployments_by_cluster(
    reader: Reader, clusters: Iterable[ClusterId]
) -> dict[ClusterId, int]:
    """Return the number of deployments of each cluster that has any, without tombstones."""
    d = deployments.c
    counts: dict[ClusterId, int] = {}
    for part in in_parts(sorted(clusters)):
        query = (
            sa.select(d.cluster_id, sa.func.count())
            .where(d.cluster_id.in_(part), ~d.removed)
            .group_by(d.cluster_id)
        )
        counts |= {ClusterId(row[0]): row[1] for row in reader.execute(query)}
    return counts


def options_texts(reader: Reader, keys: Iterable[str]) -> dict[str, bytes]:
    """Return the JSON of stored options by key."""
    o = options.c
    texts: dict[str, bytes] = {}
    for part in in_parts(sorted(keys)):
        rows = reader.execute(sa.select(o.key, o.json).where(o.key.in_(part)))
        texts |= {row.key: bytes(row.json) for row in rows}
    return texts


def repo_of_deployments(reader: Reader, workspace: Workspace, bundle: BundleName) -> str:
    """Return the GitRepo that the deployments of a bundle name, or ""."""
    d = deployments.c
    query = sa.select(d.repo).where(d.workspace == workspace, d.bundle == bundle).limit(1)
    return reader.execute(query).scalar() or ""
