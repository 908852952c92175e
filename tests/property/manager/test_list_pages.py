"""Law of lists: the pages together are the whole list, whatever changes between two pages."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import ClusterId
from manager.presence import Presence, PresenceTable
from manager.store import migrate
from manager.store.schema import clusters, deployments
from manager.views.metadata import Document, ListFilter
from manager.views.pages import PageRequest, list_page
from tests.support.manager.rows import (
    SPACE,
    add_clusters,
    add_deployments,
    cluster_id,
    deployment,
)

NOW = 10_000.0
NUMBERS = st.sets(st.integers(0, 15), max_size=16)
CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove", "fail"]), st.integers(0, 15)))
FILTERS = st.sampled_from(
    [
        ListFilter(workspace=SPACE),
        ListFilter(),
        ListFilter(workspace=SPACE, not_ready=True),
        ListFilter(workspace=SPACE, states=("Ready",)),
        ListFilter(workspace=SPACE, selector="env=prod"),
        ListFilter(workspace=SPACE, bundle="web"),
    ]
)


@cache
def empty_database() -> bytes:
    """A database with the tables and triggers, and no rows."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        migrate.up(connection, "x.db")
        connection.commit()
        driver: Any = connection.connection.driver_connection
        data: bytes = driver.serialize()
    engine.dispose()
    return data


class Fleet:
    """Clusters with two deployments each, in a database in memory."""

    def __init__(self, numbers: set[int]) -> None:
        self.engine = sa.create_engine("sqlite://")
        self.connection = self.engine.connect()
        driver: Any = self.connection.connection.driver_connection
        driver.deserialize(empty_database())
        self.live = PresenceTable(0.0)
        self.numbers: set[int] = set()
        for number in sorted(numbers):
            self.change("add", number)

    def change(self, verb: str, number: int) -> None:
        connection: Connection = self.connection
        cluster = cluster_id(number)
        if verb == "add" and number not in self.numbers:
            labels = {"env": "prod"} if number % 2 else {}
            add_clusters(connection, [number], **labels)
            add_deployments(connection, [deployment(number, name) for name in ("db", "web")])
            self.live.place(ClusterId(cluster), Presence(b"k", last_seen=NOW))
            self.numbers.add(number)
        elif verb == "remove":
            connection.execute(sa.delete(deployments).where(deployments.c.cluster_id == cluster))
            connection.execute(sa.delete(clusters).where(clusters.c.id == cluster))
            self.live.forget(ClusterId(cluster))
            self.numbers.discard(number)
        elif verb == "fail":
            statement = sa.update(deployments).where(deployments.c.cluster_id == cluster)
            connection.execute(statement.values(state="NotReady"))

    def names(self, kind: str, query: ListFilter) -> set[str]:
        return set(map(name_of, self.page(kind, query, PageRequest(1000)).items))

    def page(self, kind: str, query: ListFilter, request: PageRequest) -> Any:
        return list_page(self.connection, self.live, kind, query, request, NOW)

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()


def name_of(item: Document) -> str:
    return str(item["metadata"]["name"])


@settings(max_examples=30, deadline=None)
@given(
    numbers=NUMBERS,
    changes=CHANGES,
    query=FILTERS,
    kind=st.sampled_from(["Cluster", "BundleDeployment"]),
    limit=st.integers(1, 7),
)
def test_no_object_that_exists_throughout_is_missing_or_double(
    numbers: set[int], changes: list[tuple[str, int]], query: ListFilter, kind: str, limit: int
) -> None:
    """After each page one change happens. What every moment's whole list has is in the pages
    exactly once, sorted, and nothing is in them that no moment's list had.
    """
    fleet = Fleet(numbers)
    try:
        always = ever = fleet.names(kind, query)
        names: list[str] = []
        request = PageRequest(limit)
        while True:
            page = fleet.page(kind, query, request)
            assert len(page.items) <= limit
            names += map(name_of, page.items)
            if not page.token:
                break
            if not query.is_filtered:
                assert page.remaining >= 1
            if changes:
                fleet.change(*changes.pop())
                always, ever = always & fleet.names(kind, query), ever | fleet.names(kind, query)
            request = PageRequest(limit, page.token)
        assert len(names) == len(set(names))
        assert names == sorted(names)
        assert always <= set(names) <= ever
    finally:
        fleet.close()
