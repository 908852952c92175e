"""People's commands to a rollout (docs/rollouts.md). manager/rollout/engine.py decides what they
mean for the clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.rollout.decide import Phase, Step, Tally, failure
from fleetctl.core.rollout.strategy import Policy

from ..clock import rfc3339
from ..rollout import schedules
from ..rollout.partitions import shape_of
from ..rollout.staging import begin_rollouts
from ..store import Reader, Writer
from ..store.commands.rollout.rollouts import RolloutChange, change_rollout
from ..store.keys import BundleKey
from ..store.queries import Scope, bundle_specs
from ..store.queries.rollouts import RolloutRow, find_rollout


class PartitionCounts(msgspec.Struct, frozen=True):
    """Of the counts that the last decision stored for a partition: how many clusters could not
    apply the version, and whether the partition waits for an approval.
    """

    failed: int = 0
    asks: bool = False


def command(
    writer: Writer,
    workspace: Workspace,
    bundle: BundleName,
    verb: str,
    reason: str,
    now: float,
) -> None:
    """`pause`, `resume`, `abort`, `approve` or `ignore-windows`. Raises NotFound, RefusedError,
    UsageError.
    """
    key = workspace, bundle
    spec = _find_spec(writer, key)
    rollout = find_rollout(writer, key)
    if rollout is None:
        if verb != "pause":
            raise _no_rollout(bundle)
        begin_rollouts(writer, workspace, [spec], rfc3339(now))
        rollout = find_rollout(writer, key)
        assert rollout is not None
    change_rollout(writer, key, decide_change(rollout, verb, reason))


def _find_spec(reader: Reader, bundle: BundleKey) -> BundleSpec:
    specs = bundle_specs(reader, Scope(bundle[0], bundles=[bundle[1]]))
    if specs:
        return specs[0]
    raise NotFound(
        f"bundle {bundle[1]} does not exist in workspace {bundle[0]}",
        subject=f"bundle {bundle[1]}",
        next_step="See `fleetctl get bundles`.",
    )


def _no_rollout(bundle: BundleName) -> RefusedError:
    return RefusedError(
        f"bundle {bundle} has no rollout",
        subject=f"bundle {bundle}",
        next_step=(
            "It has no rolloutStrategy, so it is delivered at once; `fleetctl rollout"
            " pause` holds the next change."
        ),
    )


def decide_change(rollout: RolloutRow, verb: str, reason: str) -> RolloutChange:
    """What the command changes. Raises RefusedError, UsageError."""
    return _VERBS.get(verb, _approve)(rollout, reason)


def _pause(rollout: RolloutRow, reason: str) -> RolloutChange:
    return RolloutChange(phase=Phase.PAUSED, reason=reason, wake_at=0.0)


def _abort(rollout: RolloutRow, reason: str) -> RolloutChange:
    if rollout.phase == Phase.COMPLETED.value and not rollout.unsent_count:
        raise RefusedError(
            f"the rollout of {rollout.bundle} is completed: all clusters have the version",
            subject=f"rollout of {rollout.bundle}",
            next_step=f"Go back with `fleetctl rollback {rollout.bundle}`.",
        )
    return RolloutChange(phase=Phase.ABORTED, reason=reason, wake_at=0.0)


def _ignore_windows(rollout: RolloutRow, reason: str) -> RolloutChange:
    return RolloutChange(window_override=schedules.check_reason(rollout.bundle, reason))


def _resume(rollout: RolloutRow, reason: str) -> RolloutChange:
    """Forgives what made the rollout fail: the clocks of unfinished partitions start again."""
    phase = Phase(rollout.phase)
    if phase not in {Phase.PAUSED, Phase.FAILED, Phase.ABORTED}:
        raise RefusedError(
            f"the rollout of {rollout.bundle} is {phase.value}, not paused",
            subject=f"rollout of {rollout.bundle}",
            next_step=rollout.waiting_for or "No action is needed.",
        )
    return RolloutChange(phase=Phase.PROGRESSING, reason="", steps=_forgive_steps(rollout))


def _approve(rollout: RolloutRow, reason: str) -> RolloutChange:
    """Approves a partition only if it waits for nothing else: approving a partition whose canary
    has not run yet would be worth nothing.
    """
    asking = [number for number, count in enumerate(_counts(rollout)) if count.asks]
    if not asking:
        step = "See `fleetctl rollout status`."
        if rollout.waiting_for:
            step = f"It waits for something else: {rollout.waiting_for}."
        raise RefusedError(
            f"the rollout of {rollout.bundle} waits for no approval",
            subject=f"rollout of {rollout.bundle}",
            next_step=step,
        )
    number = asking[0]
    steps = _steps(rollout, number + 1)
    steps[number] = replace(steps[number], approved=True)
    return RolloutChange(steps=steps)


_VERBS: Mapping[str, Callable[[RolloutRow, str], RolloutChange]] = {
    "pause": _pause,
    "abort": _abort,
    "ignore-windows": _ignore_windows,
    "resume": _resume,
    "approve": _approve,
}


def _forgive_steps(rollout: RolloutRow) -> list[Step]:
    """The steps of a rollout that goes on. If it has failed, the clusters that could not apply the
    version do not count again.
    """
    counts = _counts(rollout)
    steps = _steps(rollout, len(counts))
    policy = Policy(**shape_of(rollout.partition_plan).policy)
    if failure([Tally(failed=count.failed) for count in counts], steps, policy):
        steps = [
            replace(step, accepted=max(step.accepted, count.failed))
            for step, count in zip(steps, counts, strict=False)
        ]
    return [
        step if step.finished else replace(step, opened=0.0, idle=0.0, idle_since=0.0)
        for step in steps
    ]


def _steps(rollout: RolloutRow, least: int) -> list[Step]:
    """The steps of the rollout, at least so many."""
    steps = list(rollout.steps)
    return steps + [Step()] * (least - len(steps))


def _counts(rollout: RolloutRow) -> list[PartitionCounts]:
    return msgspec.json.decode(rollout.counts, type=list[PartitionCounts])
