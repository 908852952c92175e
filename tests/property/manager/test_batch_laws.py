"""Writes that go in batches leave the rows and counts that single writes leave.

The same random writes run one by one, each in its own transaction, and in random groups. Both end
in the same rows, each write has the same result, and the counts are the sum of their parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection, Engine

from fleetctl.core.model import wire
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.status import Report, ResourceStatus, State
from manager.agents.report_batch import REPORTS, ReportItem
from manager.store.schema import agent_targets, clusters, deployments, meta, rollouts
from tests.support.depth import depth
from tests.support.manager.group_commits import (
    WriteLog,
    grouped_counts,
    memory_engine,
    open_log,
    parts_of,
    read_tables,
)
from tests.support.manager.rows import (
    NOW,
    SPACE,
    add_clusters,
    add_deployments,
    cluster_id,
    deployment,
)

CLUSTERS = 4
BUNDLES = ("api", "db", "web")
START = 1_700_000_000.0
STATES = (State.READY, State.NOT_READY, State.ERR_APPLIED, State.MODIFIED)

numbers = st.integers(0, CLUSTERS - 1)
names = st.sampled_from(BUNDLES)
reports = st.builds(
    lambda name, generation, behind, state, *, removed: Report(
        bundle=BundleName(name),
        generation=Generation(generation),
        applied=Generation(max(0, generation - behind)),
        state=state,
        ready=state is State.READY,
        removed=removed,
        message="" if state is State.READY else f"{state.value}: it broke",
        resources=[ResourceStatus(api_version="v1", kind="Secret", name="s")],
    ),
    st.sampled_from((*BUNDLES, "unknown")),
    st.integers(0, 4),
    st.integers(0, 1),
    st.sampled_from(STATES),
    removed=st.booleans(),
)


class AgentReport(NamedTuple):
    """A report of the agent of cluster `number`. `is_full`: it mentions all its bundles."""

    number: int
    reports: dict[str, Report]
    has_reports: bool
    is_full: bool
    version: str
    upgrade: str

    def add_to(self, log: WriteLog, now: float) -> None:
        upgrade = (
            wire.AgentUpgrade(target_number=7, version="2", state=self.upgrade)
            if self.upgrade
            else None
        )
        request = wire.StatusRequest(
            instance="i", seq=1, agent_version=self.version, upgrade=upgrade
        )
        mentioned_bundles = frozenset(BundleName(name) for name in self.reports)
        item = ReportItem(
            cluster_id(self.number),
            request,
            list(self.reports.values()) if self.has_reports else None,
            mentioned_bundles if self.is_full else None,
            now,
        )
        log.add_item(REPORTS, item)


class NewGeneration(NamedTuple):
    """An ordinary write: a deployment gets a new generation, or becomes a tombstone."""

    number: int
    bundle: str
    is_removed: bool

    def add_to(self, log: WriteLog, now: float) -> None:
        log.add_work(self.run)

    def run(self, connection: Connection) -> None:
        d = deployments.c
        values = {"generation": d.generation + 1, "is_removed": self.is_removed}
        row = (d.cluster_id == cluster_id(self.number)) & (d.bundle == self.bundle)
        connection.execute(sa.update(deployments).where(row).values(**values))


Write = AgentReport | NewGeneration
writes = st.lists(
    st.one_of(
        st.builds(
            AgentReport,
            numbers,
            st.lists(reports, max_size=3).map(
                lambda values: {report.bundle: report for report in values}
            ),
            st.booleans(),
            st.booleans(),
            st.sampled_from(("1", "2")),
            st.sampled_from(("", "installing", "done")),
        ),
        st.builds(NewGeneration, numbers, names, st.booleans()),
    ),
    max_size=20,
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = memory_engine()
    with engine.begin() as connection:
        _fill(connection)
    yield engine
    engine.dispose()


def _fill(connection: Connection) -> None:
    """Clusters with deployments that were sent, staged or removed; the last cluster leaves."""
    connection.execute(sa.insert(meta), [{"key": "epoch", "value": 1}])
    add_clusters(connection, range(CLUSTERS))
    clusters_table = clusters.c
    last = clusters_table.id == cluster_id(CLUSTERS - 1)
    connection.execute(sa.update(clusters).where(last).values(is_leaving=True))
    rows = [
        deployment(
            number,
            bundle,
            generation=3,
            reported_generation=number % 3,
            applied_generation=number % 3,
            state=State.WAIT_APPLIED.value,
            staged_key="k" if number == 1 else "",
            is_removed=number == CLUSTERS - 1,
        )
        for number in range(CLUSTERS)
        for bundle in BUNDLES
    ]
    add_deployments(connection, rows)
    head = {"workspace": SPACE, "version": 1, "started_at": NOW, "phase": "Progressing", "dirty": 0}
    connection.execute(sa.insert(rollouts), [{"bundle": name, **head} for name in BUNDLES[:2]])
    target = {"workspace": SPACE, "number": 7, "version": "2", "sha256": "s", "message": ""}
    target |= {"max_concurrent": 1, "state_since": NOW}
    states = ("wanted", "queued", "queued")
    connection.execute(
        sa.insert(agent_targets),
        [target | {"cluster_id": cluster_id(n), "state": state} for n, state in enumerate(states)],
    )


def _outcome(
    engine: Engine, script: Sequence[Write], cuts: Sequence[int] | None
) -> tuple[list[Any], dict[str, list[Any]]]:
    """The results and the rows after the script, each write alone or in parts; undone after."""
    groups = [[write] for write in script] if cuts is None else parts_of(script, cuts)
    results: list[Any] = []
    with engine.connect() as connection, connection.begin() as transaction:
        with open_log(connection) as log:
            for group in groups:
                for write in group:
                    write.add_to(log, START)
                results += log.run()
        rows = read_tables(connection)
        assert rows["counts"] == grouped_counts(connection)
        transaction.rollback()
    return results, rows


@settings(max_examples=depth(60, 1000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=writes, cuts=st.lists(st.integers(1, 20), max_size=4))
def test_batches_leave_the_rows_of_single_writes(
    engine: Engine, script: list[Write], cuts: list[int]
) -> None:
    assert _outcome(engine, script, cuts) == _outcome(engine, script, None)
