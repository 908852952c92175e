"""Commands for clusters."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId

from ..connection import Writer
from ..queries.targeting import in_parts
from ..schema import clusters


def set_cluster_labels(
    writer: Writer, labels: Mapping[ClusterId, Mapping[str, str]], now: str
) -> None:
    """Replace the labels of clusters; each gets a new generation and a new document."""
    if not labels:
        return
    c = clusters.c
    update = (
        sa.update(clusters)
        .where(c.id == sa.bindparam("i"))
        .values(labels=sa.bindparam("l"), issued=now, generation=c.generation + 1)
    )
    rows = [{"i": cluster, "l": msgspec.json.encode(new)} for cluster, new in labels.items()]
    writer.execute(update, rows)


def mark_documents_changed(writer: Writer, ids: Collection[ClusterId], now: str) -> None:
    """Store that the documents of the clusters changed at `now` (RFC 3339)."""
    c = clusters.c
    for part in in_parts(sorted(ids)):
        writer.execute(sa.update(clusters).where(c.id.in_(part)).values(issued=now))
