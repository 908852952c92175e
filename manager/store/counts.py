"""Reads how many deployments there are with the same key, from the counts that triggers keep.

Rule: a count costs as much as there are different keys, not deployments; counting on given
clusters costs as much as there are deployments on them. So a million deployments that are Ready
are summed up by reading a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from .bulk import in_parts
from .connection import Reader
from .schema import counts


class CountKey(NamedTuple):
    """What deployments that are counted together have in common. `is_staged`: a rollout holds back
    a newer version. `is_sent`: the cluster was sent some version. `is_current`: its agent applied
    that version or failed to.
    """

    workspace: str
    bundle: str
    partition: int
    repo: str
    state: str
    is_staged: bool
    is_sent: bool
    is_current: bool


Counts: TypeAlias = dict[CountKey, int]
K = TypeVar("K", bound=Hashable)
# CROSS JOIN: the clusters first, whatever SQLite makes of their number.
_ON_CLUSTERS = """
SELECT d.workspace, d.bundle, d.partition, d.repo, d.state, d.staged_key <> '', d.generation > 0,
    (d.generation > 0 AND d.reported_generation >= d.generation
        AND (d.applied_generation >= d.generation OR d.state = 'ErrApplied')), count(*)
FROM json_each(:ids) j CROSS JOIN deployments d ON d.cluster_id = j.value
WHERE NOT d.is_removed AND (:workspace = '' OR d.workspace = :workspace)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_OF_BUNDLE_ON_CLUSTERS = _ON_CLUSTERS.replace("GROUP BY", "AND d.bundle = :bundle GROUP BY")
_STAGED_ON_CLUSTERS = """
SELECT d.workspace, d.bundle, d.partition, d.repo, d.state, 1, d.generation > 0, (d.generation > 0
    AND d.reported_generation >= d.generation), count(*)
FROM deployments d WHERE d.staged_key <> '' AND NOT d.is_removed
    AND d.cluster_id IN (SELECT value FROM json_each(:ids))
    AND (:workspace = '' OR d.workspace = :workspace) AND (:bundle = '' OR d.bundle = :bundle)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""


def ids_text(ids: Iterable[str]) -> str:
    """Any number of clusters as one parameter, for `json_each`."""
    return msgspec.json.encode(list(ids)).decode()


def count_deployments(reader: Reader, workspace: str | None = None, bundle: str = "") -> Counts:
    """All deployments without those that are being removed; an empty filter selects all."""
    c = counts.c
    query = sa.select(
        c.workspace,
        c.bundle,
        c.partition,
        c.repo,
        c.state,
        c.is_staged,
        c.is_sent,
        c.is_current,
        c.n,
    ).where(c.n > 0)
    if workspace:
        query = query.where(c.workspace == workspace)
    if bundle:
        query = query.where(c.bundle == bundle)
    return _counts_of(reader.execute(query))


def count_by_bundle(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName] | None = None
) -> dict[BundleName, int]:
    """The number of deployments of each of these bundles that has any; None: of all bundles."""
    c = counts.c
    query = (
        sa.select(c.bundle, sa.func.sum(c.n).label("n"))
        .where(c.workspace == workspace, c.n > 0)
        .group_by(c.bundle)
    )
    queries = [query]
    if names is not None:
        queries = [query.where(c.bundle.in_(part)) for part in in_parts(sorted(names))]
    return {BundleName(row.bundle): row.n for query in queries for row in reader.execute(query)}


def count_on_clusters(
    reader: Reader, ids: Collection[str], workspace: str | None = None, bundle: str = ""
) -> Counts:
    """The deployments on these clusters."""
    if not ids:
        return {}
    text = _OF_BUNDLE_ON_CLUSTERS if bundle else _ON_CLUSTERS
    values = {"ids": ids_text(ids), "workspace": workspace or "", "bundle": bundle}
    return _counts_of(reader.execute(sa.text(text), values))


def count_staged_on_clusters(
    reader: Reader, ids: Collection[str], workspace: str | None = None, bundle: str = ""
) -> Counts:
    """The deployments on these clusters for which a newer version is staged."""
    if not ids:
        return {}
    values = {"ids": ids_text(ids), "workspace": workspace or "", "bundle": bundle}
    return _counts_of(reader.execute(sa.text(_STAGED_ON_CLUSTERS), values))


def subtract_counts(totals: Mapping[CountKey, int], part: Mapping[CountKey, int]) -> Counts:
    """`totals` without the deployments of `part`."""
    rest = {key: number - part.get(key, 0) for key, number in totals.items()}
    return {key: number for key, number in rest.items() if number > 0}


def sum_counts(totals: Mapping[CountKey, int], group: Callable[[CountKey], K]) -> dict[K, int]:
    """The numbers of deployments by what `group` returns for their keys."""
    sums: dict[K, int] = {}
    for key, number in totals.items():
        sums[group(key)] = sums.get(group(key), 0) + number
    return sums


def _counts_of(rows: Iterable[Sequence[Any]]) -> Counts:
    """Rows with the columns of CountKey and the number."""
    return {
        CountKey(
            workspace=row[0],
            bundle=row[1],
            partition=row[2],
            repo=row[3],
            state=row[4],
            is_staged=bool(row[5]),
            is_sent=bool(row[6]),
            is_current=bool(row[7]),
        ): row[8]
        for row in rows
    }
