"""What people say to a rollout: pause, resume, approve, abort. What it means for the clusters is decided by manager/rollouts.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.errors import NotFound, RefusedError
from fleetctl.core.ids import BundleName, Workspace
from fleetctl.core.rollout import Phase, Step
from manager.clock import rfc3339
from manager.gathering import Scope, bundle_specs
from manager.rollouts import Shape, stored
from manager.staging import AGAIN, begin
from manager.store.schema import rollouts

_json = msgspec.json.encode


def command(connection: Connection, workspace: Workspace, bundle: BundleName, verb: str, reason: str, now: float) -> None:
    """`pause`, `resume`, `abort` or `approve`. Raises NotFound, RefusedError."""
    r = rollouts.c
    spec = next(iter(bundle_specs(connection, Scope(workspace, bundles=[bundle]))), None)
    if spec is None:
        raise NotFound(
            f"bundle {bundle} does not exist in workspace {workspace}", subject=f"bundle {bundle}", next_step="fleetctl get bundles"
        )
    where = (r.workspace == workspace) & (r.bundle == bundle)
    row = connection.execute(sa.select(rollouts).where(where)).one_or_none()
    if row is None:
        if verb != "pause":
            step = "It has no rolloutStrategy, and is handed out at once; `fleetctl rollout pause` holds the next change."
            raise RefusedError(f"bundle {bundle} has no rollout", subject=f"bundle {bundle}", next_step=step)
        begin(connection, workspace, spec, rfc3339(now))
        row = connection.execute(sa.select(rollouts).where(where)).one()
    connection.execute(sa.update(rollouts).where(where).values(**_said(row, verb, reason), dirty=sa.func.max(r.dirty, AGAIN)))


def _said(row: Any, verb: str, reason: str) -> dict[str, Any]:
    phase = Phase(row.phase)
    subject, steps = f"rollout of {row.bundle}", msgspec.json.decode(row.steps)
    if verb == "pause":
        return {"phase": Phase.PAUSED.value, "reason": reason, "wake": 0.0}
    if verb == "abort":
        return {"phase": Phase.ABORTED.value, "reason": reason or "aborted", "wake": 0.0}
    if verb == "resume":
        if phase not in {Phase.PAUSED, Phase.FAILED, Phase.ABORTED}:
            raise RefusedError(
                f"the rollout of {row.bundle} is {phase.value}, not paused", subject=subject, next_step="Nothing is to be done."
            )
        # What made it fail is forgiven: the clocks of the partitions that are not finished start anew.
        return {"phase": Phase.PROGRESSING.value, "reason": "", "steps": _json(_forgiven(row, phase))}
    shape = msgspec.json.decode(row.shape, type=Shape) if row.shape != b"null" else Shape([], {})
    waiting = [at for at, p in enumerate(shape.partitions) if p[4] and not (at < len(steps) and (steps[at][0] or steps[at][2]))]
    if not waiting:
        raise RefusedError(
            f"the rollout of {row.bundle} waits for no approval", subject=subject, next_step="See `fleetctl rollout status`."
        )
    steps += [[0.0, 0.0, False] for _ in range(waiting[0] + 1 - len(steps))]
    steps[waiting[0]][2] = True
    return {"steps": _json(steps)}


def _forgiven(row: Any, phase: Phase) -> list[list[Any]]:
    """The steps of a rollout that goes on. Of one that has failed, those that could not apply it do not count again."""
    counts, steps = msgspec.json.decode(row.counts), [Step(*item) for item in msgspec.json.decode(row.steps)]
    steps += [Step()] * (len(counts) - len(steps))
    if phase is Phase.FAILED:
        failed = [count["failed"] for count in counts] + [0] * len(steps)
        steps = [replace(step, accepted=max(step.accepted, failed[at])) for at, step in enumerate(steps)]
    return [stored(replace(step, opened=step.opened if step.finished else 0.0)) for step in steps]
