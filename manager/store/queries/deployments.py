"""Reads deployments: one row for each cluster and bundle."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Digest, Generation, Workspace

from ..bulk import in_parts, select_values
from ..connection import Reader
from ..keys import ALL_KEYS, KeyRange
from ..rows import columns_of, fetch_all, fetch_first, in_range, without_index
from ..schema import clusters, counts, deployments, options, staged_targets


class DeploymentRow(msgspec.Struct, frozen=True):
    """A bundle on a cluster.

    Generations: `generation` is the one that the cluster was sent (below 1: none), the agent
    reported `reported_generation` and applied `applied_generation`. `staged_key` names what the
    rollout holds back, "" for nothing. `bundle_facts` is the JSON of the bundle's labels,
    `dependsOn` and `paused`. `is_removed`: the cluster was told to remove it. `removal_held`: a
    person must confirm its removal. `sent_at`: Unix seconds, 0 never.
    """

    cluster_id: str
    bundle: str
    workspace: str
    repo: str
    generation: int
    archive: str
    options_digest: str
    target: str
    customization: str
    commit: str
    bundle_facts: bytes
    is_removed: bool
    state: str
    applied_generation: int
    reported_generation: int
    reported_at: str
    message: str
    report: bytes
    staged_key: str
    partition: int
    position: int
    sent_at: int
    resource_counts: str
    removal_held: bool


class DeploymentHistory(msgspec.Struct, frozen=True):
    """What a cluster was sent of one bundle. `state_since` and `first_ready_at` in Unix seconds, 0
    never; `delivery_log` is read by manager/revisions/delivery_log.py.
    """

    bundle: str
    generation: int
    decision: int
    sent_at: int
    state: str
    state_since: int
    first_ready_at: int
    message: str
    reported_generation: int
    commit: str
    delivery_log: str


class DeploymentOnCluster(msgspec.Struct, frozen=True):
    """A deployment with the JSON of its options and the name of its cluster."""

    row: DeploymentRow
    options: bytes
    cluster: str


@dataclass(frozen=True)
class DeploymentScope:
    """Filters of deployments; an empty field selects all. `cluster_id`, `cluster` (its name) and
    `cluster_ids` (None selects all) are alternatives.
    """

    workspace: str | None = None
    repo: str = ""
    bundle: str = ""
    cluster_id: str = ""
    cluster: str = ""
    cluster_ids: tuple[str, ...] | None = None


# A page of a bundle with at most so many deployments is selected by the bundle, then sorted.
_MAX_SORTED = 5000
_COLUMNS = columns_of(DeploymentRow, deployments)
# SQLite scans all deployments for a list of pairs. CROSS JOIN: the keys first.
_REPORTS = sa.text(
    "SELECT d.cluster_id, d.bundle, d.report FROM json_each(:keys) j CROSS JOIN deployments d"
    " ON d.cluster_id = json_extract(j.value, '$[0]') AND d.bundle = json_extract(j.value, '$[1]')"
)
_HISTORY = columns_of(DeploymentHistory, deployments)


def scope_conditions(scope: DeploymentScope) -> list[sa.ColumnElement[bool]]:
    """The conditions of a scope, for the query functions of this package."""
    d, c = deployments.c, clusters.c
    columns = {
        "workspace": d.workspace,
        "repo": d.repo,
        "bundle": d.bundle,
        "cluster_id": d.cluster_id,
    }
    conditions = [
        column == value for name, column in columns.items() if (value := getattr(scope, name))
    ]
    if scope.cluster:
        ids = sa.select(c.id).where(c.name == scope.cluster)
        if scope.workspace:
            ids = ids.where(c.workspace == scope.workspace)
        conditions.append(d.cluster_id.in_(ids))
    if scope.cluster_ids is not None:
        conditions.append(d.cluster_id.in_(select_values(scope.cluster_ids)))
    return conditions


def list_deployments(
    reader: Reader, scope: DeploymentScope, keys: KeyRange = ALL_KEYS
) -> list[DeploymentOnCluster]:
    """Without removals; sorted by workspace, cluster and bundle. The keys are these names."""
    c = clusters.c
    is_selected = scope.cluster_ids is not None
    if not is_selected and not _reads_in_order(reader, scope, keys):
        return _fetch_with_options(reader, scope.workspace, keys, *scope_conditions(scope))
    # The workspace is a condition on the cluster only: SQLite then reads the clusters in their
    # order or by their ids, and the deployments of each by their primary key.
    conditions = scope_conditions(replace(scope, workspace=None))
    if scope.workspace:
        space = without_index(c.workspace) if is_selected else c.workspace
        conditions.append(space == scope.workspace)
    return _fetch_with_options(reader, scope.workspace, keys, *conditions)


def _reads_in_order(reader: Reader, scope: DeploymentScope, keys: KeyRange) -> bool:
    """Whether the rows of the range are better read in their order than selected and sorted."""
    if not keys.limit or scope.cluster:
        return False
    if not (scope.bundle and scope.workspace):
        return True
    return count_deployments_of_bundle(reader, scope.workspace, scope.bundle) > _MAX_SORTED


def deployments_named(reader: Reader, workspace: str, name: str) -> list[DeploymentOnCluster]:
    """The deployments that `CLUSTER.BUNDLE` may mean: either part may have dots in its name."""
    words, c = name.split("."), clusters.c
    bundle_of = {".".join(words[:at]): ".".join(words[at:]) for at in range(1, len(words))}
    query = sa.select(c.id, c.name).where(c.name.in_(bundle_of), c.workspace == workspace)
    keys = [(row.id, bundle_of[row.name]) for row in reader.execute(query)]
    if not keys:
        return []
    d = deployments.c
    is_named = sa.or_(*(sa.and_(d.cluster_id == key[0], d.bundle == key[1]) for key in keys))
    return _fetch_with_options(reader, workspace, ALL_KEYS, is_named)


def _fetch_with_options(
    reader: Reader,
    workspace: str | None,
    keys: KeyRange,
    *conditions: sa.ColumnElement[bool],
) -> list[DeploymentOnCluster]:
    """The deployments that meet the conditions, which include the workspace."""
    d, c, o = deployments.c, clusters.c, options.c
    query: sa.Select[Any] = (
        sa.select(*_COLUMNS, o.json, c.name)
        .select_from(deployments)
        .join(options, d.options_key == o.key)
        .join(clusters, d.cluster_id == c.id)
        .where(~d.is_removed, *conditions)
    )
    columns = (c.name, d.bundle) if workspace else (c.workspace, c.name, d.bundle)
    query = in_range(query, columns, keys)
    if keys.after:
        # the part of the key by which SQLite finds the first cluster
        first_cluster = keys.after[-len(columns) : -1]
        query = query.where(sa.tuple_(*columns[:-1]) >= sa.tuple_(*first_cluster))
    return [
        DeploymentOnCluster(DeploymentRow(*row[:-2]), row[-2], row[-1])
        for row in reader.execute(query)
    ]


def deployments_of_cluster(reader: Reader, cluster_id: str) -> list[DeploymentRow]:
    """All bundles of a cluster by name, removals included."""
    query = sa.select(*_COLUMNS).where(deployments.c.cluster_id == cluster_id)
    return fetch_all(reader, query.order_by(deployments.c.bundle), DeploymentRow)


def find_deployment(reader: Reader, cluster_id: str, bundle: str) -> DeploymentRow | None:
    d = deployments.c
    query = sa.select(*_COLUMNS).where(d.cluster_id == cluster_id, d.bundle == bundle)
    return fetch_first(reader, query, DeploymentRow)


def history_of_cluster(
    reader: Reader, cluster_id: str, bundle: str = ""
) -> list[DeploymentHistory]:
    """What the cluster was sent of each bundle, or of one; removals included."""
    query = sa.select(*_HISTORY).where(deployments.c.cluster_id == cluster_id)
    if bundle:
        query = query.where(deployments.c.bundle == bundle)
    return fetch_all(reader, query, DeploymentHistory)


def count_waiting_before(reader: Reader, row: DeploymentRow) -> int:
    """Clusters of the same partition that have something staged and come before this one."""
    d = deployments.c
    before = (d.position < row.position) | (
        (d.position == row.position) & (d.cluster_id < row.cluster_id)
    )
    query = sa.select(sa.func.count()).where(_same_partition(row), d.staged_key != "", before)
    return int(reader.execute(query).scalar() or 0)


def unhealthy_clusters(reader: Reader, row: DeploymentRow, limit: int) -> list[str]:
    """Names of clusters of the same partition that have the newest version and are neither Ready
    nor Modified.
    """
    d, c = deployments.c, clusters.c
    # the literal condition lets SQLite use the index `deployments_unready`
    unhealthy = sa.text("state <> 'Ready' AND state <> 'Modified'")
    query = (
        sa.select(c.name)
        .join(deployments, d.cluster_id == c.id)
        .where(_same_partition(row), d.staged_key == "", unhealthy)
        .order_by(c.name)
        .limit(limit)
    )
    return list(reader.execute(query).scalars())


def _same_partition(row: DeploymentRow) -> sa.ColumnElement[bool]:
    d = deployments.c
    return sa.and_(
        d.workspace == row.workspace,
        d.bundle == row.bundle,
        d.partition == row.partition,
        ~d.is_removed,
    )


def staged_commit(reader: Reader, staged_key: str) -> str:
    """The commit that a rollout holds back, "" when it is not known."""
    query = sa.select(staged_targets.c.json).where(staged_targets.c.key == staged_key)
    text = reader.execute(query).scalar()
    return str(msgspec.json.decode(text).get("commit", "")) if text else ""


def count_resource_tallies(reader: Reader, scope: DeploymentScope) -> list[tuple[str, int]]:
    """Each tally of objects by state (`Ready=3,NotReady=1`) with the number of deployments."""
    d = deployments.c
    query = (
        sa.select(d.resource_counts, sa.func.count())
        .where(~d.is_removed, *scope_conditions(scope))
        .group_by(d.resource_counts)
    )
    return [(row[0], row[1]) for row in reader.execute(query)]


def reports_of(reader: Reader, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """The JSON of the last reports by cluster id and bundle."""
    values = {"keys": msgspec.json.encode(sorted(keys)).decode()}
    return {(row[0], row[1]): row[2] for row in reader.execute(_REPORTS, values)}


def count_deployments_of_bundle(reader: Reader, workspace: str, bundle: str) -> int:
    """Return the number of deployments of a bundle, without tombstones, from the counts."""
    n = counts.c
    query = sa.select(sa.func.sum(n.n)).where(n.workspace == workspace, n.bundle == bundle)
    return int(reader.execute(query).scalar() or 0)


def count_deployments_of_repo(reader: Reader, workspace: Workspace, repo: str) -> int:
    """Return the number of deployments of a GitRepo's bundles, without tombstones."""
    d = deployments.c
    query = sa.select(sa.func.count()).where(
        d.workspace == workspace, d.repo == repo, ~d.is_removed
    )
    return int(reader.execute(query).scalar_one())


def count_deployments_by_cluster(
    reader: Reader, clusters: Iterable[ClusterId]
) -> dict[ClusterId, int]:
    """Return the number of deployments of each cluster that has any, without tombstones."""
    d = deployments.c
    counts: dict[ClusterId, int] = {}
    for part in in_parts(sorted(clusters)):
        query = (
            sa.select(d.cluster_id, sa.func.count())
            .where(d.cluster_id.in_(part), ~d.is_removed)
            .group_by(d.cluster_id)
        )
        counts |= {ClusterId(row[0]): row[1] for row in reader.execute(query)}
    return counts


def options_texts(reader: Reader, keys: Iterable[str]) -> dict[str, bytes]:
    """Return the JSON of stored options by key."""
    o = options.c
    texts: dict[str, bytes] = {}
    for part in in_parts(sorted(keys)):
        rows = reader.execute(sa.select(o.key, o.json).where(o.key.in_(part)))
        texts |= {row.key: bytes(row.json) for row in rows}
    return texts


def repo_of_deployments(reader: Reader, workspace: Workspace, bundle: BundleName) -> str:
    """Return the GitRepo that the deployments of a bundle name, or ""."""
    d = deployments.c
    query = sa.select(d.repo).where(d.workspace == workspace, d.bundle == bundle).limit(1)
    return reader.execute(query).scalar() or ""


class DesiredRow(msgspec.Struct, frozen=True):
    """What a cluster should have of one bundle. `sent_at`: Unix seconds when it was decided;
    `bundle_facts` and `options` hold JSON.
    """

    bundle: BundleName
    generation: Generation
    archive: Digest
    size: int
    options_digest: Digest
    commit: CommitId
    repo: str
    bundle_facts: bytes
    keep_resources: bool
    is_removed: bool
    correction: int
    sent_at: int
    options: bytes


def desired_rows(reader: Reader, cluster: ClusterId) -> list[DesiredRow]:
    """Return what the cluster should have, tombstones included, by bundle."""
    d = deployments.c
    names = DesiredRow.__struct_fields__[:-1]
    query = (
        sa.select(*(d[name] for name in names), options.c.json)
        .join(options, d.options_key == options.c.key)
        .where(d.cluster_id == cluster, d.generation > 0)
        .order_by(d.bundle)
    )
    return fetch_all(reader, query, DesiredRow)
