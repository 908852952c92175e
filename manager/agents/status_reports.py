"""Stores what agents report: about themselves, and about each deployment.

Rule: an older report never overwrites a newer one (I8). What is read, decided and written for one
report is one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.reasons import cause_key
from fleetctl.core.model.status import Report, State, as_json, trim
from fleetctl.core.model.summary import deployment_state, tally_of

from ..clock import unix
from ..revisions import delivery_log
from ..store.commands import clusters as cluster_commands
from ..store.commands import reports as report_commands
from ..store.commands.pins import delete_pins_of_cluster
from ..store.commands.reports import ReportValues
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.connection import Writer
from ..store.queries import clusters as cluster_queries
from ..store.queries import reports as report_queries
from ..store.queries.reports import ReportedRow

_json = msgspec.json.encode
_CODE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){0,5}")
_MOST_TROUBLES = 20
_MOST_RUNTIME, _MOST_MESSAGE, _MOST_TIME = 128, 1024, 32


@dataclass(frozen=True)
class ReportChanges:
    """What reports change. `finished_tombstones`: bundles whose removal is done.
    `progressed_bundles`: bundles of `workspace` whose rollout must look again.
    """

    values: list[ReportValues] = field(default_factory=list)
    finished_tombstones: list[BundleName] = field(default_factory=list)
    progressed_bundles: set[BundleName] = field(default_factory=set)
    workspace: str = ""


def store_agent(writer: Writer, cluster: ClusterId, request: wire.StatusRequest) -> None:
    """Store what the agent reports about itself, when it differs from what is stored."""
    stored_agent = cluster_queries.agent_of(writer, cluster)
    agent = _json(_agent_document(request, stored_agent))
    if agent != stored_agent:
        cluster_commands.set_agent(writer, cluster, agent)


def _agent_document(request: wire.StatusRequest, stored_agent: bytes) -> dict[str, Any]:
    """The column `agent`. A detected duplicate agent (`twin`) stays until the next enrolment."""
    agent: dict[str, Any] = {
        "version": request.agent_version,
        "tools": request.tools,
        "kube": request.kube_version,
    }
    if request.runtime:
        agent["runtime"] = request.runtime[:_MOST_RUNTIME]
    troubles = [t for t in request.troubles[:_MOST_TROUBLES] if _CODE.fullmatch(t.code)]
    if troubles:
        agent["troubles"] = [
            {"code": t.code, "message": t.message[:_MOST_MESSAGE], "since": t.since[:_MOST_TIME]}
            for t in troubles
        ]
    if b'"twin"' in stored_agent:
        agent["twin"] = msgspec.json.decode(stored_agent).get("twin", "")
    return agent


def store_reports(writer: Writer, cluster: ClusterId, reports: list[Report], *, at: str) -> bool:
    """Store at most one report of each bundle; `at` is used for a report without a time. Returns
    whether a tombstone is done.
    """
    rows = report_queries.reported_rows(writer, cluster, [report.bundle for report in reports])
    changes = decide_reports(rows, reports, at)
    report_commands.delete_deployments(writer, cluster, changes.finished_tombstones)
    report_commands.store_reports(writer, cluster, changes.values)
    if changes.progressed_bundles:
        mark_rollouts(writer, changes.workspace, changes.progressed_bundles)
    return bool(changes.finished_tombstones)


def decide_reports(
    rows: Mapping[BundleName, ReportedRow], reports: Sequence[Report], at: str
) -> ReportChanges:
    """Choose the reports to store. Ignores a report of an unknown bundle, of a generation that the
    manager did not issue, and of a generation older than the last reported one.
    """
    values: list[ReportValues] = []
    finished_tombstones: list[BundleName] = []
    progressed_bundles: set[BundleName] = set()
    workspace = ""
    for report in reports:
        row = rows.get(report.bundle)
        if row is None or not row.reported_generation <= report.generation <= row.generation:
            continue
        if row.is_removed and report.removed and report.generation == row.generation:
            finished_tombstones.append(report.bundle)
            continue
        state = State.WAIT_APPLIED if row.is_removed else deployment_state(report, row.generation)
        values.append(_values(row, report, state.value, at))
        if (
            state.value != row.state
            or row.reported_generation < row.generation
            or row.applied_generation != report.applied
        ):
            progressed_bundles.add(report.bundle)
            workspace = row.workspace
    return ReportChanges(values, finished_tombstones, progressed_bundles, workspace)


def _values(row: ReportedRow, report: Report, state: str, at: str) -> ReportValues:
    trimmed_report = trim(report)
    times = {"state_since": row.state_since, "first_ready_at": row.first_ready_at}
    times |= delivery_log.state_times(row.state, row.first_ready_at, state, int(unix(at)))
    return ReportValues(
        bundle=report.bundle,
        state=state,
        applied_generation=report.applied,
        reported_generation=report.generation,
        reported_at=report.at or at,
        state_since=times["state_since"],
        first_ready_at=times["first_ready_at"],
        message=trimmed_report.message[:_MOST_MESSAGE],
        report=as_json(trimmed_report),
        cause_key=cause_key(report),
        resource_counts=tally_of(report),
    )


def reset_unmentioned(
    writer: Writer, cluster: ClusterId, mentioned_bundles: Collection[BundleName], now: int
) -> None:
    """Forget the reports on bundles that a full report does not mention (I8): an agent that lost
    its state applies nothing that may count as Ready. `now` in Unix seconds.
    """
    reported_names = report_queries.reported_bundles(writer, cluster)
    missing = [name for name in reported_names if name not in mentioned_bundles]
    report_commands.reset_reports(writer, cluster, missing, now)


def delete_left_cluster(writer: Writer, cluster: ClusterId) -> bool:
    """Delete a cluster that leaves once its last tombstone is done. Returns whether it was
    deleted.
    """
    if not cluster_queries.is_leaving(writer, cluster):
        return False
    if report_queries.has_deployments(writer, cluster):
        return False
    delete_pins_of_cluster(writer, cluster)
    cluster_commands.delete_cluster(writer, cluster)
    return True
