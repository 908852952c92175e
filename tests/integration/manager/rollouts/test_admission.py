"""Deciding by counts gives what looking at every cluster gives: the same numbers, the same
clusters, the same partitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Group
from fleetctl.core.model.ids import BundleName, ClusterId, GroupName, Workspace
from fleetctl.core.rollout.decide import Quota
from fleetctl.core.rollout.schedule import ScheduleVerdict
from fleetctl.core.rollout.strategy import partitions_of, strategy_of
from manager.presence import HEARD
from manager.rollout import admission, partitions, staging
from manager.rollout.admission import Apart, choose, gather_census, limit_to_budgets
from manager.rollout.barred import BarredClusters
from manager.store import migrate, queries
from manager.store.queries.rollout.staged import candidates_of_clusters
from manager.store.schema import clusters, deployments, objects
from tests.support.manager.rows import (
    SPACE,
    add_clusters,
    add_deployments,
    anything,
    cluster_id,
    deployment,
)
from tests.support.rollouts import reference_decision as plainrollout

PLACE = (Workspace(SPACE), BundleName("web"))
CLUSTERS = 150


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
        yield connection
    engine.dispose()


def filled(
    connection: Connection, rng: random.Random
) -> tuple[dict[ClusterId, str], BarredClusters]:
    """Clusters in every state; some of them silent, some paused, some outside their window, some
    all of it.
    """
    numbers = range(CLUSTERS)
    add_clusters(connection, numbers)
    rows = [
        deployment(n, bundle, **anything(rng))
        for bundle in ("web", "api")
        for n in numbers
        if rng.random() < 0.9
    ]
    add_deployments(connection, rows)
    silent = {
        cluster_id(n): rng.choice(["unknown", "offline"]) for n in numbers if rng.random() < 0.2
    }
    why = {
        cluster_id(n): ScheduleVerdict(open=False, until=rng.choice([None, 7]), why="closed")
        for n in numbers
        if rng.random() < 0.2
    }
    return silent, BarredClusters(why, {cluster_id(n) for n in numbers if rng.random() < 0.2})


def set_apart(silent: dict[ClusterId, str], barred: BarredClusters) -> Apart:
    return Apart(
        silent,
        barred.paused_clusters,
        {cluster: barred.opens(cluster) for cluster in barred.closed_windows},
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_counts_are_those_of_every_cluster(connection: Connection, seed: int) -> None:
    silent, barred = filled(connection, random.Random(seed))
    every = plainrollout.members(connection, *PLACE)

    def health(cluster: ClusterId) -> str:
        return silent.get(cluster, HEARD)

    own = {cluster_id(n) for n in range(0, CLUSTERS, 5)}
    back = {m.cluster for m in every if m.cluster in own and m.staged and m.told} - set(
        barred.paused_clusters
    )
    found = [
        candidate
        for candidate in candidates_of_clusters(connection, PLACE, own)
        if candidate.cluster not in barred.paused_clusters
    ]
    assert {one.cluster for one in found} == back
    barred = BarredClusters(barred.closed_windows, {*barred.paused_clusters, *back})
    wanted = plainrollout.tallies(3, every, health, barred, own)
    census = gather_census(connection, PLACE, set_apart(silent, barred), own)
    assert census.tallies(3) == wanted
    going = plainrollout.going_back(every, back, ([2, 0, 3], 4), health)
    sent_back = limit_to_budgets(found, ([2, 0, 3], 4), lambda cluster: cluster not in silent)
    assert [one.cluster for one in sent_back] == [member.cluster for member in going]
    assert census.after(sent_back).tallies(3) == plainrollout.after(wanted, going, health, barred)


@pytest.mark.parametrize("seed", range(12))
def test_the_same_clusters_go(connection: Connection, seed: int) -> None:
    """Any numbers: who is ready goes in the partition's order, who is down goes at once; batches of
    new ones follow one another.
    """
    rng = random.Random(seed)
    silent, barred = filled(connection, rng)
    census = gather_census(connection, PLACE, set_apart(silent, barred))
    quotas = [
        Quota(ready=rng.randrange(8), fresh=rng.choice([0, CLUSTERS]), down=rng.random() < 0.5)
        for _ in range(3)
    ]
    every = plainrollout.members(connection, *PLACE)
    wanted = plainrollout.chosen(every, quotas, lambda cluster: silent.get(cluster, HEARD), barred)
    found = choose(connection, PLACE, census, quotas)
    assert {(one.cluster, one.staged_key) for one in found.candidates} == {
        (member.cluster, member.staged) for member in wanted
    }
    assert not found.has_more
    told = deployments.c.cluster_id.in_([one.cluster for one in found.candidates]) & (
        deployments.c.bundle == PLACE[1]
    )
    connection.execute(
        sa.update(deployments).where(told).values(staged_key="", state="WaitApplied", generation=9)
    )
    assert census.after(found.candidates) == gather_census(connection, PLACE, census.apart)


@pytest.mark.parametrize("most", [90, CLUSTERS])
def test_a_hand_out_goes_in_parts(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Nobody is left out, nobody goes twice, each part is as large as it may be: in order while
    only some may go, else row by row.
    """
    monkeypatch.setattr(admission, "MOST_DEPLOYMENTS", 40)
    add_clusters(connection, range(CLUSTERS))
    add_deployments(
        connection, [deployment(n, "web", staged_key="k" * 32) for n in range(CLUSTERS)]
    )
    order = [member.cluster for member in plainrollout.members(connection, *PLACE)]
    silent = {order[3]: "offline", order[70]: "unknown"}
    gone: list[ClusterId] = []
    sizes, swept, more = [], 0, True
    while more:
        census = gather_census(connection, PLACE, Apart(silent))
        found = choose(connection, PLACE, census, [Quota(ready=most - len(gone))], swept)
        where = deployments.c.cluster_id.in_([one.cluster for one in found.candidates])
        connection.execute(
            sa.update(deployments).where(where).values(staged_key="", state="WaitApplied")
        )
        gone += [one.cluster for one in found.candidates]
        sizes.append(len(found.candidates))
        swept, more = found.sweep_row, found.has_more
    allowed = [cluster for cluster in order if cluster not in silent]
    assert sum(sizes) == len(gone) == len(set(gone)) == min(most, len(allowed))
    assert max(sizes) == 40
    assert set(gone) == set(allowed[:most])


GROUPS = [
    Group(
        workspace=PLACE[0],
        name=GroupName("eu"),
        selector={"matchLabels": {"region": "eu"}},
        labels={"tier": "one"},
    )
]
STRATEGIES = [
    {},
    {"autoPartitionThreshold": 10},
    {"autoPartitionThreshold": 10, "autoPartitionSize": "7%", "maxUnavailable": "3%"},
    {"autoPartitionThreshold": 1000},
    {
        "partitions": [
            {"name": "canary", "clusterName": "n-0000003"},
            {"clusterGroup": "eu", "maxUnavailable": 2},
        ]
    },
    {
        "partitions": [
            {"clusterSelector": {"matchLabels": {"region": "us"}}},
            {"clusterGroupSelector": {"matchLabels": {"tier": "one"}}},
        ]
    },
]


def placed(connection: Connection) -> dict[str, int]:
    d = deployments.c
    rows = connection.execute(
        sa.select(d.cluster_id, d.partition).where(
            d.bundle == "web", ~d.is_removed, ~d.removal_held
        )
    )
    return {row.cluster_id: row.partition for row in rows}


@pytest.mark.parametrize("number", range(len(STRATEGIES)))
@pytest.mark.parametrize("most", [7, 5000])
def test_partitions_are_those_of_the_core(
    connection: Connection, number: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the strategy, in parts or at once; and for whom comes or moves later alone."""
    monkeypatch.setattr(partitions, "MOST_DEPLOYMENTS", most)
    stated = STRATEGIES[number]
    group = {
        "kind": "ClusterGroup",
        "workspace": SPACE,
        "name": "eu",
        "uid": "u",
        "generation": 1,
        "created_at": "",
        "annotations": b"{}",
    }
    body = {
        "labels": b'{"tier":"one"}',
        "spec": b'{"selector":{"matchLabels":{"region":"eu"}}}',
        "extra": b"{}",
    }
    connection.execute(sa.insert(objects), group | body)
    for at, region in enumerate(("eu", "us", "ap")):
        add_clusters(connection, range(at, CLUSTERS, 3), region=region)
    add_deployments(
        connection,
        [
            deployment(n, "web", partition=-1, staged_key="k" * 32 if n % 4 else "")
            for n in range(120)
        ],
    )
    spec = BundleSpec(workspace=PLACE[0], name=PLACE[1], rollout_strategy=stated)
    shape = whole(connection, spec, partitions.Shape([], {}), version=1)
    assert placed(connection) == wanted(connection, stated)
    add_deployments(
        connection,
        [deployment(n, "web", partition=-1, staged_key="k" * 32) for n in range(120, CLUSTERS)],
    )
    shape = whole(connection, spec, shape, version=2)
    assert placed(connection) == wanted(connection, stated)
    connection.execute(
        sa.update(clusters).where(clusters.c.id == cluster_id(1)).values(labels=b'{"region":"ap"}')
    )
    staging.unplace(connection, SPACE, [cluster_id(1)], ["web"])
    shape = whole(connection, spec, shape, version=2)
    assert placed(connection) == wanted(connection, stated)
    assert sum(size for _, size, *_ in shape.partitions) == CLUSTERS


def whole(
    connection: Connection, spec: BundleSpec, shape: partitions.Shape, version: int
) -> partitions.Shape:
    for _ in range(200):
        shape, done = partitions.place_clusters(connection, spec, shape, version)
        if done:
            return shape
    raise AssertionError(f"not placed: {shape}")


def wanted(connection: Connection, stated: dict[str, object]) -> dict[str, int]:
    d, c = deployments.c, clusters.c
    mine = sa.select(d.cluster_id).where(d.bundle == "web", ~d.is_removed)
    rows = connection.execute(
        sa.select(c.id, c.name, c.labels, c.annotations, c.spec).where(c.id.in_(mine))
    )
    fleet = [queries.cluster_of(row, PLACE[0]) for row in rows]
    made = partitions_of(strategy_of(stated), PLACE[1], fleet, GROUPS)
    return {member: at for at, part in enumerate(made) for member in part.members}
