"""A person asks that drift is put right, without a commit.

Rule: only deployments that reported drift are asked, by a number that grows; the agent applies the
bundle again when its journal has a lower one. Nothing else changes: no generation, no revision, no
rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import DRIFTED

from ..agents.presence import Live
from ..clock import rfc3339
from ..store.engine import Store
from ..store.queries import shown_labels
from ..store.schema import clusters, deployments

_MOST_NAMES = 20


class Corrector:
    def __init__(self, store: Store, live: Live, clock: Callable[[], float]) -> None:
        self._store, self._live, self._clock = store, live, clock

    async def correct(
        self, workspace: str, bundle: str, names: Sequence[str], selector: str
    ) -> dict[str, Any]:
        """Ask the drifted deployments of the bundle, on all clusters or on those that are chosen.

        Raises NotFound for a bundle or cluster without a deployment, UsageError for a wrong
        selector.
        """
        if names and selector:
            step = "Give one of --cluster and -l."
            raise UsageError("clusters are chosen in two ways at once", next_step=step)
        now = self._clock()

        def write(connection: Connection) -> list[Any]:
            drifted = [
                row
                for row in _chosen(connection, workspace, bundle, names, selector)
                if _has_drift(row)
            ]
            for row in drifted:
                _ask(connection, row, now)
            return drifted

        rows = await self._store.write(write)
        self._live.changed([ClusterId(row.id) for row in rows])
        return {"clusters": len(rows), "names": [row.name for row in rows[:_MOST_NAMES]]}


def _chosen(
    connection: Connection, workspace: str, bundle: str, names: Sequence[str], selector: str
) -> list[Any]:
    d, c = deployments.c, clusters.c
    query = sa.select(c.id, c.name, c.labels, d.bundle, d.correction, d.report)
    query = query.join(clusters, d.cluster_id == c.id).order_by(c.name)
    query = query.where(c.workspace == workspace, d.bundle == bundle, ~d.removed, d.generation > 0)
    rows = connection.execute(query).all()
    if not rows:
        step = "See `fleetctl bundle list`."
        raise NotFound("it is on no cluster", subject=f"bundle {bundle}", next_step=step)
    missing = sorted(set(names) - {row.name for row in rows})
    if missing:
        summary = f"it is not on cluster {missing[0]}"
        step = f"See `fleetctl bundle status {bundle}`."
        raise NotFound(summary, subject=f"bundle {bundle}", next_step=step)
    if names:
        return [row for row in rows if row.name in names]
    wanted = parse_selector(selector) if selector else None
    return [row for row in rows if wanted is None or matches(wanted, _labels(row))]


def _labels(row: Any) -> dict[str, str]:
    return dict(shown_labels(row.name, msgspec.json.decode(row.labels)))


def _has_drift(row: Any) -> bool:
    """What is orphaned, or belongs to another release, is not the bundle's to change."""
    resources = msgspec.json.decode(row.report).get("resources", []) if row.report else []
    return any(
        (r.get("state") in DRIFTED or r.get("differences"))
        and r.get("state") != "Orphaned"
        and not r.get("owner")
        for r in resources
    )


def _ask(connection: Connection, row: Any, now: float) -> None:
    """The time makes the number grow also when the row was removed and created again meanwhile."""
    number = max(row.correction + 1, int(now))
    d = deployments.c
    own = (d.cluster_id == row.id, d.bundle == row.bundle)
    connection.execute(sa.update(deployments).where(*own).values(correction=number))
    issued = sa.update(clusters).where(clusters.c.id == row.id).values(issued=rfc3339(now))
    connection.execute(issued)
