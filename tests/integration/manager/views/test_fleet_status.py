"""The fleet on one screen says what the lists say, in a few lines however many clusters there are,
with the commands that come next.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from manager.commands.rollback import RollbackRequest
from manager.presence import Presence, PresenceTable
from manager.service import Service
from manager.store import migrate
from manager.views import metadata, objects
from manager.views.fleet_status import build_overview
from tests.integration.manager.views.test_counts import NOW, filled
from tests.integration.manager.views.test_reasons import HOUR, begun, fails, status
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add
from tests.support.manager.rows import SPACE, add_clusters, add_deployments, cluster_id, deployment
from tests.support.manager.silence import silence
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    ONE,
    Agents,
    files,
    next_commit,
    phase_is,
    run,
    scanned_first,
)
from tests.support.waiting import until


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        migrate.up(connection, "x.db")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("seed", range(8))
def test_clusters_are_counted_as_they_are_listed(engine: Engine, seed: int) -> None:
    """By what is wrong with them, without reading what is well: the same numbers as one by one."""
    with engine.begin() as connection:
        live = filled(connection, random.Random(seed))
        found = build_overview(connection, live, SPACE, NOW)
        items = objects.list_documents(
            connection, live, "Cluster", metadata.ListFilter(workspace=SPACE), NOW
        )
        listed = [metadata.display_state(item) for item in items]
        assert found["clusters"] == {state: listed.count(state) for state in set(listed)}
        assert sum(found["deployments"].values()) == sum(
            item["status"]["summary"]["desiredReady"] for item in items
        )
        assert build_overview(connection, live, None, NOW)["clusters"] == found["clusters"]


def test_many_clusters_with_one_trouble_are_one_line(engine: Engine) -> None:
    """Two thousand are silent: one of them is named, all are counted, and the command lists
    them.
    """
    with engine.begin() as connection:
        add_clusters(connection, range(3000))
        add_deployments(connection, (deployment(n, "web") for n in range(3000)))
        live = PresenceTable(0.0)
        for n in range(3000):
            live.place(cluster_id(n), Presence(b"k", last_seen=0.0 if n < 2000 else NOW))
        found = build_overview(connection, live, SPACE, NOW)
        assert found["clusters"] == {"Offline": 2000, "Ready": 1000}
        [line] = found["attention"]
        assert (line["kind"], line["name"], line["count"]) == ("Cluster", "n-0000000", 2000)
        assert line["next"] == "fleetctl cluster list --state Offline"


def test_what_waits_for_somebody_has_its_command(tmp_path: Path, clone: Clone) -> None:
    """A failing bundle, a silent cluster, and a repository that cannot be read, worst first."""

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, "a", "b", "c")
        await agents.poll("a", "b", answer=fails("web"))
        await agents.poll("c")
        await add(service, f"{clone.url}-gone", "gone")
        await until(
            lambda: status(service, "GitRepo", "gone"), lambda s: s["display"]["state"] == "Stalled"
        )
        silence(service._live, agents.ids["c"], HOUR)
        found = await service.views.status("fleet-default")
        lines = {(line["state"], line["kind"], line["name"]): line for line in found["attention"]}
        assert [line["state"] for line in found["attention"]] == [
            "Stalled",
            "ErrApplied",
            "Offline",
        ]
        assert lines["Stalled", "GitRepo", "gone"]["next"] == "fleetctl gitrepo get gone"
        failing = lines["ErrApplied", "Bundle", BUNDLE]
        assert failing["message"] == "2 clusters: pod.v1 shop/web: no such image"
        assert failing["next"] == f"fleetctl why bundle/{BUNDLE}"
        assert lines["Offline", "Cluster", "c"]["next"] == "fleetctl why cluster/c"
        assert found["gitrepos"] == {"ErrApplied": 1, "Stalled": 1}
        assert found["attentionOmitted"] == 0

    run(tmp_path / "m", work)


def test_rollouts_and_pins_are_on_the_screen(tmp_path: Path, clone: Clone) -> None:
    """What is on its way, what a person has stopped, and what does not follow Git."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await scanned_first(service, agents, clone, ONE)
        quiet = await service.views.status("fleet-default")
        assert (quiet["rollouts"]["items"], quiet["rollouts"]["counts"]) == ([], {"Completed": 1})
        await next_commit(service, clone, files(2, ONE))
        await phase_is(service, "Progressing")
        [going] = (await service.views.status("fleet-default"))["rollouts"]["items"]
        assert (going["name"], going["state"], going["waitsForYou"]) == (
            BUNDLE,
            "Progressing",
            False,
        )
        assert going["next"] == f"fleetctl rollout status {BUNDLE}"
        await service.rollouts.command("fleet-default", BUNDLE, "pause", "freeze")
        [paused] = (await service.views.status("fleet-default"))["rollouts"]["items"]
        assert (paused["waitsForYou"], paused["next"]) == (
            True,
            f"fleetctl rollout resume {BUNDLE}",
        )
        assert "freeze" in paused["message"]
        await service.rollouts.go_back(
            "fleet-default", BUNDLE, RollbackRequest(reason="it leaks", person="ann")
        )
        pins = (await service.views.status("fleet-default"))["pins"]
        assert (pins["bundles"], pins["items"][0]["name"]) == (1, BUNDLE)
        assert "it leaks" in pins["items"][0]["message"]

    run(tmp_path / "m", work)
