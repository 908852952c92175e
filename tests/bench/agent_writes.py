"""What agents write, in the manager's own store: reports and enrolments, CPU for each.

A thousand wait at the same time, as in a storm. The peer is one prepared UPDATE of the same
columns for each row, by executemany in transactions of the same size in the same file, without the
triggers that keep the counts: the same durability, and nothing decided.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import wire
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.ids import BundleName, CommitId, Digest, Generation, Workspace
from fleetctl.core.model.status import ReleaseRef, Report, ResourceStatus, State
from fleetctl.sources.git.store import About
from manager.agents.enrolment_batch import ENROLMENTS, EnrolmentItem
from manager.agents.report_batch import REPORTS, ReportItem
from manager.agents.status_reports import encode_agent
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.store.commands.tokens import insert_registration
from manager.store.engine import Store
from manager.store.group_commit import BatchKind
from manager.store.queries.tokens import RegistrationRow
from manager.store.schema import meta, repos
from tests.bench.figures import Figure
from tests.bench.rollouts import REPO
from tests.support.manager.rows import (
    NOW,
    SPACE,
    add_clusters,
    add_deployments,
    cluster_id,
    deployment,
)

REPORTING = 10_000
ENROLLING = 5_000
BUNDLES = 5
_WAITING = 1_000  # writes that wait at the same time
_PART = 500  # writes of one transaction of the store
_TOKEN = b"token"
_UPDATE = """
UPDATE deployments SET state = ?, applied_generation = ?, reported_generation = ?, reported_at = ?,
    state_since = ?, first_ready_at = ?, message = ?, report = ?, cause_key = ?, resource_counts = ?
WHERE cluster_id = ? AND bundle = ?
"""
_INSERT = "INSERT INTO peer_clusters VALUES (?, ?, ?, ?, ?, ?)"


def reports(folder: Path) -> Iterable[Figure]:
    """10,000 clusters report one of their five deployments as Ready."""
    ours, peer = asyncio.run(_reports(folder))
    yield Figure("report of one deployment in the store: us CPU (100)", ours, 100.0, 1.0)
    yield Figure("the same (one prepared UPDATE for each row)", ours, peer, 4.0)


def enrolments(folder: Path) -> Iterable[Figure]:
    """5,000 agents enrol with one token; two bundles select their clusters."""
    ours, peer = asyncio.run(_enrolments(folder))
    yield Figure("enrolment in the store: us CPU (900)", ours, 900.0, 1.0)
    yield Figure("one prepared INSERT for each cluster: us CPU", peer, 0.0, 0.0)


async def _reports(folder: Path) -> tuple[float, float]:
    store = Store(folder / "fleet.db")
    await store.open()
    try:
        await store.write(_fill_reports)
        items = [_report_item(number) for number in range(REPORTING)]
        ours = await _cpu(store, REPORTS, items)
        await store.write(_drop_triggers)
        rows = [_update_row(number) for number in range(REPORTING)]
        return ours, await _peer(store, _UPDATE, rows)
    finally:
        await store.close()


async def _enrolments(folder: Path) -> tuple[float, float]:
    store = Store(folder / "fleet.db")
    await store.open()
    try:
        await store.write(_fill_enrolments)
        items = [EnrolmentItem(_TOKEN, os.urandom(32), NOW, "1.0") for _ in range(ENROLLING)]
        ours = await _cpu(store, ENROLMENTS, items)
        rows = [
            (f"c-{n:020}", SPACE, f"cluster-{n:012}", b"k" * 32, NOW, b"{}")
            for n in range(ENROLLING)
        ]
        return ours, await _peer(store, _INSERT, rows)
    finally:
        await store.close()


async def _cpu(store: Store, kind: BatchKind[Any, Any], items: Sequence[Any]) -> float:
    """Microseconds of CPU of the whole process for each of the items."""
    start = time.process_time()
    for first in range(0, len(items), _WAITING):
        part = items[first : first + _WAITING]
        await asyncio.gather(*(store.write_item(kind, item) for item in part))
    return (time.process_time() - start) / len(items) * 1e6


async def _peer(store: Store, statement: str, rows: Sequence[tuple[Any, ...]]) -> float:
    def run(part: Sequence[tuple[Any, ...]]) -> Any:
        return lambda connection: connection.exec_driver_sql(statement, part)

    start = time.process_time()
    for first in range(0, len(rows), _PART):
        await store.write(run(list(rows[first : first + _PART])))
    return (time.process_time() - start) / len(rows) * 1e6


def _fill_reports(connection: Connection) -> None:
    _fill_meta(connection)
    add_clusters(connection, range(REPORTING), region="eu")
    agent = encode_agent(_report_item(0).request, b"{}")
    connection.exec_driver_sql("UPDATE clusters SET agent = ?", (agent,))
    waiting = {"generation": 4, "reported_generation": 1, "applied_generation": 1}
    add_deployments(
        connection,
        (
            deployment(number, f"b{bundle}", state=State.WAIT_APPLIED.value, **waiting)
            for number in range(REPORTING)
            for bundle in range(BUNDLES)
        ),
    )


def _fill_enrolments(connection: Connection) -> None:
    _fill_meta(connection)
    connection.execute(sa.insert(repos), {"workspace": SPACE, "name": REPO.name})
    specs = [
        BundleSpec(
            workspace=Workspace(SPACE),
            name=BundleName(name),
            repo=REPO.name,
            path=name,
            commit=CommitId("1" * 40),
            archive=Digest("2" * 64),
            size=1,
            targets=[Target(name="all", cluster_selector={})],
        )
        for name in ("web", "db")
    ]
    scan = CompletedScan(specs[0].commit, specs, [], about=About())
    apply_scan(connection, REPO, 1, scan, confirmation=None, now=NOW)
    registration = RegistrationRow(
        _TOKEN, SPACE, "", None, "all", b"{}", "2099-01-01T00:00:00Z", ENROLLING, False
    )
    insert_registration(connection, registration)
    connection.exec_driver_sql(
        "CREATE TABLE peer_clusters (id TEXT PRIMARY KEY, workspace TEXT, name TEXT, public_key"
        " BLOB, enrolled_at TEXT, agent BLOB, UNIQUE (workspace, name))"
    )


def _fill_meta(connection: Connection) -> None:
    head = [{"key": "epoch", "value": 1}, {"key": "generation", "value": 4}]
    connection.execute(sa.insert(meta), head)


def _drop_triggers(connection: Connection) -> None:
    connection.exec_driver_sql("DROP TRIGGER deployments_updated")


def _report() -> Report:
    resources = [
        ResourceStatus(api_version="v1", kind="ConfigMap", name="web", namespace="shop"),
        ResourceStatus(api_version="apps/v1", kind="Deployment", name="web", namespace="shop"),
    ]
    return Report(
        bundle=BundleName("b1"),
        generation=Generation(4),
        applied=Generation(4),
        state=State.READY,
        ready=True,
        release=ReleaseRef(name="b1", namespace="shop", revision=2),
        commit="e" * 40,
        options_digest=Digest("b" * 64),
        at=NOW,
        resources=resources,
    )


def _report_item(number: int) -> ReportItem:
    request = wire.StatusRequest(
        instance="i",
        seq=2,
        agent_version="1.0",
        kube_version="1.33",
        tools={"helm": "4.1"},
        deployments=[_report()],
    )
    return ReportItem(cluster_id(number), request, request.deployments, None, 1_800_000_000.0)


def _update_row(number: int) -> tuple[Any, ...]:
    report = msgspec.json.encode(_report())
    values = ("NotReady", 4, 4, NOW, 1, 1, "", report, "", "Deployment=1")
    return (*values, cluster_id(number), "b1")
