"""Reads the revisions of the clusters' documents."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId

from ...connection import Reader
from ...schema import cluster_documents

_c = cluster_documents.c
# This query runs for the first request of every cluster: it is built once.
_FIND = sa.select(_c.revision, _c.issued_at).where(_c.cluster_id == sa.bindparam("cluster"))


class DocumentVersion(NamedTuple):
    """`revision` grows with each change of the content; `issued_at` in Unix seconds."""

    revision: int
    issued_at: int


def find_document(reader: Reader, cluster: ClusterId) -> DocumentVersion | None:
    row = reader.execute(_FIND, {"cluster": cluster}).one_or_none()
    return None if row is None else DocumentVersion(*row)


def documents_issued_before(reader: Reader, issued_at: int, limit: int) -> list[ClusterId]:
    """The clusters whose documents were issued first, of those before a time (Unix seconds)."""
    query = sa.select(_c.cluster_id).where(_c.issued_at < issued_at)
    rows = reader.execute(query.order_by(_c.issued_at).limit(limit))
    return [ClusterId(cluster) for cluster in rows.scalars()]


def count_documents(reader: Reader) -> int:
    return int(
        reader.execute(sa.select(sa.func.count()).select_from(cluster_documents)).scalar_one()
    )
