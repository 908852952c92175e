"""Counts are the sum of their parts, whoever wrote them, and say the truth of clusters that are
silent.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import held_state, seen_state
from manager.presence import Presence, PresenceTable
from manager.store import counts as counting
from manager.store import migrate
from manager.store.schema import clusters, deployments, objects
from manager.store.triggers import counts as count_triggers
from manager.views.metadata import ListFilter
from manager.views.objects import get_document, list_documents
from manager.views.states import fleet_view
from tests.support.manager.rows import (
    SPACE,
    add_clusters,
    add_deployments,
    anything,
    cluster_id,
    deployment,
)

NOW = 10_000.0
BUNDLES = ("api", "db", "web")


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
    yield engine
    engine.dispose()


def filled(connection: Connection, rng: random.Random) -> PresenceTable:
    """Sixty clusters, some silent, some without an agent, with deployments in every state."""
    live = PresenceTable(0.0)
    for n in range(60):
        kind = rng.random()
        add_clusters(connection, [n], enrolled=kind > 0.1)
        if kind > 0.1:
            live.place(cluster_id(n), Presence(b"k", last_seen=0.0 if kind < 0.3 else NOW))
    rows = [
        deployment(n, bundle, **anything(rng))
        for n in range(60)
        for bundle in BUNDLES
        if rng.random() < 0.8
    ]
    add_deployments(connection, rows)
    return live


def plainly(connection: Connection, live: PresenceTable) -> list[tuple[Any, State]]:
    """Each deployment with its state, one by one."""
    rows = connection.execute(sa.select(deployments).where(~deployments.c.is_removed)).all()
    found = []
    for row in rows:
        enrolled = ClusterId(row.cluster_id) in live.clusters
        stored = (
            held_state(State(row.state), told=row.generation > 0)
            if row.staged_key
            else State(row.state)
        )
        found.append(
            (
                row,
                seen_state(
                    stored,
                    offline=enrolled and live.is_offline(row.cluster_id, NOW),
                    enrolled=enrolled,
                ),
            )
        )
    return found


def grouped(connection: Connection) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in connection.execute(sa.text(count_triggers.GROUPED))}


def kept(connection: Connection) -> set[tuple[Any, ...]]:
    return {
        (*map(str, count_key[:2]), *count_key[2:], n)
        for count_key, n in counting.count_deployments(connection).items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_every_write_is_counted(engine: Engine, seed: int) -> None:
    """Rows that come, change and go in any order: the counts are what counting all of them
    gives.
    """
    rng = random.Random(seed)
    d = deployments.c
    with engine.begin() as connection:
        filled(connection, rng)
        assert kept(connection) == grouped(connection)
        for _ in range(100):
            n, bundle = rng.randrange(60), rng.choice(BUNDLES)
            where = (d.cluster_id == cluster_id(n)) & (d.bundle == bundle)
            if rng.random() < 0.3:
                connection.execute(sa.delete(deployments).where(where))
            elif rng.random() < 0.3:
                connection.execute(
                    sa.insert(deployments).prefix_with("OR IGNORE"),
                    deployment(n, bundle, **anything(rng)),
                )
            else:
                some = d.bundle == bundle if rng.random() < 0.1 else where
                connection.execute(sa.update(deployments).where(some).values(**anything(rng)))
        assert kept(connection) == grouped(connection)
        count_triggers.sweep(connection)
        assert kept(connection) == grouped(connection)


def test_counts_come_back_with_their_triggers(engine: Engine) -> None:
    """A migration that makes the table anew loses them; the next start counts again."""
    with engine.begin() as connection:
        filled(connection, random.Random(1))
        connection.exec_driver_sql("DROP TRIGGER deployments_updated")
        connection.execute(sa.update(deployments).values(state=State.MODIFIED.value))
        migrate.up(connection, "x.db")
        assert kept(connection) == grouped(connection)
        assert {count_key.state for count_key in counting.count_deployments(connection)} == {
            "Modified"
        }


@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_is_what_each_one_shows(engine: Engine, seed: int) -> None:
    """By bundle, by repository, by cluster and in all, Offline and Pending included."""
    with engine.begin() as connection:
        live = filled(connection, random.Random(seed))
        whole = fleet_view(connection, live, NOW, SPACE)
        every = plainly(connection, live)
        assert {state for _, state in every} >= {State.OFFLINE, State.PENDING, State.READY}
        for key in (
            lambda row: (row.workspace, row.bundle),
            lambda row: row.repo,
            lambda row: None,
        ):
            wanted: dict[Any, dict[State, int]] = {}
            for row, state in every:
                mine = wanted.setdefault(key(row), {})
                mine[state] = mine.get(state, 0) + 1
            assert whole.count_states(key) == wanted
        by_cluster: dict[str, dict[State, int]] = {}
        for row, state in every:
            mine = by_cluster.setdefault(row.cluster_id, {})
            mine[state] = mine.get(state, 0) + 1
        assert whole.count_states_by_cluster() == by_cluster
        some = sorted(by_cluster)[:7]
        assert whole.count_states_by_cluster(some) == {
            cluster: by_cluster[cluster] for cluster in some
        }
        one = {
            name[1]: counts
            for name, counts in whole.count_states(
                lambda count_key: (count_key.workspace, count_key.bundle), "web"
            ).items()
        }
        assert one == {"web": whole.count_states(lambda count_key: count_key.bundle)["web"]}


def test_a_group_is_the_sum_of_its_clusters(engine: Engine) -> None:
    """Its counters, its clusters that are not Ready, and nothing of clusters that its selector
    leaves out.
    """
    with engine.begin() as connection:
        live = filled(connection, random.Random(1))
        odd = [cluster_id(n) for n in range(1, 60, 2)]
        connection.execute(
            sa.update(clusters).where(clusters.c.id.in_(odd)).values(labels=b'{"odd":"yes"}')
        )
        head = {
            "kind": "ClusterGroup",
            "workspace": SPACE,
            "name": "odd",
            "uid": "u",
            "generation": 1,
            "created_at": "",
        }
        body = {
            "labels": b"{}",
            "annotations": b"{}",
            "spec": b'{"selector":{"matchLabels":{"odd":"yes"}}}',
            "extra": b"{}",
        }
        connection.execute(sa.insert(objects), head | body)
        status = get_document(connection, live, "ClusterGroup", SPACE, "odd", NOW)["status"]
        mine = list_documents(
            connection, live, "Cluster", ListFilter(workspace=SPACE, selector="odd=yes"), NOW
        )
    unready = [
        item["metadata"]["name"] for item in mine if item["status"]["display"]["state"] != "Ready"
    ]
    summaries = [item["status"]["summary"] for item in mine]
    wanted = {key: sum(one.get(key, 0) for one in summaries) for key in set().union(*summaries)}
    assert (status["clusterCount"], status["nonReadyClusterCount"]) == (30, len(unready))
    assert status["nonReadyClusters"] == unready[:10]
    assert status["summary"] == wanted
    assert status["display"]["readyBundles"] == f"{wanted['ready']}/{wanted['desiredReady']}"
