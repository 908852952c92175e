"""What people say to a rollout (docs/rollouts.md). What it means for the clusters is decided by
manager/rollout/engine.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.rollout.decide import Phase, Step, Tally, failure
from fleetctl.core.rollout.strategy import Policy

from ..clock import rfc3339
from ..rollout import schedules
from ..rollout.engine import stored
from ..rollout.partitions import shape_of
from ..rollout.staging import AGAIN, begin
from ..store.queries import Scope, bundle_specs
from ..store.schema import rollouts

_json = msgspec.json.encode


def command(
    connection: Connection,
    workspace: Workspace,
    bundle: BundleName,
    verb: str,
    reason: str,
    now: float,
) -> None:
    """`pause`, `resume`, `abort`, `approve` or `ignore-windows`. Raises NotFound, RefusedError,
    UsageError.
    """
    r = rollouts.c
    spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
    if spec is None:
        summary = f"bundle {bundle} does not exist in workspace {workspace}"
        raise NotFound(summary, subject=f"bundle {bundle}", next_step="See `fleetctl get bundles`.")
    where = (r.workspace == workspace) & (r.bundle == bundle)
    row = connection.execute(sa.select(rollouts).where(where)).one_or_none()
    if row is None:
        if verb != "pause":
            step = (
                "It has no rolloutStrategy, and is handed out at once; `fleetctl rollout pause`"
                " holds the next change."
            )
            raise RefusedError(
                f"bundle {bundle} has no rollout", subject=f"bundle {bundle}", next_step=step
            )
        begin(connection, workspace, spec, rfc3339(now))
        row = connection.execute(sa.select(rollouts).where(where)).one()
    connection.execute(
        sa.update(rollouts)
        .where(where)
        .values(**_said(row, verb, reason), dirty=sa.func.max(r.dirty, AGAIN))
    )


def _said(row: Any, verb: str, reason: str) -> dict[str, Any]:
    phase = Phase(row.phase)
    subject = f"rollout of {row.bundle}"
    if verb == "pause":
        return {"phase": Phase.PAUSED.value, "reason": reason, "wake": 0.0}
    if verb == "abort":
        if phase is Phase.COMPLETED and not row.silent:
            step = f"Go back with `fleetctl rollback {row.bundle}`."
            raise RefusedError(
                f"the rollout of {row.bundle} is completed: all clusters have the version",
                subject=subject,
                next_step=step,
            )
        return {"phase": Phase.ABORTED.value, "reason": reason, "wake": 0.0}
    if verb == "ignore-windows":
        return schedules.ignore(row.bundle, reason)
    if verb == "resume":
        if phase not in {Phase.PAUSED, Phase.FAILED, Phase.ABORTED}:
            step = row.waiting or "No action is needed."
            raise RefusedError(
                f"the rollout of {row.bundle} is {phase.value}, not paused",
                subject=subject,
                next_step=step,
            )
        # What made it fail is forgiven: the clocks of the partitions that are not finished start
        # anew.
        return {"phase": Phase.PROGRESSING.value, "reason": "", "steps": _json(_forgiven(row))}
    # Only what waits for nothing else is approved: a yes to a canary that has not run yet would be
    # worth nothing.
    counts = msgspec.json.decode(row.counts)
    asked = next((at for at, count in enumerate(counts) if count.get("asks")), None)
    if asked is None:
        step = (
            f"It waits for something else: {row.waiting}."
            if row.waiting
            else "See `fleetctl rollout status`."
        )
        raise RefusedError(
            f"the rollout of {row.bundle} waits for no approval", subject=subject, next_step=step
        )
    steps = [Step(*item) for item in msgspec.json.decode(row.steps)]
    steps += [Step()] * (asked + 1 - len(steps))
    steps[asked] = replace(steps[asked], approved=True)
    return {"steps": _json([stored(step) for step in steps])}


def _forgiven(row: Any) -> list[list[Any]]:
    """The steps of a rollout that goes on. Of one that has failed, those that could not apply it do
    not count again.
    """
    counts, steps = (
        msgspec.json.decode(row.counts),
        [Step(*item) for item in msgspec.json.decode(row.steps)],
    )
    steps += [Step()] * (len(counts) - len(steps))
    tallies = [Tally(failed=count["failed"]) for count in counts]
    policy = Policy(**shape_of(row.shape).policy)
    if failure(tallies, steps, policy):
        steps = [
            replace(step, accepted=max(step.accepted, tally.failed))
            for step, tally in zip(steps, tallies, strict=False)
        ]
    return [
        stored(step if step.finished else replace(step, opened=0.0, idle=0.0, idle_since=0.0))
        for step in steps
    ]
