"""Rollbacks and pins of single clusters, in parts and at once, also while a pass is under way: the
same is wanted everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.plan import Want
from fleetctl.sources.git.store import About
from manager.commands.rollback import ClusterSelection, RollbackRequest, roll_back
from manager.reconcile.reconcile import reconcile
from manager.revisions import history
from manager.rollout import batches
from manager.store.commands.delivery import want_columns
from manager.store.queries import Scope
from manager.store.schema import clusters, deployments, staged_targets
from tests.integration.manager.rollouts.test_batches import (
    CLUSTERS,
    PLACE,
    connection,
    live,
    run,
    store,
    versions,
)
from tests.support.manager.rows import NOW

__all__ = ["connection"]


def take(connection: Connection, spec: BundleSpec) -> None:
    """As a scan does, with the revision."""
    store(connection, spec)
    history.record(connection, [spec], About("Ada", "change"), NOW)
    reconcile(connection, Scope(spec.workspace, [spec.name]), now=NOW)


def asks(rng: random.Random, names: list[str]) -> Iterator[RollbackRequest]:
    """What people say between two commits."""
    for _ in range(rng.randrange(3)):
        some = ClusterSelection(tuple(rng.sample(names, 3)))
        kind = rng.random()
        if kind < 0.3:
            yield RollbackRequest(rng.randrange(1, 6))
        elif kind < 0.6:
            yield RollbackRequest(rng.randrange(1, 6), clusters=some)
        elif kind < 0.7:
            yield RollbackRequest(clusters=some, release=True)
        else:
            yield RollbackRequest(release=True, everyone=rng.random() < 0.5)


def seen(connection: Connection) -> list[dict[str, Any]]:
    """What each cluster was told and what it will be; numbers of decisions differ with how many
    parts there were.
    """
    d, found = deployments.c, []
    for row in connection.execute(
        sa.select(deployments).where(d.bundle == PLACE[1]).order_by(d.cluster_id)
    ):
        text = connection.execute(
            sa.select(staged_targets.c.json).where(staged_targets.c.key == row.staged_key)
        ).scalar()
        staged = (
            msgspec.structs.replace(msgspec.json.decode(text, type=Want), decision=0)
            if text
            else None
        )
        known = {
            k: v
            for k, v in row._mapping.items()
            if k not in {"generation", "partition", "decision", "staged_key", "delivery_log"}
        }
        found.append(known | {"staged_key": staged})
    return found


@pytest.mark.parametrize("seed", range(8))
def test_parts_leave_what_the_whole_leaves(
    connection: Connection, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same commits and the same words of people, some of them while a pass is under way; in
    parts of seven, and at once.
    """
    names = list(connection.execute(sa.select(clusters.c.name).order_by(clusters.c.name)).scalars())
    monkeypatch.setattr(batches, "MOST_DEPLOYMENTS", 7)
    results = []
    for many in (1, CLUSTERS + 1):
        monkeypatch.setattr(batches, "MANY_DEPLOYMENTS", many)
        point, rng, parts = connection.begin_nested(), random.Random(seed), 0
        for spec in versions(rng):
            take(connection, spec)
            early = rng.random() < 0.5
            parts += 0 if early else run(connection)
            for ask in asks(rng, names):
                if early:
                    for place in batches.every(connection):
                        parts += (
                            batches.go_on(connection, place, 1_767_225_600.0, reconcile) is not None
                        )
                try:
                    with connection.begin_nested():
                        roll_back(connection, PLACE, ask, NOW)
                except FleetError:
                    continue
            parts += run(connection)
            live(connection, rng)
        results.append(seen(connection))
        assert (parts > 0) == (many == 1)
        point.rollback()
    assert results[0] == results[1]


def test_a_rollback_of_very_many_goes_in_parts_and_tells_how_many(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is called told or ready with it before; the number that will change is known at
    once.
    """
    monkeypatch.setattr(batches, "MANY_DEPLOYMENTS", 1)
    first, second = versions(random.Random(3))[:2]
    second = msgspec.structs.replace(
        first, archive=second.archive if second.archive != first.archive else first.archive[::-1]
    )
    for spec in (first, second):
        take(connection, spec)
        run(connection)
        texts = {
            row.key: msgspec.json.decode(row.json, type=Want)
            for row in connection.execute(sa.select(staged_targets))
        }
        for key, want in texts.items():
            values = want_columns(want) | {
                "staged_key": "",
                "generation": 10,
                "state": "Ready",
                "reported_generation": 10,
            }
            connection.execute(
                sa.update(deployments).where(deployments.c.staged_key == key).values(**values)
            )
    names = (
        connection.execute(sa.select(clusters.c.name).order_by(clusters.c.name).limit(2))
        .scalars()
        .all()
    )
    roll_back(connection, PLACE, RollbackRequest(2, clusters=ClusterSelection(tuple(names))), NOW)
    done = roll_back(connection, PLACE, RollbackRequest(1), NOW)
    assert batches.every(connection) == [PLACE]
    assert (done.clusters, done.told, done.waiting) == (CLUSTERS - 2, 0, CLUSTERS - 2)
    assert run(connection) > 0
    staged = [row["staged_key"] for row in seen(connection)]
    assert staged.count(None) == 2
    assert {want.archive for want in staged if want} == {first.archive}
    released = roll_back(connection, PLACE, RollbackRequest(release=True), NOW)
    assert (released.told, released.waiting) == (0, 0)
    run(connection)
    assert {row["staged_key"] for row in seen(connection)} == {None}
