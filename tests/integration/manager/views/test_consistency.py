"""What people see is true: marks beside states, when Git was asked, whether an agent is there, and
what is not counted yet.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from manager.commands.rollback import ClusterSelection, RollbackRequest
from manager.service import Service
from manager.store.schema import batch_jobs
from manager.views import objects
from manager.views.metadata import ListFilter
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, serving
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    Agents,
    first_commit,
    next_commit,
    plain,
    run,
)
from tests.support.waiting import until

SPACE = "fleet-default"
CLOSED = {
    "schedule": "0 0 0 1 1 ?",
    "duration": "1m",
    "targets": {"clusters": [{"clusterName": "c"}]},
}


async def marks(service: Service, kind: str) -> dict[str, list[str]]:
    items = await service.views.list_objects(kind, workspace=SPACE)
    return {item["metadata"]["name"]: item["status"]["display"]["marks"] for item in items}


async def pause_cluster(service: Service, name: str) -> None:
    doc = await service.views.get_object("Cluster", SPACE, name)
    head = {key: doc[key] for key in ("apiVersion", "kind", "metadata")}
    await service.objects.put("Cluster", SPACE, name, {**head, "spec": {"paused": True}})


def test_what_is_paused_pinned_or_frozen_is_marked_everywhere(tmp_path: Path, clone: Clone) -> None:
    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        await first_commit(service, clone, plain(1))
        await next_commit(service, clone, plain(2))
        await agents.poll()
        assert await marks(service, "GitRepo") == {"apps": []}
        assert await marks(service, "Cluster") == {"a": [], "b": [], "c": []}
        await pause_cluster(service, "a")
        await service.rollouts.go_back(
            SPACE, BUNDLE, RollbackRequest(1, "it leaks", "ada", ClusterSelection(("b",)))
        )
        schedule = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Schedule"}
        meta = {"name": "yearly", "namespace": SPACE}
        await service.objects.put(
            "Schedule", SPACE, "yearly", {**schedule, "metadata": meta, "spec": CLOSED}
        )
        assert await marks(service, "Cluster") == {
            "a": ["paused"],
            "b": ["pinned"],
            "c": ["frozen"],
        }
        assert await marks(service, "Bundle") == {BUNDLE: ["pinned"]}
        assert await marks(service, "BundleDeployment") == {
            f"a.{BUNDLE}": ["paused"],
            f"b.{BUNDLE}": ["pinned"],
            f"c.{BUNDLE}": ["frozen"],
        }
        await add(service, clone.url, paths=["web"], paused=True)
        assert await marks(service, "GitRepo") == {"apps": ["paused"]}
        assert await marks(service, "Bundle") == {BUNDLE: ["paused", "pinned"]}
        deployment = await service.views.get_object("BundleDeployment", SPACE, f"a.{BUNDLE}")
        assert deployment["status"]["pausedBy"] == ["cluster a", "GitRepo apps"]
        paused = (await service.views.status(SPACE))["paused"]
        assert paused == {
            "gitrepos": {"count": 1, "names": ["apps"]},
            "clusters": {"count": 1, "names": ["a"]},
            "bundles": {"count": 0, "names": []},
        }

    run(tmp_path / "m", work)


def test_last_polled_grows_while_nothing_changes(tmp_path: Path, clone: Clone) -> None:
    now = [1_800_000_000.0]

    async def main() -> None:
        async with serving(tmp_path / "m", lambda: now[0]) as service:
            await first_commit(service, clone, plain(1))
            first = await repo_status(service)
            now[0] += 600
            status = await until(
                lambda: repo_status(service), lambda s: s["lastPolled"] > first["lastPolled"]
            )
            assert status["lastScanned"] == first["lastScanned"]

    asyncio.run(main())


async def repo_status(service: Service) -> dict[str, Any]:
    return dict((await service.views.get_object("GitRepo", SPACE, "apps"))["status"])


def test_an_agent_is_connected_then_polling_then_late(tmp_path: Path) -> None:
    now = [1_800_000_000.0]

    async def main() -> None:
        async with serving(tmp_path / "m", lambda: now[0]) as service:
            agents = Agents(service)
            await agents.join("a")
            cluster = agents.ids["a"]
            document = await service.agents.get_document(cluster)
            await service.agents.note_contact(
                cluster, instance="i", address="::1", stamp=int(now[0])
            )
            wait = asyncio.create_task(service.agents.wait_document(cluster, document.etag, 30))
            await until(lambda: contact(service), lambda text: text == "connected")
            wait.cancel()
            await until(lambda: contact(service), lambda text: text == "polling")
            now[0] += 60
            assert await contact(service) == "late"

    asyncio.run(main())


async def contact(service: Service) -> str:
    return str(
        (await service.views.get_object("Cluster", SPACE, "a"))["status"]["agent"]["contact"]
    )


def test_a_bundle_whose_clusters_are_not_counted_yet_is_pending(
    tmp_path: Path, clone: Clone
) -> None:
    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await first_commit(service, clone, plain(1))
        await agents.poll()
        assert await states(service) == {"Bundle": "Ready", "GitRepo": "Ready"}
        assert await service._store.write(
            lambda connection: states_in_a_pass(connection, service)
        ) == {
            "Bundle": "Pending",
            "GitRepo": "Pending",
        }

    run(tmp_path / "m", work)


async def states(service: Service) -> dict[str, str]:
    found = {}
    for kind in ("Bundle", "GitRepo"):
        items = await service.views.list_objects(kind, workspace=SPACE)
        found[kind] = items[0]["status"]["display"]["state"]
    return found


def states_in_a_pass(connection: Connection, service: Service) -> dict[str, str]:
    """The states while the bundle's clusters are being matched in parts."""
    row = {"workspace": SPACE, "bundle": BUNDLE, "method": "clusters", "cursor": ""}
    connection.execute(sa.insert(batch_jobs), row)
    found = {}
    for kind in ("Bundle", "GitRepo"):
        items = objects.list_documents(
            connection, service._live, kind, ListFilter(workspace=SPACE), service._clock()
        )
        found[kind] = items[0]["status"]["display"]["state"]
    connection.execute(sa.delete(batch_jobs))
    return found
