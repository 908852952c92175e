"""Reads the rollouts of bundles."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.decide import Phase, Step

from ..bulk import in_parts
from ..connection import Reader
from ..keys import BundleKey, Dirty
from ..schema import batch_jobs, deployments, pins, rollouts


class RolloutPhase(NamedTuple):
    """How far a rollout is. `unsent_count`: the number of clusters that have not received the
    version.
    """

    bundle: BundleName
    phase: str
    reason: str
    commit: str
    unsent_count: int


def rollout_phases(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> list[RolloutPhase]:
    """Return the phases of those of the bundles that have a rollout."""
    r = rollouts.c
    query = sa.select(r.bundle, r.phase, r.reason, r.commit, r.unsent_count).where(
        r.workspace == workspace
    )
    return [
        RolloutPhase(*row)
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(r.bundle.in_(part)))
    ]


class RolloutRow(msgspec.Struct, frozen=True):
    """The rollout of one bundle, in the order of the columns. `partition_plan` and `counts` are
    JSON.
    """

    workspace: Workspace
    bundle: BundleName
    version: int
    commit: str
    started_at: str
    phase: str
    reason: str
    waiting_for: str
    window_override: str
    partition_plan: bytes
    steps: tuple[Step, ...]
    counts: bytes
    wake_at: float
    dirty: int
    unsent_count: int
    last_good_revision: int


_COLUMNS = tuple(rollouts.c[name] for name in RolloutRow.__struct_fields__)


def list_rollouts(
    reader: Reader, workspace: str | None = None, bundle: str = ""
) -> list[RolloutRow]:
    """Sorted by workspace and bundle. An empty filter selects all."""
    r = rollouts.c
    query = sa.select(*_COLUMNS).order_by(r.workspace, r.bundle)
    if workspace:
        query = query.where(r.workspace == workspace)
    if bundle:
        query = query.where(r.bundle == bundle)
    return [_rollout_row(row._asdict()) for row in reader.execute(query)]


def find_rollout(reader: Reader, bundle: BundleKey) -> RolloutRow | None:
    r = rollouts.c
    query = sa.select(*_COLUMNS).where(r.workspace == bundle[0], r.bundle == bundle[1])
    row = reader.execute(query).one_or_none()
    return None if row is None else _rollout_row(row._asdict())


def _rollout_row(columns: dict[str, Any]) -> RolloutRow:
    """An older manager stored fewer items of a step."""
    steps = [Step(*step) for step in msgspec.json.decode(columns["steps"])]
    return RolloutRow(**columns | {"steps": tuple(steps)})


def partition_reasons(reader: Reader, workspace: str | None) -> dict[tuple[str, str, int], str]:
    """What the rollouts wait for, by workspace, bundle and number of the partition."""
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle, r.counts)
    if workspace:
        query = query.where(r.workspace == workspace)
    return {
        (row.workspace, row.bundle, number): count["why"]
        for row in reader.execute(query)
        for number, count in enumerate(msgspec.json.decode(row.counts))
    }


def bundles_in_phase(reader: Reader, workspace: str | None, phase: str) -> set[tuple[str, str]]:
    """Workspace and name of the bundles whose rollouts are in this phase."""
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle).where(r.phase == phase)
    if workspace:
        query = query.where(r.workspace == workspace)
    return {(row.workspace, row.bundle) for row in reader.execute(query)}


class RolloutVersion(NamedTuple):
    """The bundle's generation that a rollout delivers, and its phase."""

    version: int
    phase: Phase
    reason: str


class StoppedRollout(NamedTuple):
    """A rollout that delivers nothing. `ignores_windows`: a person lets it pass closed windows."""

    bundle: BundleName
    ignores_windows: bool


def bundles_with_rollout(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> set[BundleName]:
    return {row.bundle for row in rollout_phases(reader, workspace, names)}


def rollout_versions(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> dict[BundleName, RolloutVersion]:
    """The versions of those of the bundles that have a rollout."""
    r = rollouts.c
    query = sa.select(r.bundle, r.version, r.phase, r.reason).where(r.workspace == workspace)
    return {
        BundleName(row.bundle): RolloutVersion(row.version, Phase(row.phase), row.reason)
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(r.bundle.in_(part)))
    }


def bundles_to_partition(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> set[BundleName]:
    """Those of the bundles whose partitions the next decision makes again."""
    r = rollouts.c
    query = sa.select(r.bundle).where(r.workspace == workspace, r.dirty >= Dirty.PARTITIONS)
    return {
        BundleName(name)
        for part in in_parts(sorted(names))
        for name in reader.execute(query.where(r.bundle.in_(part))).scalars()
    }


def rollouts_that_stopped(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> list[StoppedRollout]:
    """Those of the bundles whose rollout has failed or was aborted."""
    r = rollouts.c
    query = sa.select(r.bundle, r.window_override).where(
        r.workspace == workspace, r.phase.in_([Phase.FAILED.value, Phase.ABORTED.value])
    )
    return [
        StoppedRollout(BundleName(row.bundle), bool(row.window_override))
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(r.bundle.in_(part)))
    ]


# Above this number of clusters, all rollouts that go on are due.
_FEW_CLUSTERS = 500


def due_rollouts(
    reader: Reader, now: float, clusters: Collection[ClusterId] | None, *, with_settled: bool
) -> list[BundleKey]:
    """The rollouts to decide at `now` (Unix seconds), sorted. `clusters`: clusters that became
    silent or are heard again, which no report tells (None: any may have). `with_settled`: also
    rollouts that have nothing left to decide, of which a report changes the counts only.
    """
    r, b = rollouts.c, batch_jobs.c
    is_completed = (r.phase == Phase.COMPLETED.value) & (r.unsent_count == 0) & (r.wake_at == 0)
    is_changed = r.dirty > 0
    if not with_settled:
        is_changed &= ~is_completed
    due = (r.dirty >= Dirty.PARTITIONS) | is_changed | ((r.wake_at > 0) & (r.wake_at <= now))
    if clusters is None or clusters:
        due |= _waits_for_clusters(clusters)
    batch = sa.exists().where((b.workspace == r.workspace) & (b.bundle == r.bundle))
    rows = reader.execute(
        sa.select(r.workspace, r.bundle).where(due & ~batch).order_by(r.workspace, r.bundle)
    )
    return [(Workspace(row.workspace), BundleName(row.bundle)) for row in rows]


def _waits_for_clusters(clusters: Collection[ClusterId] | None) -> sa.ColumnElement[bool]:
    """Whether a cluster that turned silent or heard may change the decision of a rollout."""
    r, d, p = rollouts.c, deployments.c, pins.c
    is_completed = r.phase == Phase.COMPLETED.value
    going = (r.phase == Phase.PROGRESSING.value) | (is_completed & (r.unsent_count > 0))
    # A cluster with its own pin is told also while the rollout has stopped.
    has_pins = sa.exists().where(
        (p.workspace == r.workspace) & (p.bundle == r.bundle) & (p.number > 0)
    )
    going |= (r.unsent_count > 0) & has_pins
    if clusters is not None and len(clusters) <= _FEW_CLUSTERS:
        going &= sa.exists().where(
            (d.workspace == r.workspace) & (d.bundle == r.bundle) & d.cluster_id.in_(clusters)
        )
    return going


def next_wake(reader: Reader) -> float:
    """The earliest time at which time alone changes a decision, Unix seconds; 0 never."""
    r = rollouts.c
    return float(
        reader.execute(sa.select(sa.func.min(r.wake_at)).where(r.wake_at > 0)).scalar() or 0.0
    )
