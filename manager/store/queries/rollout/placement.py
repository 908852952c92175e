"""Reads the deployments of a bundle to place them in the partitions of its rollout."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import ClusterId, Workspace

from ...connection import Reader
from ...keys import BundleKey
from ...schema import objects
from ..targeting import TargetRow, cluster_of


class PlacedRow(NamedTuple):
    """A deployment with its place in the order and its partition. `row`: its row id."""

    row: int
    position: int
    partition: int
    cluster: Cluster


_COLUMNS = """
d.rowid AS row, d.position, d.partition, c.id, c.name, c.labels, c.annotations, c.spec
"""


def _statement(text: str) -> sa.TextClause:
    return sa.text(text.format(columns=_COLUMNS))


_ROWS = _statement("""
SELECT {columns}
FROM deployments d INDEXED BY deployments_bundle JOIN clusters c ON c.id = d.cluster_id
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.rowid > :after AND NOT d.is_removed
    AND NOT d.removal_held ORDER BY d.rowid LIMIT :most
""")
_WITHOUT_PARTITION = _statement("""
SELECT {columns}
FROM deployments d INDEXED BY deployments_staged JOIN clusters c ON c.id = d.cluster_id
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.partition = -1 AND d.state = :state
    AND d.staged_key <> '' AND NOT d.is_removed AND NOT d.removal_held
LIMIT :most
""")
_BOUNDS = sa.text("""
SELECT position, cluster_id FROM (
    SELECT position, cluster_id, row_number() OVER (ORDER BY position, cluster_id) AS rank
    FROM deployments INDEXED BY deployments_bundle WHERE workspace = :workspace
        AND bundle = :bundle AND NOT is_removed AND NOT removal_held
) WHERE rank % :step = 0 AND rank < :total ORDER BY rank
""")


def rows_after(reader: Reader, bundle: BundleKey, after: int, limit: int) -> list[PlacedRow]:
    """The next deployments in the order of the rows."""
    return _read(reader, _ROWS, bundle, after=after, most=limit)


def rows_without_partition(
    reader: Reader, bundle: BundleKey, state: str, limit: int
) -> list[PlacedRow]:
    """Staged deployments with a state that have no partition yet."""
    return _read(reader, _WITHOUT_PARTITION, bundle, state=state, most=limit)


def _read(
    reader: Reader, statement: sa.TextClause, bundle: BundleKey, **values: object
) -> list[PlacedRow]:
    values |= {"workspace": bundle[0], "bundle": bundle[1]}
    return [
        PlacedRow(
            row.row,
            row.position,
            row.partition,
            cluster_of(
                TargetRow(row.id, row.name, row.labels, row.annotations, row.spec), bundle[0]
            ),
        )
        for row in reader.execute(statement, values)
    ]


def partition_bounds(
    reader: Reader, bundle: BundleKey, step: int, total: int
) -> list[tuple[int, ClusterId]]:
    """The last place (position, cluster) of each partition of `step` clusters but the last one, of
    `total` clusters.
    """
    if step >= total:
        return []
    values = {"workspace": bundle[0], "bundle": bundle[1], "step": step, "total": total}
    rows = reader.execute(_BOUNDS, values)
    return [(row.position, ClusterId(row.cluster_id)) for row in rows]


def is_repo_paused(reader: Reader, workspace: Workspace, repo: str) -> bool:
    """Whether the GitRepo states `paused: true`."""
    o = objects.c
    query = sa.select(o.spec).where(o.kind == "GitRepo", o.workspace == workspace, o.name == repo)
    text = reader.execute(query).scalar()
    return text is not None and bool(msgspec.json.decode(text).get("paused"))
