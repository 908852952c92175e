"""Writes the revisions of the clusters' documents."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId, Workspace

from ...clock import unix
from ..bulk import in_parts
from ..connection import Writer
from ..schema import bundles, cluster_documents, deployments, options, revisions
from ..triggers.documents import NEXT_REVISION

_c = cluster_documents.c
_NEXT = sa.text(NEXT_REVISION)


def mark_documents_changed(writer: Writer, ids: Collection[ClusterId], now: str) -> set[ClusterId]:
    """Issue the documents of the clusters again at `now` (RFC 3339), each with a new revision.
    Returns the ids.
    """
    values = {"revision": _NEXT, "issued_at": int(unix(now))}
    for part in in_parts(sorted(ids)):
        writer.execute(sa.update(cluster_documents).where(_c.cluster_id.in_(part)).values(**values))
    return set(ids)


def mark_every_document_changed(writer: Writer, now: str) -> None:
    values = {"revision": _NEXT, "issued_at": int(unix(now))}
    writer.execute(sa.update(cluster_documents).values(**values))


def mark_copies_changed(
    writer: Writer, workspace: Workspace, name: str, now: str
) -> set[ClusterId]:
    """Issue the documents again that hold a copy of a Secret or ConfigMap of this name. Returns
    their clusters.

    The bundle's present content does not decide: a cluster may still have an earlier one.
    """
    d, o, b, r = deployments.c, options.c, bundles.c, revisions.c
    key = '"downstreamResources"'
    names = sa.union(
        sa.select(b.name).where(b.workspace == workspace, sa.func.instr(b.spec, key) > 0),
        sa.select(r.bundle).where(r.workspace == workspace, sa.func.instr(r.spec, key) > 0),
    )
    query = (
        sa.select(d.cluster_id)
        .distinct()
        .join(options, o.key == d.options_key)
        .where(
            d.workspace == workspace,
            d.bundle.in_(names),
            d.generation > 0,
            ~d.is_removed,
            sa.func.instr(o.json, key) > 0,
            sa.func.instr(o.json, f'"{name}"') > 0,
        )
    )
    ids = [ClusterId(cluster) for cluster in writer.execute(query).scalars()]
    return mark_documents_changed(writer, ids, now)
