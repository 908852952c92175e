"""What a rollout holds back: staged beside what each cluster has, until it is handed out
(manager/rollout/engine.py).

A bundle has a rollout when it states a `rolloutStrategy`, when it has so many clusters that Fleet
makes partitions of them, or when a person has paused it. Every other bundle is handed out at once.
A newer version replaces what is staged: two versions never mix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change
from fleetctl.core.rollout.decide import Phase

from ..store import Reader, Writer
from ..store.commands.rollout.rollouts import (
    NewRollout,
    mark_rollouts,
    start_rollouts,
)
from ..store.commands.rollout.staged import (
    StagedDeployment,
    stage_deployments,
    unplace_deployments,
)
from ..store.keys import Dirty
from ..store.queries.revisions import BundleVersion, bundle_versions
from ..store.queries.rollout.staged import bundles_on_clusters
from ..store.queries.rollouts import (
    RolloutVersion,
    bundles_with_rollout,
    rollout_versions,
)

# Fleet makes partitions of this many clusters without being asked.
MANY_CLUSTERS = 200


def bundles_with_rollouts(
    reader: Reader,
    workspace: Workspace,
    specs: Iterable[BundleSpec],
    counts: Mapping[BundleName, int],
) -> set[BundleName]:
    """Those of the bundles whose changes go through a rollout. `counts`: clusters of each."""
    names = {spec.name for spec in specs}
    sure = {
        spec.name
        for spec in specs
        if spec.rollout_strategy or counts.get(spec.name, 0) >= MANY_CLUSTERS
    }
    return sure | bundles_with_rollout(reader, workspace, names - sure)


def stage(
    writer: Writer,
    workspace: Workspace,
    changes: Sequence[Change],
    specs: Mapping[BundleName, BundleSpec],
    now: str,
) -> None:
    """Store what the clusters of `changes` should receive (each change is a redeployment), and
    begin the rollouts.
    """
    rows = [
        StagedDeployment(change.key[0], change.key[1], specs[change.key[1]].repo, change.want)
        for change in changes
        if change.want is not None
    ]
    stage_deployments(writer, workspace, rows)
    names = sorted({change.key[1] for change in changes})
    begin_rollouts(writer, workspace, [specs[name] for name in names], now)


def begin_rollouts(
    writer: Writer, workspace: Workspace, specs: Sequence[BundleSpec], now: str
) -> None:
    """Begin the rollouts of the current versions. A rollout of the same version continues. A
    rollout that a person paused stays paused.
    """
    names = [spec.name for spec in specs]
    versions = bundle_versions(writer, workspace, names)
    before = rollout_versions(writer, workspace, names)
    rows = new_rollouts(specs, versions, before)
    start_rollouts(writer, workspace, rows, now)
    current_names = set(names) - {row.bundle for row in rows}
    mark_rollouts(writer, workspace, current_names, Dirty.PARTITIONS)


def new_rollouts(
    specs: Sequence[BundleSpec],
    versions: Mapping[BundleName, BundleVersion],
    before: Mapping[BundleName, RolloutVersion],
) -> list[NewRollout]:
    """The rollouts of those bundles whose version is not the one of their rollout."""
    rows = []
    for spec in specs:
        version = versions[spec.name].generation if spec.name in versions else 0
        previous = before.get(spec.name)
        if previous is not None and previous.version == version:
            continue
        phase, reason = Phase.PROGRESSING, ""
        if previous is not None and previous.phase is Phase.PAUSED:
            phase, reason = Phase.PAUSED, previous.reason
        rows.append(NewRollout(spec.name, version, spec.commit, phase, reason))
    return rows


def mark_rollouts_of_clusters(
    writer: Writer, workspace: str, clusters: Collection[ClusterId]
) -> set[BundleName]:
    """The state of these clusters changed (heard, paused, gone): the rollouts of their bundles are
    decided again. Returns the bundles.
    """
    names = bundles_on_clusters(writer, clusters)
    mark_rollouts(writer, workspace, names)
    return names


def unplace(
    writer: Writer,
    workspace: Workspace,
    clusters: Collection[ClusterId],
    names: Collection[BundleName],
) -> None:
    """These clusters may belong to other partitions of these bundles now."""
    unplace_deployments(writer, clusters, names)
    mark_rollouts(writer, workspace, names, Dirty.PARTITIONS)
