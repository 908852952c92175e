"""A change that goes in parts leaves what one that goes at once leaves, row by row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.ids import BundleName, CommitId, Digest, RepoName, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.model.plan import Want
from fleetctl.core.targeting.target import outcomes, picking
from manager.reconcile.reconcile import reconcile
from manager.rollout import batches
from manager.rollout import engine as deciding
from manager.store import migrate
from manager.store.commands.delivery import want_columns
from manager.store.queries import Scope
from manager.store.schema import (
    bundles,
    clusters,
    deployments,
    meta,
    revisions,
    rollouts,
    staged_targets,
)
from tests.support.manager.rows import NOW, SPACE, add_clusters, cluster_id

PLACE = (Workspace(SPACE), BundleName("web"))
CLUSTERS = 36
REGIONS = ("eu", "us", "ap")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
        connection.execute(sa.insert(meta), {"key": "generation", "value": 10})
        for at, region in enumerate(REGIONS):
            add_clusters(connection, range(at, CLUSTERS, 3), region=region)
        yield connection
    engine.dispose()


def region(name: str) -> dict[str, Any]:
    return {"matchLabels": {"region": name}}


def bundle(value: int, **other: Any) -> BundleSpec:
    head = {
        "workspace": PLACE[0],
        "name": PLACE[1],
        "repo": RepoName("apps"),
        "path": "web",
        "commit": CommitId(f"{value:040}"),
    }
    head |= {
        "targets": [Target(name="all", cluster_selector={})],
        "rollout_strategy": {"maxUnavailable": 1},
    }
    head |= {"archive": Digest(f"{value:064}"), "size": value}
    custom = Target(
        name="eu", cluster_selector=region("eu"), options=Options(default_namespace=f"eu-{value}")
    )
    return BundleSpec(**{**head, "customizations": [custom], **other})


def store(connection: Connection, spec: BundleSpec) -> None:
    """The bundle as Git says now."""
    row = {
        "commit": spec.commit,
        "archive": spec.archive,
        "spec": msgspec.json.encode(spec),
        "repo": spec.repo,
    }
    b = bundles.c
    where = (b.workspace == spec.workspace) & (b.name == spec.name)
    if not connection.execute(
        sa.update(bundles).where(where).values(**row, generation=b.generation + 1)
    ).rowcount:
        head = {
            "workspace": spec.workspace,
            "name": spec.name,
            "uid": "u",
            "generation": 1,
            "created_at": NOW,
        }
        connection.execute(sa.insert(bundles), head | row)


def take(connection: Connection, spec: BundleSpec) -> None:
    """As a scan does, without a decision."""
    store(connection, spec)
    number = connection.execute(
        sa.select(bundles.c.generation).where(bundles.c.name == spec.name)
    ).scalar_one()
    said = {
        "author": "",
        "subject": "",
        "recorded_at": NOW,
        "archive": spec.archive,
        "spec": msgspec.json.encode(spec),
    }
    values = {
        "workspace": spec.workspace,
        "bundle": spec.name,
        "number": number,
        "commit": spec.commit,
    }
    connection.execute(sa.insert(revisions), values | said)
    reconcile(connection, Scope(spec.workspace, [spec.name]), now=NOW)


def run(connection: Connection) -> int:
    """The passes to their end; how many parts it took."""
    parts = 0
    for place in batches.every(connection):
        more = True
        while more:
            _, more = batches.go_on(connection, place, 1_767_225_600.0, reconcile)
            parts += 1
    return parts


def go_back(connection: Connection, number: int) -> None:
    """Pin a revision, or (0) follow Git again."""
    connection.execute(sa.update(bundles).values(pinned_revision=number))
    reconcile(connection, Scope(PLACE[0], [PLACE[1]]), now=NOW)


def live(connection: Connection, rng: random.Random) -> None:
    """Some clusters are told what is held, some of them report, some get other labels, some are
    told to remove it.
    """
    d, c = deployments.c, clusters.c
    for n in range(CLUSTERS):
        where = (d.cluster_id == cluster_id(n)) & (d.bundle == PLACE[1])
        chance = rng.random()
        if chance < 0.3:
            key = connection.execute(sa.select(d.staged_key).where(where)).scalar()
            if key:
                text = connection.execute(
                    sa.select(staged_targets.c.json).where(staged_targets.c.key == key)
                ).scalar_one()
                values = want_columns(msgspec.json.decode(text, type=Want)) | {
                    "generation": 7,
                    "state": "Ready",
                    "reported_generation": 7,
                    "staged_key": "",
                }
                connection.execute(sa.update(deployments).where(where).values(**values))
        elif chance < 0.4:
            labels = msgspec.json.encode({"region": rng.choice(REGIONS)})
            connection.execute(
                sa.update(clusters).where(c.id == cluster_id(n)).values(labels=labels)
            )
            reconcile(connection, Scope(PLACE[0], clusters=[cluster_id(n)]), now=NOW)


def rows(connection: Connection) -> list[dict[str, Any]]:
    d = deployments.c
    query = sa.select(deployments).where(d.bundle == PLACE[1]).order_by(d.cluster_id)
    return [
        {k: v for k, v in row._mapping.items() if k not in {"generation", "partition"}}
        for row in connection.execute(query)
    ]


def versions(rng: random.Random) -> list[BundleSpec]:
    """Commits that change the content, the options, what is only shown, who gets it, and take
    something back.
    """
    found = []
    for _ in range(5):
        value = rng.randrange(4)
        other: dict[str, Any] = {}
        if rng.random() < 0.3:
            other["labels"] = {"team": str(rng.randrange(2))}
        if rng.random() < 0.2:
            other["customizations"] = []
        if rng.random() < 0.2:
            other["targets"] = [
                Target(name="us", cluster_selector=region("us")),
                Target(name="all", cluster_selector={}),
            ]
        if rng.random() < 0.3:
            other["options"] = Options(service_account=f"a{rng.randrange(2)}")
        found.append(bundle(value, **other))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_parts_leave_what_the_whole_leaves(
    connection: Connection, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same commits with the same things between them; in parts of seven, and at once."""
    results = []
    parts = 0
    for many in (1, 10**9):
        monkeypatch.setattr(batches, "MANY_DEPLOYMENTS", many)
        monkeypatch.setattr(batches, "MOST_DEPLOYMENTS", 7)
        point = connection.begin_nested()
        rng = random.Random(seed)
        seen = []
        for spec in versions(rng):
            take(connection, spec)
            parts += run(connection)
            live(connection, rng)
            seen.append(rows(connection))
            if rng.random() < 0.5:
                numbers = connection.execute(sa.select(revisions.c.number)).scalars().all()
                go_back(connection, rng.choice([0, *numbers]))
                parts += run(connection)
                live(connection, rng)
                seen.append(rows(connection))
        results.append(seen)
        point.rollback()
    assert results[0] == results[1]
    assert parts > CLUSTERS // 7


def test_a_rollout_stands_still_until_its_change_is_whole(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a restart, of which the store knows nothing: what is under way is found again, and
    a newer commit begins it anew.
    """
    monkeypatch.setattr(batches, "MANY_DEPLOYMENTS", 1)
    monkeypatch.setattr(batches, "MOST_DEPLOYMENTS", 15)
    take(connection, bundle(1))
    run(connection)
    deciding.advance(connection, *PLACE, {}, 1.0)
    take(connection, bundle(2))
    _, more = batches.go_on(connection, PLACE, 1.0, reconcile)
    assert more
    assert deciding.due_rollouts(connection, 1.0, None, with_settled=True) == []
    assert deciding.advance(connection, *PLACE, {}, 1.0).clusters == set()
    take(connection, bundle(3))
    assert run(connection) == 3
    assert deciding.due_rollouts(connection, 1.0, None, with_settled=True) == [PLACE]
    assert len(set(connection.execute(sa.select(deployments.c.staged_key)).scalars())) == 2
    version = connection.execute(sa.select(bundles.c.generation)).scalar_one()
    assert connection.execute(sa.select(rollouts.c.version)).scalar_one() == version


def test_going_back_goes_in_parts_too(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision with another content picks whom Git picks now; one with other customizations is
    matched anew, and so is the way back.
    """
    monkeypatch.setattr(batches, "MANY_DEPLOYMENTS", 1)
    monkeypatch.setattr(batches, "MOST_DEPLOYMENTS", 15)
    for spec in (bundle(1, customizations=[]), bundle(2), bundle(3)):
        take(connection, spec)
        run(connection)
    found = []
    for number in (2, 0, 1, 0, 2):
        go_back(connection, number)
        found.append(run(connection) > 0)
        keys = sa.select(staged_targets.c.json).where(
            staged_targets.c.key.in_(sa.select(deployments.c.staged_key))
        )
        archives = {
            msgspec.json.decode(text, type=Want).archive
            for text in connection.execute(keys).scalars()
        }
        assert archives == {f"{number or 3:064}"}
    assert found == [True, True, False, False, True]


def test_what_a_bundle_gives_is_told_apart_by_names() -> None:
    """Without names only matching tells; another content leaves who is picked as it was."""
    one, other = Options(default_namespace="a"), Options(default_namespace="b")
    spec = bundle(
        1,
        customizations=[
            Target(cluster_selector=region("eu"), options=one),
            Target(cluster_selector={}, options=other),
        ],
    )
    assert outcomes(spec) is None
    assert set(outcomes(bundle(1)) or {}) == {("all", ""), ("all", "eu")}
    assert (
        picking(bundle(1))
        == picking(bundle(2, options=one))
        != picking(bundle(1, customizations=[]))
    )
    together = bundle(1, customization_mode="AllMatches")
    assert set(outcomes(together) or {}) == {("all", ""), ("all", "eu")}
