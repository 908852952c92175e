"""Lists the workspaces that hold objects. A workspace exists exactly as long as it holds one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..store.schema import bundles, clusters, objects, registrations


def names(connection: Connection) -> list[str]:
    """Sorted names of all workspaces."""
    queries = [
        sa.select(table.c.workspace) for table in (objects, clusters, bundles, registrations)
    ]
    return sorted(connection.execute(sa.union(*queries)).scalars())
