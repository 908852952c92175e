"""Corrects drift on request, without a commit.

Rule: only deployments that reported drift are asked, by a number that grows; the agent applies the
bundle again when its journal has a lower one. Nothing else changes: no generation, no revision, no
rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import BundleName, Workspace

from ..clock import rfc3339
from ..presence import PresenceTable
from ..store import Writer
from ..store.commands.corrections import request_corrections
from ..store.engine import Store
from ..store.keys import BundleKey
from ..store.queries.bundle_deployments import ReportedDeployment, deployments_with_reports

_MOST_NAMES = 20


class Corrector:
    def __init__(self, store: Store, live: PresenceTable, clock: Callable[[], float]) -> None:
        self._store, self._live, self._clock = store, live, clock

    async def correct(
        self, workspace: str, bundle: str, names: Sequence[str], selector: str
    ) -> dict[str, Any]:
        """Ask the drifted deployments of the bundle to correct themselves, on all clusters or on
        the selected ones.

        Raises NotFound for a bundle or cluster without a deployment, UsageError for a wrong
        selector.
        """
        if names and selector:
            step = "Give one of --cluster and -l."
            raise UsageError("clusters are chosen in two ways at once", next_step=step)
        key = Workspace(workspace), BundleName(bundle)
        now = self._clock()

        def write(writer: Writer) -> list[ReportedDeployment]:
            deployments = deployments_with_reports(writer, key)
            drifted_rows = select_drifted(key, deployments, names, selector)
            numbers = {row.cluster_id: _next_number(row, now) for row in drifted_rows}
            request_corrections(writer, key[1], numbers, rfc3339(now))
            return drifted_rows

        drifted_rows = await self._store.write(write)
        self._live.mark_changed([row.cluster_id for row in drifted_rows])
        first_names = [row.name for row in drifted_rows[:_MOST_NAMES]]
        return {"clusters": len(drifted_rows), "names": first_names}


def select_drifted(
    bundle: BundleKey,
    deployments: Sequence[ReportedDeployment],
    names: Sequence[str],
    selector: str,
) -> list[ReportedDeployment]:
    """Those of the selected deployments that reported drift. Raises NotFound, UsageError."""
    subject = f"bundle {bundle[1]}"
    if not deployments:
        step = "See `fleetctl bundle list`."
        raise NotFound("it is on no cluster", subject=subject, next_step=step)
    missing = sorted(set(names) - {row.name for row in deployments})
    if missing:
        step = f"See `fleetctl bundle status {bundle[1]}`."
        summary = f"it is not on cluster {missing[0]}"
        raise NotFound(summary, subject=subject, next_step=step)
    rows = list(deployments)
    if names:
        rows = [row for row in deployments if row.name in names]
    elif selector:
        requirements = parse_selector(selector)
        rows = [row for row in deployments if matches(requirements, row.labels)]
    return [row for row in rows if _has_drift(row)]


def _has_drift(deployment: ReportedDeployment) -> bool:
    """The bundle may not change an orphaned object or one of another release."""
    return any(
        resource.drifted and resource.state != "Orphaned" and not resource.owner
        for resource in deployment.resources
    )


def _next_number(deployment: ReportedDeployment, now: float) -> int:
    """The time makes the number grow also if the row was deleted and created again."""
    return max(deployment.correction + 1, int(now))
