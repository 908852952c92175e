"""The spec of a Schedule as people write it, checked and converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.documents.convert import Origin, convert, dotted_path
from fleetctl.core.documents.fields import SCHEDULE
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout import cron
from fleetctl.core.rollout.schedule import ScheduleSpec, seconds_of

_CRITERIA = ("clusterName", "clusterSelector", "clusterGroup", "clusterGroupSelector")


class ScheduleProblem(NamedTuple):
    """What is wrong with one value; `path` is below the spec."""

    path: tuple[str | int, ...]
    summary: str
    next_step: str


def spec_of(value: Any) -> ScheduleSpec:
    """Raises UsageError naming what is wrong, but for the zone, which the core cannot look up."""
    spec = convert(
        {} if value is None else value,
        ScheduleSpec,
        Origin("Schedule", under=("spec",), table=SCHEDULE),
    )
    for problem in problems(msgspec.to_builtins(spec)):
        raise UsageError(
            problem.summary,
            subject=dotted_path(("spec", *problem.path)),
            next_step=problem.next_step,
        )
    return spec


def problems(mapping: Mapping[str, Any]) -> Iterator[ScheduleProblem]:
    """Every value that has the right type and is wrong all the same. Values of another type are
    left to whoever checks types.
    """
    checks = (("schedule", cron.parse), ("duration", seconds_of))
    for key, check in checks:
        value = mapping.get(key)
        if isinstance(value, str):
            try:
                check(value)
            except UsageError as error:
                yield ScheduleProblem((key,), error.summary, error.next_step)
    targets = mapping.get("targets") or {}
    clusters = targets.get("clusters") if isinstance(targets, Mapping) else None
    step = "Write `clusterSelector: {}` for all clusters."
    if isinstance(targets, Mapping) and not clusters:
        yield ScheduleProblem(("targets", "clusters"), "targets.clusters is empty", step)
    for at, target in enumerate(clusters if isinstance(clusters, list) else ()):
        if isinstance(target, Mapping) and all(target.get(key) in (None, "") for key in _CRITERIA):
            name = target.get("name") or "(without a name)"
            summary = f"target {name} states no criterion and would match no cluster"
            yield ScheduleProblem(("targets", "clusters", at), summary, step)
