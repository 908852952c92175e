"""Decides what a report of an agent changes: about the agent itself, and about each deployment.

Rule: an older report never overwrites a newer one (I8). Values in, values out: this module has no
connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.reasons import cause_key
from fleetctl.core.model.status import Report, State, as_json, trim
from fleetctl.core.model.summary import deployment_state, tally_of

from ..clock import unix
from ..revisions import delivery_log
from ..store.commands.reports import ReportValues, is_stored
from ..store.queries.reports import ReportedRow

_json = msgspec.json.encode
_CODE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){0,5}")
_MOST_REPORT_BYTES = 64 * 1024
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


def encode_agent(request: wire.StatusRequest, stored_agent: bytes) -> bytes:
    """What the agent reports about itself, as the JSON of the column `agent`. A detected duplicate
    agent (`twin`) stays until the next enrolment.
    """
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
    return _json(agent)


def decide_reports(
    rows: Mapping[BundleName, ReportedRow], reports: Sequence[Report], at: str
) -> ReportChanges:
    """Choose the reports to store, at most one of each bundle; `at` is used for a report without a
    time. Ignores a report of an unknown bundle, of a generation that the manager did not issue, of
    a generation older than the last reported one, and a report that is stored already.
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
        row_values = _values(row, report, state.value, at)
        if not is_stored(row_values, row):
            values.append(row_values)
        if (
            state.value != row.state
            or row.reported_generation < row.generation
            or row.applied_generation != report.applied
        ):
            progressed_bundles.add(report.bundle)
            workspace = row.workspace
    return ReportChanges(values, finished_tombstones, progressed_bundles, workspace)


def _values(row: ReportedRow, report: Report, state: str, at: str) -> ReportValues:
    trimmed_report, encoded_report = report, as_json(report)
    if len(encoded_report) > _MOST_REPORT_BYTES:
        trimmed_report = trim(report, _MOST_REPORT_BYTES)
        encoded_report = as_json(trimmed_report)
    times = {"state_since": row.state_since, "first_ready_at": row.first_ready_at}
    times |= delivery_log.state_times(row.state, row.first_ready_at, state, int(unix(at)))
    return ReportValues(
        state=state,
        applied_generation=report.applied,
        reported_generation=report.generation,
        reported_at=report.at or at,
        state_since=times["state_since"],
        first_ready_at=times["first_ready_at"],
        message=trimmed_report.message[:_MOST_MESSAGE],
        report=encoded_report,
        cause_key=cause_key(report),
        resource_counts=tally_of(report),
        cluster_id=row.cluster_id,
        bundle=row.bundle,
    )
