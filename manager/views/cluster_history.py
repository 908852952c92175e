"""What a cluster was told of its bundles, by whom, and what came of it.

Rule: a result is what the agent said last before something else came, never a guess: who did not
answer is `WaitApplied`, and of a cluster that is silent now nothing is called Ready. The history
goes with the deployment: when the bundle or the cluster is removed, so is it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import ClusterId, Workspace
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import seen_state

from ..clock import rfc3339
from ..revisions import delivery_log
from ..revisions.delivery_log import LoggedDelivery
from ..store.queries import in_parts
from ..store.schema import bundles, clusters, decisions, deployments

Offline = Callable[[ClusterId], bool]


def listing(
    connection: Connection, workspace: Workspace, cluster: str, bundle: str, offline: Offline
) -> list[dict[str, Any]]:
    """Newest first; `bundle` "" is all of them. Raises NotFound."""
    c, d = clusters.c, deployments.c
    one = connection.execute(
        sa.select(c.id, c.public_key).where(c.workspace == workspace, c.name == cluster)
    ).one_or_none()
    if one is None:
        step = f"See `fleetctl cluster list -n {workspace}`."
        shown = f"Cluster {workspace}/{cluster[:80]}"
        raise NotFound(
            f"Cluster {cluster[:80]} does not exist in workspace {workspace}",
            subject=shown,
            next_step=step,
        )
    query = sa.select(deployments).where(d.cluster_id == one.id)
    if bundle:
        query = query.where(d.bundle == bundle)
    rows = connection.execute(query).all()
    if bundle and not rows:
        _check_bundle(connection, workspace, bundle)
    said = {row.bundle: _lines(row) for row in rows}
    known = _decided(connection, workspace, said)
    silent = offline(ClusterId(one.id))
    found: list[dict[str, Any]] = []
    for row in rows:
        items = [_shown(line, known.get((row.bundle, line.decision))) for line in said[row.bundle]]
        _say_options(said[row.bundle], items)
        if items:
            state = State(row.state) if row.generation > 0 else State.PENDING
            now = seen_state(state, offline=silent, enrolled=one.public_key is not None)
            items[0] |= {
                "result": now.value,
                "current": True,
                "commit": items[0]["commit"] or row.commit,
            }
        found += [{"cluster": cluster, "bundle": row.bundle} | item for item in items]
    return sorted(found, key=lambda item: (item["told"], item["generation"]), reverse=True)


def _check_bundle(connection: Connection, workspace: Workspace, bundle: str) -> None:
    b = bundles.c
    if (
        connection.execute(
            sa.select(b.name).where(b.workspace == workspace, b.name == bundle)
        ).first()
        is None
    ):
        step = "See `fleetctl get bundles`."
        shown = f"bundle {bundle[:80]}"
        raise NotFound(
            f"bundle {bundle[:80]} does not exist in workspace {workspace}",
            subject=shown,
            next_step=step,
        )


def _lines(row: Any) -> list[LoggedDelivery]:
    """What it has, and what it had; nothing for one that was never told."""
    message = row.message if row.reported >= row.generation else ""
    now = (
        [
            LoggedDelivery(
                row.decision, row.generation, row.told, row.state, row.since, row.well, message
            )
        ]
        if row.generation > 0
        else []
    )
    return now + delivery_log.parse_lines(row.past)


def _decided(
    connection: Connection, workspace: Workspace, said: dict[str, list[LoggedDelivery]]
) -> dict[tuple[str, int], Any]:
    d, found = decisions.c, dict[tuple[str, int], Any]()
    named = sorted({line.decision for lines in said.values() for line in lines})
    for part in in_parts(named):
        rows = connection.execute(
            sa.select(decisions).where(d.workspace == workspace, d.id.in_(part))
        )
        found |= {(row.bundle, row.id): row for row in rows if row.bundle in said}
    return found


def _shown(line: LoggedDelivery, decision: Any) -> dict[str, Any]:
    names = ("number", "commit", "author", "subject", "cause", "who", "reason")
    about = (
        {name: getattr(decision, name) for name in names}
        if decision
        else dict.fromkeys(names, "") | {"number": 0}
    )
    if line.decision == delivery_log.REMOVAL:
        about["cause"] = "removal"
    return {
        "generation": abs(line.generation),
        **about,
        "told": _time(line.told),
        "result": line.state,
        "since": _time(line.since),
        "readyAt": _time(line.well),
        "message": line.message,
        "current": False,
    }


def _say_options(lines: Sequence[LoggedDelivery], items: Sequence[dict[str, Any]]) -> None:
    """The same decision twice in a row: what was new were the cluster's own options, its labels, or
    a Secret that is copied.
    """
    for at, (line, older) in enumerate(pairwise(lines)):
        if line.decision == older.decision > 0:
            items[at] |= {"cause": "options", "who": "", "reason": ""}


def _time(seconds: int) -> str:
    return rfc3339(seconds) if seconds else ""
