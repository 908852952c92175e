"""Counts deployments by state and cause in the database: what is Ready is never loaded one by
one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..bulk import in_parts
from ..connection import Reader
from ..counts import ids_text
from ..schema import deployments
from .deployments import DeploymentScope


class ClusterStateCount(NamedTuple):
    """Deployments of one cluster in one state. `is_staged`: a rollout holds back a newer version.
    `is_sent`: the cluster was sent some version. `heeds_windows`: their rollouts wait for the
    cluster's schedule windows.
    """

    cluster_id: str
    state: str
    is_staged: bool
    is_sent: bool
    heeds_windows: bool
    total: int


class UnreadyGroup(NamedTuple):
    """Deployments of one cluster in one state that are not Ready or wait for their rollout; the
    bundle is one of them.
    """

    cluster_id: str
    state: str
    is_staged: bool
    is_sent: bool
    workspace: str
    bundle: str


class CauseGroup(NamedTuple):
    """Deployments of one bundle that are not Ready for the same cause; `cluster_id` is one of
    their clusters. `is_reported`: the agent reported the generation that it was sent. `partition`
    is 0 unless something is staged.
    """

    workspace: str
    repo: str
    bundle: str
    state: str
    is_staged: bool
    is_sent: bool
    is_reported: bool
    partition: int
    cluster_id: str
    total: int


def count_states_by_cluster(
    reader: Reader,
    workspace: str | None,
    ids: Sequence[str] | None,
    heedless_bundles: Collection[tuple[str, str]],
) -> Iterable[ClusterStateCount]:
    """The states of the deployments of these clusters, or (None) of all in the workspace.
    `heedless_bundles`: workspace and name of those whose rollouts ignore schedule windows.
    """
    d = deployments.c
    is_staged, is_sent = (
        (d.staged_key != "").label("is_staged"),
        (d.generation > 0).label("is_sent"),
    )
    heeds: Any = sa.true()
    if heedless_bundles:
        heeds = sa.tuple_(d.workspace, d.bundle).not_in(sorted(heedless_bundles))
    heeds = heeds.label("heeds")
    query = sa.select(d.cluster_id, d.state, is_staged, is_sent, heeds, sa.func.count().label("n"))
    query = query.where(~d.is_removed).group_by(d.cluster_id, d.state, is_staged, is_sent, heeds)
    if ids is not None:
        queries = [query.where(d.cluster_id.in_(part)) for part in in_parts(ids)]
    else:
        queries = [query.where(d.workspace == workspace) if workspace else query]
    for part_query in queries:
        for row in reader.execute(part_query):
            yield ClusterStateCount(
                row[0], row[1], bool(row[2]), bool(row[3]), bool(row[4]), row[5]
            )


# The conditions are those of partial indexes. The statements name the indexes because SQLite would
# rather scan a whole workspace; what is Ready is never read.
_UNREADY = ("deployments_unready", "d.state <> 'Ready'")
_WAITING = ("deployments_staged", "d.staged_key <> '' AND d.state = 'Ready'")
_BY_CLUSTER = """
SELECT d.cluster_id, d.state, d.staged_key <> '', d.generation > 0, d.workspace, d.bundle,
    max(d.generation)
FROM deployments d INDEXED BY {index}
WHERE NOT d.is_removed AND {condition} AND (:workspace = '' OR d.workspace = :workspace)
GROUP BY d.cluster_id, d.state, d.staged_key <> '', d.generation > 0
"""


def unready_by_cluster(reader: Reader, workspace: str | None) -> Iterable[UnreadyGroup]:
    """The deployments that are not Ready or wait for their rollout, by cluster and state."""
    for index, condition in (_UNREADY, _WAITING):
        text = sa.text(_BY_CLUSTER.format(index=index, condition=condition))
        for row in reader.execute(text, {"workspace": workspace or ""}):
            yield UnreadyGroup(row[0], row[1], bool(row[2]), bool(row[3]), row[4], row[5])


# One row for each cause. SQLite gives the other columns of the row that has the minimum. CROSS
# JOIN: the clusters first.
_BY_CAUSE = """
SELECT d.workspace, d.repo, d.bundle, d.state, d.staged_key <> '', d.generation > 0,
    (d.generation > 0 AND d.reported_generation >= d.generation),
    CASE WHEN d.staged_key <> '' THEN d.partition ELSE 0 END,
    min(d.cluster_id), count(*),
    CASE WHEN d.reported_generation >= d.generation THEN d.cause_key ELSE '' END, {windows}
FROM {table} WHERE NOT d.is_removed AND {condition} {where} GROUP BY {keys}
"""
# By number: SQLite takes a name in GROUP BY for the column before it looks for an alias.
_CAUSE_KEYS = "1, 2, 3, 4, 5, 6, 7, 8, 11, 12"
# Clusters under other Schedules wait for another time.
_WINDOWS = (
    "CASE WHEN d.staged_key <> ''"
    " THEN (SELECT c.schedules FROM clusters c WHERE c.id = d.cluster_id) ELSE '' END"
)
_IS_HEARD = "d.cluster_id NOT IN (SELECT value FROM json_each(:silent))"


def group_by_cause(
    reader: Reader,
    scope: DeploymentScope,
    silent: Sequence[Collection[str]],
    *,
    by_cluster: bool,
    by_schedule: bool,
) -> list[CauseGroup]:
    """Groups the deployments of the scope that are not Ready: those of clusters that are heard by
    state and cause; those of each set of `silent` clusters by bundle alone.

    `by_cluster`: groups do not mix clusters. `by_schedule`: they do not mix clusters that wait for
    different Schedules.
    """
    if scope.cluster_ids is not None:
        silent = [set(ids).intersection(scope.cluster_ids) for ids in silent]
    values = _scope_values(scope) | {"silent": ids_text({*set().union(*silent)})}
    # + keeps SQLite from looking up every cluster by the workspace
    column = "d" if scope.cluster_ids is None else "+d"
    conditions = "".join(f" AND {column}.{name} = :{name}" for name in _scope_values(scope))
    suffix = ", d.cluster_id" if by_cluster else ""
    groups: list[CauseGroup] = []
    for index, condition in (_UNREADY, _WAITING):
        text = _BY_CAUSE.format(
            table=_table_of(scope, index),
            condition=f"{condition} AND {_IS_HEARD}",
            where=conditions,
            keys=_CAUSE_KEYS + suffix,
            windows=_WINDOWS if by_schedule else "''",
        )
        groups += _cause_groups(reader, text, values | _cluster_values(scope))
    for ids in filter(None, silent):
        text = _BY_CAUSE.format(
            table="json_each(:silent) j CROSS JOIN deployments d ON d.cluster_id = j.value",
            condition="1",
            # + keeps SQLite from looking up every cluster by the workspace
            where=conditions.replace(" d.", " +d."),
            keys="d.workspace, d.repo, d.bundle" + suffix,
            windows="''",
        )
        groups += _cause_groups(reader, text, values | {"silent": ids_text(ids)})
    return groups


def _table_of(scope: DeploymentScope, index: str) -> str:
    """The deployments of the scope: by the partial `index`, or those of its clusters."""
    if scope.cluster_ids is not None:
        return "json_each(:cluster_ids) j CROSS JOIN deployments d ON d.cluster_id = j.value"
    return "deployments d" if scope.cluster_id else f"deployments d INDEXED BY {index}"


def _cluster_values(scope: DeploymentScope) -> dict[str, str]:
    ids = scope.cluster_ids
    return {} if ids is None else {"cluster_ids": ids_text(ids)}


def _scope_values(scope: DeploymentScope) -> dict[str, str]:
    """The filters of a scope that are set, by column."""
    columns = {
        "workspace": scope.workspace or "",
        "repo": scope.repo,
        "bundle": scope.bundle,
        "cluster_id": scope.cluster_id,
    }
    return {name: value for name, value in columns.items() if value}


def _cause_groups(reader: Reader, text: str, values: dict[str, str]) -> list[CauseGroup]:
    return [
        CauseGroup(
            workspace=row[0],
            repo=row[1],
            bundle=row[2],
            state=row[3],
            is_staged=bool(row[4]),
            is_sent=bool(row[5]),
            is_reported=bool(row[6]),
            partition=row[7],
            cluster_id=row[8],
            total=row[9],
        )
        for row in reader.execute(sa.text(text), values)
    ]
