"""Writes stored Secrets and ConfigMaps."""

from __future__ import annotations

import sqlalchemy as sa

from ..connection import Writer
from ..queries.secrets import SealedRow
from ..schema import objects


def set_extra(writer: Writer, rows: list[SealedRow]) -> None:
    """Store the `extra` of these rows."""
    o = objects.c
    where = (
        (o.kind == sa.bindparam("row_kind"))
        & (o.workspace == sa.bindparam("row_workspace"))
        & (o.name == sa.bindparam("row_name"))
    )
    values = [
        {"row_kind": r.kind, "row_workspace": r.workspace, "row_name": r.name, "extra": r.extra}
        for r in rows
    ]
    if values:
        writer.execute(sa.update(objects).where(where).values(extra=sa.bindparam("extra")), values)
