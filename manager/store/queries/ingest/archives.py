"""Queries about archives: which bundles and deployments name them."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId, Digest

from ...connection import Reader
from ...schema import agent_releases, bundles, deployments, revisions

_EARLIER_ORIGINS = 5


class ArchiveOrigin(NamedTuple):
    """A commit of a GitRepo that produces an archive."""

    workspace: str
    repo: str
    commit: str


def archive_origins(reader: Reader, digest: Digest) -> list[ArchiveOrigin]:
    """Return the origins of an archive without duplicates: first the bundles that have it now, then
    the newest revisions that had it.
    """
    b, r = bundles.c, revisions.c
    current = sa.select(b.workspace, b.repo, b.commit).where(b.archive == digest)
    earlier = (
        sa.select(r.workspace, b.repo, r.commit)
        .join_from(revisions, bundles, (r.workspace == b.workspace) & (r.bundle == b.name))
        .where(r.archive == digest)
        .order_by(r.number.desc())
        .limit(_EARLIER_ORIGINS)
    )
    rows = [*reader.execute(current), *reader.execute(earlier)]
    return list(dict.fromkeys(ArchiveOrigin(row[0], row[1], row[2]) for row in rows))


def is_archive_referenced(reader: Reader, workspace: str | None, digest: Digest) -> bool:
    """Return whether a deployment, bundle or revision names the archive. `workspace` None: in any
    workspace.
    """
    for table in (deployments, bundles, revisions):
        where = table.c.archive == digest
        if workspace:
            where &= table.c.workspace == workspace
        if reader.execute(sa.select(table.c.archive).where(where).limit(1)).first() is not None:
            return True
    return False


def current_archives(reader: Reader) -> set[Digest]:
    """The archives of all bundles and deployments, and the files of all agent releases."""
    query = sa.union(
        sa.select(bundles.c.archive),
        sa.select(deployments.c.archive),
        sa.select(agent_releases.c.sha256),
    )
    return {Digest(digest) for digest in reader.execute(query).scalars()}


def is_archive_of_cluster(reader: Reader, cluster: ClusterId, digest: Digest) -> bool:
    """Whether the cluster should have the archive now."""
    d = deployments.c
    query = (
        sa.select(d.bundle)
        .where(d.cluster_id == cluster, d.archive == digest, d.generation > 0, ~d.is_removed)
        .limit(1)
    )
    return reader.execute(query).first() is not None
