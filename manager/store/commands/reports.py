"""Writes the agents' reports on deployments. Each statement is built once; see
`queries/reports.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.status import State

from ..connection import Writer
from ..schema import deployments


class ReportValues(msgspec.Struct, frozen=True):
    """The columns that one report sets, and the bundle that it is about."""

    bundle: BundleName
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


_d = deployments.c
_ROW = (_d.cluster_id == sa.bindparam("key_cluster")) & (_d.bundle == sa.bindparam("key_bundle"))
_COLUMNS = tuple(name for name in ReportValues.__struct_fields__ if name != "bundle")
_STORE = (
    sa.update(deployments)
    .where(_ROW)
    .values({name: sa.bindparam(f"new_{name}") for name in _COLUMNS})
)
_DELETE = sa.delete(deployments).where(_ROW)
_NOTHING_REPORTED = {
    "state": State.WAIT_APPLIED.value,
    "reported_generation": 0,
    "applied_generation": 0,
    "message": "",
    "report": b"",
    "cause_key": "",
    "resource_counts": "",
}
_RESET = (
    sa.update(deployments).where(_ROW).values(**_NOTHING_REPORTED, state_since=sa.bindparam("now"))
)


def store_reports(writer: Writer, cluster: ClusterId, reports: Sequence[ReportValues]) -> None:
    rows = [
        {"key_cluster": cluster, "key_bundle": report.bundle}
        | {f"new_{name}": getattr(report, name) for name in _COLUMNS}
        for report in reports
    ]
    if rows:
        writer.execute(_STORE, rows)


def reset_reports(
    writer: Writer, cluster: ClusterId, bundles: Sequence[BundleName], now: int
) -> None:
    """Forget what the agent reported of these bundles; `now` in Unix seconds."""
    rows = [{"key_cluster": cluster, "key_bundle": name, "now": now} for name in bundles]
    if rows:
        writer.execute(_RESET, rows)


def delete_deployments(writer: Writer, cluster: ClusterId, bundles: Sequence[BundleName]) -> None:
    """Delete these deployments of one cluster."""
    rows = [{"key_cluster": cluster, "key_bundle": name} for name in bundles]
    if rows:
        writer.execute(_DELETE, rows)
