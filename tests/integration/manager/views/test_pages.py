"""A page of a list costs as much as the page, whatever the size of the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterId
from manager.presence import Presence, PresenceTable
from manager.store import migrate
from manager.store.schema import deployments
from manager.views.metadata import ListFilter
from manager.views.objects import list_documents
from manager.views.pages import PageRequest, list_page
from tests.support.manager.rows import (
    SPACE,
    add_clusters,
    add_deployments,
    cluster_id,
    deployment,
)

NOW = 10_000.0
COUNT = 60
WHOLE = ListFilter(workspace=SPACE)


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
        add_clusters(connection, range(COUNT))
        names = ("db", "web")
        add_deployments(connection, [deployment(n, name) for n in range(COUNT) for name in names])
    yield engine
    engine.dispose()


def presence() -> PresenceTable:
    live = PresenceTable(0.0)
    for n in range(COUNT):
        live.place(ClusterId(cluster_id(n)), Presence(b"k", last_seen=NOW))
    return live


def pages(connection: Connection, kind: str, query: ListFilter, limit: int) -> list[Any]:
    live, result, request = presence(), [], PageRequest(limit)
    while True:
        page = list_page(connection, live, kind, query, request, NOW)
        result.append(page)
        if not page.token:
            return result
        request = PageRequest(limit, page.token)


@pytest.mark.parametrize("kind", ["Cluster", "BundleDeployment"])
def test_pages_are_the_whole_list(engine: Engine, kind: str) -> None:
    """With the number of objects that follow."""
    with engine.begin() as connection:
        whole = list_documents(connection, presence(), kind, WHOLE, NOW)
        parts = pages(connection, kind, WHOLE, 25)
    assert [item for page in parts for item in page.items] == whole
    total = len(whole)
    assert [page.remaining for page in parts[:-1]] == [*range(total - 25, 0, -25)]
    assert (parts[-1].remaining, parts[-1].token) == (None, "")


def test_a_page_of_deployments_reads_its_rows_in_order(engine: Engine) -> None:
    """SQLite neither sorts nor scans: it begins at the last cluster of the page before."""
    statements: list[tuple[str, Any]] = []
    with engine.begin() as connection:
        token = pages(connection, "BundleDeployment", WHOLE, 25)[0].token
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _cursor, statement, values, *_: statements.append((statement, values)),
        )
        request = PageRequest(25, token)
        list_page(connection, presence(), "BundleDeployment", WHOLE, request, NOW)
        [(statement, values)] = [
            (text, values) for text, values in statements if "JOIN options" in text
        ]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    lines = [row[-1] for row in plan]
    assert "clusters USING" in lines[0], lines
    assert "workspace=? AND name>?" in lines[0], lines
    assert not any("SCAN" in line for line in lines), lines
    assert not any(line == "USE TEMP B-TREE FOR ORDER BY" for line in lines), lines


def test_a_list_without_ready_clusters_reads_only_the_others(engine: Engine) -> None:
    """Also a cluster whose only fault is one deployment, and one that is silent."""
    with engine.begin() as connection:
        one = deployments.c.cluster_id == cluster_id(7)
        connection.execute(
            sa.update(deployments).where(one, deployments.c.bundle == "db").values(state="NotReady")
        )
        live = presence()
        live.place(ClusterId(cluster_id(9)), Presence(b"k", last_seen=1.0))
        query = ListFilter(workspace=SPACE, not_ready=True)
        clusters = list_page(connection, live, "Cluster", query, PageRequest(5), NOW)
        on_clusters = list_page(connection, live, "BundleDeployment", query, PageRequest(5), NOW)
    names = [item["metadata"]["name"] for item in clusters.items]
    assert names == ["n-0000007", "n-0000009"]
    names = [item["metadata"]["name"] for item in on_clusters.items]
    assert names == ["n-0000007.db", "n-0000009.db", "n-0000009.web"]


@pytest.mark.parametrize("token", ["x", "WyJ4Il0", "AAAA", "é"])
def test_a_damaged_token_is_refused_with_one_line(engine: Engine, token: str) -> None:
    with engine.begin() as connection, pytest.raises(UsageError, match="not a token"):
        list_page(connection, presence(), "Cluster", WHOLE, PageRequest(5, token), NOW)


def test_a_token_belongs_to_its_kind_and_filters(engine: Engine) -> None:
    """Its limit may change from page to page."""
    with engine.begin() as connection:
        token = pages(connection, "Cluster", WHOLE, 25)[0].token
        other = ListFilter(workspace=SPACE, selector="a=b")
        for kind, query in (("Bundle", WHOLE), ("Cluster", other)):
            with pytest.raises(UsageError, match="other filters"):
                list_page(connection, presence(), kind, query, PageRequest(5, token), NOW)
        page = list_page(connection, presence(), "Cluster", WHOLE, PageRequest(50, token), NOW)
        assert len(page.items) == COUNT - 25
