"""Reads Schedules and which clusters are under them.

Rule: `clusters.schedules` holds the names of the Schedules that select a cluster, joined by commas.
The queries return one list of clusters for each combination of Schedules, since a row of Python for
each of a hundred thousand clusters would cost a second.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.decide import Phase

from ...bulk import in_parts
from ...connection import Reader
from ...keys import BundleKey
from ...schema import clusters, objects, rollouts
from ..targeting import Scope

KIND = "Schedule"
_GOING_PHASES = (Phase.PROGRESSING.value, Phase.COMPLETED.value)


class ScheduledClusters(NamedTuple):
    """The clusters under one combination of Schedules (names joined by commas)."""

    workspace: Workspace
    schedules: str
    clusters: list[ClusterId]


def schedule_texts(reader: Reader, workspace: str) -> dict[str, bytes]:
    """The JSON specs of the Schedules by name, sorted."""
    o = objects.c
    query = (
        sa.select(o.name, o.spec).where(o.kind == KIND, o.workspace == workspace).order_by(o.name)
    )
    return {row.name: row.spec for row in reader.execute(query)}


def has_schedules(reader: Reader, workspace: str | None) -> bool:
    """Whether there is any Schedule, in a workspace or in all: without one no cluster is under
    any.
    """
    o = objects.c
    query = sa.select(o.name).where(o.kind == KIND).limit(1)
    if workspace:
        query = query.where(o.workspace == workspace)
    return reader.execute(query).first() is not None


_ALL = """
SELECT c.workspace, c.schedules, json_group_array(c.id) AS ids
FROM clusters c
WHERE c.schedules <> '' {conditions} GROUP BY 1, 2
"""
_WAITING = """
SELECT c.workspace, c.schedules, json_group_array(c.id) AS ids
FROM deployments d CROSS JOIN clusters c ON c.id = d.cluster_id
WHERE d.staged_key <> '' AND NOT d.is_removed AND c.schedules <> '' {conditions} GROUP BY 1, 2
"""


def clusters_with_schedules(reader: Reader, workspace: str | None) -> list[ScheduledClusters]:
    """All clusters under Schedules, in a workspace or in all."""
    conditions = "AND c.workspace = :workspace" if workspace else ""
    return _read_clusters(reader, _ALL.format(conditions=conditions), workspace=workspace)


def waiting_clusters_with_schedules(
    reader: Reader, workspace: str | None, bundle: BundleName | None
) -> list[ScheduledClusters]:
    """The clusters under Schedules for which something, or a version of the bundle, is staged."""
    conditions = " AND d.workspace = :workspace" if workspace else ""
    conditions += " AND d.bundle = :bundle" if bundle else ""
    text = _WAITING.format(conditions=conditions)
    return _read_clusters(reader, text, workspace=workspace, bundle=bundle)


def _read_clusters(reader: Reader, text: str, **values: str | None) -> list[ScheduledClusters]:
    parameters = {name: value for name, value in values.items() if value}
    return [
        ScheduledClusters(Workspace(row.workspace), row.schedules, msgspec.json.decode(row.ids))
        for row in reader.execute(sa.text(text), parameters)
    ]


_UNDER = sa.text("""
SELECT c.id FROM json_each(:ids) j CROSS JOIN clusters c ON c.id = j.value WHERE c.schedules <> ''
""")


def clusters_under_schedules(reader: Reader, ids: Collection[ClusterId]) -> set[ClusterId]:
    """Those of the clusters that any Schedule selects."""
    values = {"ids": msgspec.json.encode(sorted(ids)).decode()}
    return {ClusterId(row.id) for row in reader.execute(_UNDER, values)}


def schedules_of_clusters(reader: Reader, scope: Scope) -> dict[ClusterId, str]:
    """The names of the Schedules of each cluster of the scope that is under any."""
    c = clusters.c
    query = sa.select(c.id, c.schedules).where(c.schedules != "")
    if scope.clusters is None:
        queries = [query.where(c.workspace == scope.workspace)]
    else:
        queries = [query.where(c.id.in_(part)) for part in in_parts(sorted(scope.clusters))]
    return {
        ClusterId(row.id): row.schedules
        for statement in queries
        for row in reader.execute(statement)
    }


def clusters_by_schedule(reader: Reader, workspace: str) -> dict[str, list[str]]:
    """The names of the clusters that each Schedule selects, sorted."""
    c = clusters.c
    query = (
        sa.select(c.name, c.schedules)
        .where(c.workspace == workspace, c.schedules != "")
        .order_by(c.name)
    )
    members: dict[str, list[str]] = {}
    for row in reader.execute(query):
        for name in row.schedules.split(","):
            members.setdefault(name, []).append(row.name)
    return members


def bundles_ignoring_windows(reader: Reader, workspace: str | None) -> set[BundleKey]:
    """The bundles whose rollout does not wait for a window: a person lets it pass, or it has
    stopped.
    """
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle).where(
        (r.window_override != "") | r.phase.not_in(_GOING_PHASES)
    )
    if workspace:
        query = query.where(r.workspace == workspace)
    return {(Workspace(row.workspace), BundleName(row.bundle)) for row in reader.execute(query)}
