"""What agents report, as it is written down: of themselves, and of each deployment.

Rule: this runs for each report of each agent, in the one thread that writes. So every statement
stands here once and is only filled in: building it anew costs more than SQLite does.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import wire
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.reasons import cause_key
from fleetctl.core.model.status import Report, State, as_json, trim
from fleetctl.core.model.summary import deployment_state, tally_of

from ..clock import unix
from ..revisions import delivery_log
from ..rollout import staging
from ..store.commands.pins import delete_pins_of_cluster
from ..store.schema import clusters, deployments

_json = msgspec.json.encode
_CODE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){0,5}")
_MOST_TROUBLES = 20

_c, _d = clusters.c, deployments.c
_CLUSTER = _c.id == sa.bindparam("cluster")
_AGENT = sa.select(_c.agent).where(_CLUSTER)
_SAYS = sa.update(clusters).where(_CLUSTER).values(agent=sa.bindparam("said"))
_ONE = (_d.cluster_id == sa.bindparam("of")) & (_d.bundle == sa.bindparam("named"))
_WAS = sa.select(
    _d.workspace, _d.generation, _d.removed, _d.reported, _d.applied, _d.state, _d.well, _d.since
).where(_ONE)
_KNOWN = sa.select(_d.bundle).where(
    _d.cluster_id == sa.bindparam("of"), ~_d.removed, _d.reported > 0
)
_NAMED = sa.select(_d.bundle).where(_d.cluster_id == sa.bindparam("of"))
_MANY = 20
_SET = (
    "state",
    "applied",
    "reported",
    "reported_at",
    "since",
    "well",
    "message",
    "report",
    "cause",
    "tally",
)
_IS = sa.update(deployments).where(_ONE).values({name: sa.bindparam(f"v_{name}") for name in _SET})
_BLANK = {
    "state": State.WAIT_APPLIED.value,
    "reported": 0,
    "applied": 0,
    "message": "",
    "report": b"",
    "cause": "",
    "tally": "",
}
_IS_NOT = sa.update(deployments).where(_ONE).values(**_BLANK, since=sa.bindparam("now"))


def take_agent(connection: Connection, cluster: ClusterId, request: wire.StatusRequest) -> None:
    """What the agent says of itself, troubles included; written when it is news."""
    said: dict[str, Any] = {
        "version": request.agent_version,
        "tools": request.tools,
        "kube": request.kube_version,
    }
    if request.runtime:
        said["runtime"] = request.runtime[:128]
    troubles = [t for t in request.troubles[:_MOST_TROUBLES] if _CODE.fullmatch(t.code)]
    if troubles:
        said["troubles"] = [
            {"code": t.code, "message": t.message[:1024], "since": t.since[:32]} for t in troubles
        ]
    old = connection.execute(_AGENT, {"cluster": cluster}).scalar() or b"{}"
    if b'"twin"' in old:
        said["twin"] = msgspec.json.decode(old).get("twin", "")
    if old != _json(said):
        connection.execute(_SAYS, {"cluster": cluster, "said": _json(said)})


def take_reports(
    connection: Connection, cluster: ClusterId, reports: list[Report], *, at: str
) -> bool:
    """Store the reports; one of an older generation never overwrites a newer one (I8). Whether a
    tombstone is done.
    """
    gone, moved, workspace = False, set[BundleName](), ""
    # one query for all, so that bundles which nobody knows cost no statement each
    if len(reports) > _MANY:
        named = set(connection.execute(_NAMED, {"of": cluster}).scalars())
        reports = [report for report in reports if report.bundle in named]
    for report in reports:
        one = {"of": cluster, "named": report.bundle}
        row = connection.execute(_WAS, one).one_or_none()
        if row is None or report.generation > row.generation or report.generation < row.reported:
            continue
        if row.removed and report.removed and report.generation == row.generation:
            connection.execute(sa.delete(deployments).where(_ONE), one)
            gone = True
            continue
        state = deployment_state(report, row.generation) if not row.removed else State.WAIT_APPLIED
        connection.execute(
            _IS,
            one
            | {f"v_{name}": value for name, value in _values(row, report, state.value, at).items()},
        )
        if (
            state.value != row.state
            or row.reported < row.generation
            or row.applied != report.applied
        ):
            moved.add(report.bundle)
            workspace = row.workspace
    if moved:
        staging.touch(connection, workspace, moved)
    return gone


def _values(row: Any, report: Report, state: str, at: str) -> dict[str, Any]:
    """The columns named in `_SET`."""
    kept = trim(report)
    values: dict[str, Any] = {
        "state": state,
        "applied": report.applied,
        "reported": report.generation,
        "reported_at": report.at or at,
    }
    values |= {"since": row.since, "well": row.well} | delivery_log.state_times(
        row.state, row.well, state, int(unix(at))
    )
    return values | {
        "message": kept.message[:1024],
        "report": as_json(kept),
        "cause": cause_key(report),
        "tally": tally_of(report),
    }


def unmentioned(
    connection: Connection, cluster: ClusterId, told: Collection[BundleName], now: int
) -> None:
    """What a full report does not name is not there (I8): an agent that lost its state holds
    nothing that we could call Ready.
    """
    known = connection.execute(_KNOWN, {"of": cluster}).scalars()
    gone = [{"of": cluster, "named": name, "now": now} for name in known if name not in told]
    if gone:
        connection.execute(_IS_NOT, gone)


def left_for_good(connection: Connection, cluster: ClusterId) -> bool:
    """A cluster that leaves is deleted with its last tombstone. Whether it was."""
    c, d = clusters.c, deployments.c
    leaving = connection.execute(sa.select(c.leaving).where(c.id == cluster)).scalar()
    if (
        not leaving
        or connection.execute(sa.select(d.bundle).where(d.cluster_id == cluster)).first()
    ):
        return False
    delete_pins_of_cluster(connection, cluster)
    connection.execute(sa.delete(clusters).where(c.id == cluster))
    return True
