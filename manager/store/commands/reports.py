"""Writes the agents' reports on deployments: one statement for the reports of many clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.status import State

from ..connection import Writer
from ..counts import CountKey, Counts
from ..queries.reports import ReportedRow
from ..triggers import counts as count_triggers

DeploymentKey = tuple[ClusterId, BundleName]


class ReportValues(msgspec.Struct, frozen=True, gc=False):
    """The columns that one report sets, then the key of the deployment."""

    state: str
    applied_generation: int
    reported_generation: int
    reported_at: str
    state_since: int
    first_ready_at: int
    message: str
    report: bytes
    cause_key: str
    resource_counts: str
    cluster_id: ClusterId
    bundle: BundleName


_VALUES = tuple(
    name for name in ReportValues.__struct_fields__ if name not in {"cluster_id", "bundle"}
)
# The parameters are the fields of ReportValues, in their order.
_STORE = """
UPDATE deployments SET state = ?, applied_generation = ?, reported_generation = ?,
    reported_at = ?, state_since = ?, first_ready_at = ?, message = ?, report = ?, cause_key = ?,
    resource_counts = ?
WHERE cluster_id = ? AND bundle = ?
"""
_RESET = """
UPDATE deployments SET state = 'WaitApplied', reported_generation = 0, applied_generation = 0,
    message = '', report = x'', cause_key = '', resource_counts = '', state_since = ?
WHERE cluster_id = ? AND bundle = ?
"""
_DELETE = "DELETE FROM deployments WHERE cluster_id = ? AND bundle = ?"


def is_stored(values: ReportValues, row: ReportedRow) -> bool:
    """Whether the row has these values already."""
    return all(getattr(values, name) == getattr(row, name) for name in _VALUES)


def store_reports(writer: Writer, changes: Sequence[tuple[ReportedRow, ReportValues]]) -> None:
    """Store reports. Each change holds the row as this transaction read it; no deployment may occur
    twice.

    The counts change once for each kind of deployment, not once for each row.
    """
    if not changes:
        return
    with count_triggers.paused(writer):
        writer.exec_driver_sql(_STORE, [msgspec.structs.astuple(values) for _, values in changes])
    count_triggers.add_counts(writer, _count_changes(changes))


def _count_changes(changes: Iterable[tuple[ReportedRow, ReportValues]]) -> Counts:
    """How many deployments more (or less) each count has. Tombstones are not counted."""
    totals: Counts = {}
    for row, values in changes:
        if row.is_removed:
            continue
        before, after = _count_key(row, row), _count_key(row, values)
        if before != after:
            totals[before] = totals.get(before, 0) - 1
            totals[after] = totals.get(after, 0) + 1
    return totals


def _count_key(row: ReportedRow, values: ReportedRow | ReportValues) -> CountKey:
    """How the row is counted with the state that `values` holds."""
    is_sent = row.generation > 0
    is_current = (
        is_sent
        and values.reported_generation >= row.generation
        and (values.applied_generation >= row.generation or values.state == State.ERR_APPLIED.value)
    )
    return CountKey(
        row.workspace,
        row.bundle,
        row.partition,
        row.repo,
        values.state,
        row.is_staged,
        is_sent,
        is_current,
    )


def reset_reports(writer: Writer, keys: Sequence[DeploymentKey], now: int) -> None:
    """Forget what the agents reported of these deployments; `now` in Unix seconds."""
    if keys:
        writer.exec_driver_sql(_RESET, [(now, *key) for key in keys])


def delete_deployments(writer: Writer, keys: Sequence[DeploymentKey]) -> None:
    if keys:
        writer.exec_driver_sql(_DELETE, list(keys))
