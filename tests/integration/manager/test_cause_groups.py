"""Deployments with the same cause are one row of the database, whenever they were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from manager.store import migrate
from manager.store.queries.deployment_states import group_by_cause
from manager.store.queries.deployments import DeploymentScope
from tests.support.manager.rows import SPACE, add_clusters, add_deployments, cluster_id, deployment

CLUSTERS = 50


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
        add_clusters(connection, range(CLUSTERS))
        trouble = {"state": "NotReady", "cause_key": "abc"}
        rows = [deployment(n, "web", sent_at=1000 + n, **trouble) for n in range(CLUSTERS)]
        add_deployments(connection, rows)
    yield engine
    engine.dispose()


def test_the_time_of_sending_makes_no_group_of_its_own(engine: Engine) -> None:
    with engine.begin() as connection:
        rows = group_by_cause(
            connection, DeploymentScope(SPACE), ((), ()), by_cluster=False, by_schedule=False
        )
    [row] = rows
    assert (row.bundle, row.state, row.total) == ("web", "NotReady", CLUSTERS)
    assert (row.is_sent, row.is_reported, row.is_staged) == (True, True, False)
    assert row.cluster_id == min(map(cluster_id, range(CLUSTERS)))


def test_silent_clusters_are_grouped_apart(engine: Engine) -> None:
    offline, absent = [cluster_id(1), cluster_id(2)], [cluster_id(3)]
    with engine.begin() as connection:
        rows = group_by_cause(
            connection,
            DeploymentScope(SPACE, bundle="web"),
            (offline, absent),
            by_cluster=False,
            by_schedule=True,
        )
    assert [row.total for row in rows] == [CLUSTERS - 3, 2, 1]
