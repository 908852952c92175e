"""Writes the rollouts of bundles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.rollout.decide import Phase, Step

from ...bulk import in_parts
from ...connection import Writer
from ...keys import BundleKey, Dirty
from ...schema import batch_jobs, bundles, revisions, rollouts

# Nearly every report marks a rollout: the statement is built and compiled once.
_MARK = (
    sa.update(rollouts)
    .where(
        rollouts.c.workspace == sa.bindparam("space"), rollouts.c.bundle == sa.bindparam("named")
    )
    .values(dirty=sa.func.max(rollouts.c.dirty, sa.bindparam("level")))
)


class NewRollout(msgspec.Struct, frozen=True):
    """The rollout of a version that begins. `version`: the generation of the bundle."""

    bundle: BundleName
    version: int
    commit: str
    phase: Phase
    reason: str


def start_rollouts(
    writer: Writer, workspace: Workspace, rows: Sequence[NewRollout], now: str
) -> None:
    """Start a rollout for each of the bundles; it takes the place of the previous one."""
    if not rows:
        return
    blank = {
        "waiting_for": "",
        "window_override": "",
        "steps": b"[]",
        "counts": b"[]",
        "wake_at": 0.0,
    }
    head = blank | {"started_at": now, "dirty": Dirty.PARTITIONS, "workspace": workspace}
    # Only a bundle without a rollout gets these two; a new version keeps them.
    first = {"partition_plan": b"null", "unsent_count": 0}
    values = [
        head | first | msgspec.structs.asdict(row) | {"phase": row.phase.value} for row in rows
    ]
    adding = insert(rollouts)
    constant_columns = {"workspace", "bundle", *first}
    changes = {name: adding.excluded[name] for name in values[0] if name not in constant_columns}
    writer.execute(
        adding.on_conflict_do_update(index_elements=["workspace", "bundle"], set_=changes), values
    )


def mark_rollouts(
    writer: Writer, workspace: str, names: Iterable[str], level: Dirty = Dirty.DECISION
) -> bool:
    """The next decision looks at the rollouts of these bundles again. Returns whether there are
    any.
    """
    rows = [{"space": workspace, "named": name, "level": level} for name in sorted(names)]
    return bool(rows) and writer.execute(_MARK, rows).rowcount > 0


def mark_rollouts_of_workspace(writer: Writer, workspace: Workspace) -> None:
    r = rollouts.c
    writer.execute(
        sa.update(rollouts)
        .where(r.workspace == workspace)
        .values(dirty=sa.func.max(r.dirty, Dirty.DECISION))
    )


def resume_rollout(writer: Writer, bundle: BundleKey) -> bool:
    """Ends the pause of a person. Returns whether there was one."""
    r = rollouts.c
    update = (
        sa.update(rollouts)
        .where(r.workspace == bundle[0], r.bundle == bundle[1], r.phase == Phase.PAUSED.value)
        .values(phase=Phase.PROGRESSING.value, reason="")
    )
    return writer.execute(update).rowcount > 0


def restart_rollouts(writer: Writer, workspace: Workspace, names: Iterable[BundleName]) -> None:
    """Begin again at the first partition, under the same version. A rollout that has failed or was
    aborted stays as it is.
    """
    r = rollouts.c
    end_phases = (Phase.FAILED.value, Phase.ABORTED.value)
    phase = sa.case((r.phase == Phase.COMPLETED.value, Phase.PROGRESSING.value), else_=r.phase)
    for part in in_parts(sorted(names)):
        condition = (r.workspace == workspace) & r.bundle.in_(part) & r.phase.not_in(end_phases)
        writer.execute(
            sa.update(rollouts)
            .where(condition)
            .values(phase=phase, steps=b"[]", wake_at=0.0, dirty=Dirty.PARTITIONS)
        )


def delete_rollouts(writer: Writer, workspace: Workspace, names: Collection[BundleName]) -> None:
    """Delete the rollouts of bundles that no longer exist, and their batches."""
    for table in (rollouts, batch_jobs):
        for part in in_parts(sorted(names)):
            writer.execute(
                sa.delete(table).where(table.c.workspace == workspace, table.c.bundle.in_(part))
            )


def set_wake(writer: Writer, bundle: BundleKey, wake_at: float) -> None:
    """Decide again at `wake_at` (Unix seconds), 0 never."""
    _update(writer, bundle, wake_at=wake_at)


class RolloutProgress(msgspec.Struct, frozen=True):
    """What a decision stores. `partition_plan`, `counts`: JSON; `unsent_count`: how many clusters
    still have to be told.
    """

    phase: Phase
    reason: str
    waiting_for: str
    steps: Sequence[Step]
    partition_plan: bytes
    counts: bytes
    wake_at: float
    dirty: Dirty
    unsent_count: int


def store_progress(writer: Writer, bundle: BundleKey, progress: RolloutProgress) -> None:
    values: dict[str, object] = msgspec.structs.asdict(progress)
    values |= {"phase": progress.phase.value, "steps": encode_steps(progress.steps)}
    _update(writer, bundle, **values)


def store_partition_plan(writer: Writer, bundle: BundleKey, plan: bytes, dirty: Dirty) -> None:
    """Store a partition plan that is not complete yet."""
    _update(writer, bundle, partition_plan=plan, dirty=dirty)


def mark_good_revision(writer: Writer, bundle: BundleKey) -> None:
    """The revision that clusters should have now is known to work."""
    b, v = bundles.c, revisions.c
    pin = sa.select(sa.func.nullif(b.pinned_revision, 0)).where(
        b.workspace == bundle[0], b.name == bundle[1]
    )
    newest = sa.select(sa.func.max(v.number)).where(v.workspace == bundle[0], v.bundle == bundle[1])
    number = sa.func.coalesce(pin.scalar_subquery(), newest.scalar_subquery(), 0)
    _update(writer, bundle, last_good_revision=number)


class RolloutChange(msgspec.Struct, frozen=True):
    """What a person's command changes; None: nothing of that."""

    phase: Phase | None = None
    reason: str | None = None
    wake_at: float | None = None
    steps: Sequence[Step] | None = None
    window_override: str | None = None


def change_rollout(writer: Writer, bundle: BundleKey, change: RolloutChange) -> None:
    """Apply a person's command; the rollout is decided again."""
    values: dict[str, object] = {
        name: value for name, value in msgspec.structs.asdict(change).items() if value is not None
    }
    if change.phase is not None:
        values["phase"] = change.phase.value
    if change.steps is not None:
        values["steps"] = encode_steps(change.steps)
    values["dirty"] = sa.func.max(rollouts.c.dirty, Dirty.DECISION)
    _update(writer, bundle, **values)


def encode_steps(steps: Sequence[Step]) -> bytes:
    """Each step as a list, the inverse of `Step(*list)`."""
    return msgspec.json.encode(
        [
            [step.opened, step.finished, step.approved, step.accepted, step.idle, step.idle_since]
            for step in steps
        ]
    )


def _update(writer: Writer, bundle: BundleKey, **values: object) -> None:
    r = rollouts.c
    writer.execute(
        sa.update(rollouts).where(r.workspace == bundle[0], r.bundle == bundle[1]).values(**values)
    )
