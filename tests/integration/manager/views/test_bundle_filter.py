"""One bundle of many deployments is selected by the database, not by reading all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from manager.presence import PresenceTable
from manager.store import migrate
from manager.views.metadata import ListFilter
from manager.views.objects import list_documents
from tests.support.manager.rows import SPACE, add_clusters, add_deployments, deployment

NOW = 10_000.0
SELECTOR = "fleet.cattle.io/bundle-name=web"


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
        add_clusters(connection, range(20))
        bundles = ("web", "web-2", "db")
        add_deployments(connection, [deployment(n, name) for n in range(20) for name in bundles])
    yield engine
    engine.dispose()


def names(connection: Connection, **filters: str) -> list[str]:
    query = ListFilter(workspace=SPACE, **filters)
    items = list_documents(connection, PresenceTable(0.0), "BundleDeployment", query, NOW)
    return [item["metadata"]["name"] for item in items]


@pytest.mark.parametrize("filters", [{"bundle": "web"}, {"selector": SELECTOR}])
def test_the_bundle_is_a_condition_of_the_query(engine: Engine, filters: dict[str, str]) -> None:
    """By the filter and by the label that selects exactly one bundle."""
    statements: list[tuple[str, Any]] = []
    with engine.begin() as connection:
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _cursor, statement, values, *_: statements.append((statement, values)),
        )
        assert names(connection, **filters) == [f"n-{n:07}.web" for n in range(20)]
        [(statement, values)] = [
            (text, values) for text, values in statements if "JOIN options" in text
        ]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    assert "web" in values
    assert any("deployments_bundle (workspace=? AND bundle=?)" in row[-1] for row in plan), plan


def test_a_selector_narrows_what_the_bundle_filter_selects(engine: Engine) -> None:
    cluster = "fleet.cattle.io/cluster=n-0000003"
    with engine.begin() as connection:
        assert names(connection, selector=f"{SELECTOR},{cluster}") == ["n-0000003.web"]
        assert names(connection, bundle="db", selector=cluster) == ["n-0000003.db"]
        assert names(connection, bundle="db", selector=SELECTOR) == []
        assert len(names(connection, selector=f"!fleet.cattle.io/x,{SELECTOR}")) == 20
        assert len(names(connection, selector="fleet.cattle.io/bundle-name!=web")) == 40
