"""Reads staged versions: what a rollout holds back from each cluster until it may have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Want

from ...bulk import in_parts
from ...connection import Reader
from ...counts import CountKey, ids_text
from ...keys import BundleKey
from ...schema import deployments, staged_targets


def archives_of_staged(reader: Reader) -> set[str]:
    """The archives of all staged versions; a bundle may no longer name them."""
    return {
        msgspec.json.decode(text, type=Want).archive
        for text in reader.execute(sa.select(staged_targets.c.json)).scalars()
    }


def clusters_never_told(reader: Reader, bundle: BundleKey) -> frozenset[ClusterId]:
    """The clusters that wait for the bundle and were never told any version of it."""
    d = deployments.c
    query = sa.select(d.cluster_id).where(
        d.workspace == bundle[0],
        d.bundle == bundle[1],
        d.staged_key != "",
        d.generation < 1,
        ~d.is_removed,
    )
    return frozenset(ClusterId(cluster) for cluster in reader.execute(query).scalars())


def bundles_on_clusters(reader: Reader, clusters: Collection[ClusterId]) -> set[BundleName]:
    """The bundles that any of the clusters has, without tombstones."""
    d = deployments.c
    query = sa.select(d.bundle).distinct().where(~d.is_removed)
    return {
        BundleName(name)
        for part in in_parts(sorted(clusters))
        for name in reader.execute(query.where(d.cluster_id.in_(part))).scalars()
    }


class Candidate(NamedTuple):
    """A deployment with a staged version. `row`: its row id; `staged_key`: the key of that version;
    `count_key`: how it is counted now.
    """

    row: int
    cluster: ClusterId
    staged_key: str
    position: int
    count_key: CountKey


# `is_current` as the count triggers compute it.
_CANDIDATE = """
d.rowid AS row, d.cluster_id, d.staged_key, d.position, d.workspace, d.bundle, d.partition, d.repo,
d.state, d.generation > 0 AS is_sent,
(d.generation > 0 AND d.reported_generation >= d.generation
    AND (d.applied_generation >= d.generation OR d.state = 'ErrApplied')) AS is_current
"""
_IS_STAGED = "d.staged_key <> '' AND NOT d.is_removed AND NOT d.removal_held"


def _statement(text: str) -> sa.TextClause:
    return sa.text(text.format(candidate=_CANDIDATE, staged=_IS_STAGED))


_BY_ROW = _statement("""
SELECT {candidate} FROM deployments d INDEXED BY deployments_bundle
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.rowid > :after AND {staged}
    AND d.partition IN (SELECT value FROM json_each(:partitions))
    AND d.cluster_id NOT IN (SELECT value FROM json_each(:excluded))
ORDER BY d.rowid LIMIT :most
""")
_IN_ORDER = _statement("""
SELECT {candidate} FROM deployments d INDEXED BY deployments_staged
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.partition = :partition
    AND d.state = :state AND {staged} AND (d.generation > 0) = :is_sent
    AND d.cluster_id NOT IN (SELECT value FROM json_each(:excluded))
ORDER BY d.order_block, d.position, d.cluster_id LIMIT :most
""")
_OF_CLUSTERS = _statement("""
SELECT {candidate} FROM json_each(:ids) j CROSS JOIN deployments d
    ON d.cluster_id = j.value AND d.bundle = :bundle
WHERE d.workspace = :workspace AND {staged} AND d.generation > 0
ORDER BY d.partition, d.position, d.cluster_id
""")
_WAITING = _statement("""
SELECT d.cluster_id FROM json_each(:ids) j CROSS JOIN deployments d
    ON d.cluster_id = j.value AND d.bundle = :bundle
WHERE d.workspace = :workspace AND {staged}
""")


class Range(NamedTuple):
    """A part of a bundle's staged deployments: at most `limit`, without the clusters of `exclusion`
    (JSON).
    """

    bundle: BundleKey
    exclusion: str
    limit: int


def candidates_by_row(
    reader: Reader, part: Range, partitions: Sequence[int], after: int
) -> list[Candidate]:
    """Those of the partitions in the order of the rows, after a row: touches each page once."""
    text = msgspec.json.encode(partitions).decode()
    return _candidates(reader, _BY_ROW, part, partitions=text, after=after)


def candidates_in_order(
    reader: Reader, part: Range, partition: int, state: str, *, is_sent: bool
) -> list[Candidate]:
    """Those of a partition with a state, in the order of the rollout. `is_sent`: the cluster was
    told some version.
    """
    return _candidates(reader, _IN_ORDER, part, partition=partition, state=state, is_sent=is_sent)


def _candidates(
    reader: Reader, statement: sa.TextClause, part: Range, **values: object
) -> list[Candidate]:
    workspace, bundle = part.bundle
    values |= {"workspace": workspace, "bundle": bundle, "excluded": part.exclusion}
    return _read_candidates(reader, statement, values | {"most": part.limit})


def candidates_of_clusters(
    reader: Reader, bundle: BundleKey, clusters: Collection[ClusterId]
) -> list[Candidate]:
    """Those of the clusters that were told some version before, in the order of the rollout."""
    if not clusters:
        return []
    values = {"ids": ids_text(clusters), "workspace": bundle[0], "bundle": bundle[1]}
    return _read_candidates(reader, _OF_CLUSTERS, values)


def _read_candidates(
    reader: Reader, statement: sa.TextClause, values: Mapping[str, Any]
) -> list[Candidate]:
    return [
        Candidate(
            row.row,
            ClusterId(row.cluster_id),
            row.staged_key,
            row.position,
            CountKey(
                row.workspace,
                row.bundle,
                row.partition,
                row.repo,
                row.state,
                is_staged=True,
                is_sent=bool(row.is_sent),
                is_current=bool(row.is_current),
            ),
        )
        for row in reader.execute(statement, values)
    ]


def waiting_clusters(
    reader: Reader, bundle: BundleKey, clusters: Collection[ClusterId]
) -> list[ClusterId]:
    """Those of the clusters for which a version of the bundle is staged."""
    if not clusters:
        return []
    values = {"ids": ids_text(clusters), "workspace": bundle[0], "bundle": bundle[1]}
    return [ClusterId(row[0]) for row in reader.execute(_WAITING, values)]


def wants_by_key(reader: Reader, keys: Collection[str]) -> dict[str, Want]:
    """The staged versions by key."""
    query = sa.select(staged_targets.c.key, staged_targets.c.json)
    return {
        row.key: msgspec.json.decode(row.json, type=Want)
        for part in in_parts(sorted(keys))
        for row in reader.execute(query.where(staged_targets.c.key.in_(part)))
    }
