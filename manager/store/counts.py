"""How many deployments there are of each sort, and which clusters say nothing: read from the counts
that the store keeps.

Rule: what is counted costs as much as there are sorts, not deployments; what is set apart because
its cluster is silent costs as much as there are such clusters. So a million deployments that are
well are summed up by reading a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from .queries import in_parts
from .schema import clusters, counts


class Sort(NamedTuple):
    """What deployments have in common that are counted together. `held`: a newer version is staged;
    `told`: the cluster was told some version; `answered`: and its agent is done with that one: has
    applied it, or could not.
    """

    workspace: str
    bundle: str
    partition: int
    repo: str
    state: str
    held: bool
    told: bool
    answered: bool


Counts = dict[Sort, int]
K = TypeVar("K", bound=Hashable)
# CROSS JOIN: the clusters first, whatever SQLite makes of their number.
_AMONG = """
SELECT d.workspace, d.bundle, d.partition, d.repo, d.state, d.staged <> '' AS held, d.generation >
    0 AS told,
    (d.generation > 0 AND d.reported >= d.generation
        AND (d.applied >= d.generation OR d.state = 'ErrApplied')) AS answered, count(*)
FROM json_each(:ids) j CROSS JOIN deployments d ON d.cluster_id = j.value
WHERE NOT d.removed AND (:workspace = '' OR d.workspace = :workspace)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_AMONG_ONE = _AMONG.replace("GROUP BY", "AND d.bundle = :bundle GROUP BY")


_HELD_AMONG = """
SELECT d.workspace, d.bundle, d.partition, d.repo, d.state, 1, d.generation > 0, (d.generation > 0
    AND d.reported >= d.generation), count(*)
FROM deployments d WHERE d.staged <> '' AND NOT d.removed
    AND d.cluster_id IN (SELECT value FROM json_each(:ids))
    AND (:workspace = '' OR d.workspace = :workspace) AND (:bundle = '' OR d.bundle = :bundle)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""


def ids_text(ids: Iterable[str]) -> str:
    """Any number of clusters as one parameter, for `json_each`."""
    return msgspec.json.encode(list(ids)).decode()


def every(connection: Connection, workspace: str | None = None, bundle: str = "") -> Counts:
    """All deployments, those that are being removed aside."""
    c = counts.c
    query = sa.select(
        c.workspace, c.bundle, c.partition, c.repo, c.state, c.held, c.told, c.answered, c.n
    ).where(c.n > 0)
    query = query.where(c.workspace == workspace) if workspace else query
    return {
        _sort(row): row[8]
        for row in connection.execute(query.where(c.bundle == bundle) if bundle else query)
    }


def totals(
    connection: Connection, workspace: Workspace, names: Iterable[BundleName]
) -> dict[BundleName, int]:
    """How many there are of each of these bundles, where there are any."""
    c, found = counts.c, dict[BundleName, int]()
    query = (
        sa.select(c.bundle, sa.func.sum(c.n).label("n"))
        .where(c.workspace == workspace, c.n > 0)
        .group_by(c.bundle)
    )
    for part in in_parts(sorted(names)):
        found |= {
            BundleName(row.bundle): row.n
            for row in connection.execute(query.where(c.bundle.in_(part)))
        }
    return found


def among(
    connection: Connection, ids: Collection[str], workspace: str | None = None, bundle: str = ""
) -> Counts:
    """Those of these clusters."""
    if not ids:
        return {}
    values = {"ids": ids_text(ids), "workspace": workspace or "", "bundle": bundle}
    rows = connection.execute(sa.text(_AMONG_ONE if bundle else _AMONG), values)
    return {_sort(row): row[8] for row in rows}


def held_among(
    connection: Connection, ids: Collection[str], workspace: str | None = None, bundle: str = ""
) -> Counts:
    """Those of these clusters for which a newer version is staged."""
    if not ids:
        return {}
    values = {"ids": ids_text(ids), "workspace": workspace or "", "bundle": bundle}
    return {_sort(row): row[8] for row in connection.execute(sa.text(_HELD_AMONG), values)}


def without(found: Counts, others: Mapping[Sort, int]) -> Counts:
    """`found` less those that are counted otherwise."""
    left = {sort: n - others.get(sort, 0) for sort, n in found.items()}
    return {sort: n for sort, n in left.items() if n > 0}


def summed(every: Mapping[Sort, int], key: Callable[[Sort], K]) -> dict[K, int]:
    found: dict[K, int] = {}
    for sort, n in every.items():
        found[key(sort)] = found.get(key(sort), 0) + n
    return found


def without_agent(connection: Connection, workspace: str | None) -> set[ClusterId]:
    """Clusters for which no agent has a key."""
    query = sa.select(clusters.c.id).where(clusters.c.public_key.is_(None))
    return {
        ClusterId(i)
        for i in connection.execute(
            query.where(clusters.c.workspace == workspace) if workspace else query
        ).scalars()
    }


def _sort(row: Any) -> Sort:
    return Sort(row[0], row[1], row[2], row[3], row[4], bool(row[5]), bool(row[6]), bool(row[7]))
