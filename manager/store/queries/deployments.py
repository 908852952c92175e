"""Queries about deployments: one row for each cluster and bundle."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Digest, Generation, Workspace

from ..connection import Reader
from ..rows import fetch_all
from ..schema import deployments, options
from .targeting import in_parts


class DesiredRow(msgspec.Struct, frozen=True):
    """What a cluster should have of one bundle. `told`: Unix seconds when it was decided; `shown`
    and `options` hold JSON.
    """

    bundle: BundleName
    generation: Generation
    archive: Digest
    size: int
    options_digest: Digest
    commit: CommitId
    repo: str
    shown: bytes
    keep_resources: bool
    removed: bool
    correction: int
    told: int
    options: bytes


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


def desired_rows(reader: Reader, cluster: ClusterId) -> list[DesiredRow]:
    """Return what the cluster should have, tombstones included, by bundle."""
    d = deployments.c
    names = DesiredRow.__struct_fields__[:-1]
    query = (
        sa.select(*(d[name] for name in names), options.c.json)
        .join(options, d.options_key == options.c.key)
        .where(d.cluster_id == cluster, d.generation > 0)
        .order_by(d.bundle)
    )
    return fetch_all(reader, query, DesiredRow)
