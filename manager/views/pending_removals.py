"""Removals that are told and not done: of which bundle, on which clusters, and what stands in the
way.

A bundle that is removed has no row in `bundles` any more, perhaps no GitRepo; what is left of it
are the deployments of clusters whose agents have not reported that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.reasons import Group, Reason, merged, of_manager, of_report
from fleetctl.core.model.status import Report, State

from ..store.schema import clusters, deployments

_GOING = "removing"  # code of a removal that ends without anybody's doing
_MOST = 10

# One row for each cause, with the report of one of its clusters (SQLite: of the row with the
# minimum).
_SORTED = """
SELECT d.workspace, d.repo, d.bundle, CASE WHEN d.reported = d.generation THEN d.cause ELSE '' END
    AS said,
    min(d.cluster_id) AS cluster_id, count(*) AS amount,
    CASE WHEN d.reported = d.generation THEN d.report ELSE '' END AS report
FROM deployments d WHERE d.removed = 1 {where} GROUP BY d.workspace, d.repo, d.bundle, said
"""


def groups(
    connection: Connection, workspace: str | None, bundle: str = "", cluster: str = ""
) -> dict[tuple[str, str, str], list[Group]]:
    """By (workspace, GitRepo, bundle) the removals that are not done, by what stands in the way.
    `cluster`: an id.
    """
    values = {"workspace": workspace or "", "bundle": bundle, "cluster_id": cluster}
    where = "".join(f" AND d.{name} = :{name}" for name, value in values.items() if value)
    rows = list(
        connection.execute(
            sa.text(_SORTED.format(where=where)),
            {name: value for name, value in values.items() if value},
        )
    )
    names = _names(connection, {row.cluster_id for row in rows})
    found: dict[tuple[str, str, str], list[Group]] = {}
    for row in rows:
        state, reason = _reason(row.report, names[row.cluster_id], row.bundle)
        group = Group(state, reason, row.amount, names[row.cluster_id], row.bundle, row.workspace)
        found.setdefault((row.workspace, row.repo, row.bundle), []).append(group)
    return {key: merged(value) for key, value in sorted(found.items())}


def stuck(found: Iterable[Group]) -> list[Group]:
    """Those that do not end without somebody's doing."""
    return [group for group in found if group.state is State.ERR_APPLIED]


def sentence(group: Group) -> str:
    """Of a removal that is stuck, for a GitRepo and for the fleet as a whole."""
    where = (
        f"{group.count} clusters, first {group.cluster}"
        if group.count > 1
        else f"cluster {group.cluster}"
    )
    return f"the removal of bundle {group.bundle} is stuck on {where}: {group.reason.cause}"


def on_repo(status: dict[str, Any], found: Iterable[Group]) -> None:
    """What a GitRepo says of removals of its bundles that are stuck: a message, a condition, and
    `removals` with each cause.
    """
    held = stuck(found)
    if not held:
        return
    more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
    message = sentence(held[0]) + more
    status["display"]["message"] = "; ".join(filter(None, (status["display"]["message"], message)))
    status["conditions"].append({"type": "RemovalStuck", "status": "True", "message": message})
    status["removals"] = [
        {
            "bundle": one.bundle,
            **msgspec.to_builtins(one.reason),
            "count": one.count,
            "example": {"cluster": one.cluster},
        }
        for one in held[:_MOST]
    ]


def _reason(report: bytes, cluster: str, bundle: str) -> tuple[State, Reason]:
    if not report:
        return State.WAIT_APPLIED, of_manager(
            "waiting", "removal sent, no report yet", cluster=cluster, bundle=bundle
        )
    said = msgspec.json.decode(report, type=Report)
    if said.code == _GOING or said.state is not State.ERR_APPLIED:
        cause = said.message or "it is being removed"
        return State.NOT_READY, Reason(_GOING, cause, said.object, said.hint or hint_of(_GOING))
    return State.ERR_APPLIED, of_report(said, cluster=cluster, bundle=bundle)


def _names(connection: Connection, ids: set[str]) -> dict[str, str]:
    c = clusters.c
    found: dict[str, str] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), 500):
        query = sa.select(c.id, c.name).where(c.id.in_(wanted[start : start + 500]))
        found |= {row.id: row.name for row in connection.execute(query)}
    return found


def exists(connection: Connection, workspace: str, bundle: str) -> bool:
    """Whether a cluster still has to remove the bundle."""
    d = deployments.c
    query = (
        sa.select(d.bundle).where(d.workspace == workspace, d.bundle == bundle, d.removed).limit(1)
    )
    return connection.execute(query).first() is not None
