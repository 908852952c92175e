"""What holds a rollout: a pause at each level, and a yes that is missing. Each holds, is named, and
outlives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.status import State
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, scanned, serving
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    MAP,
    ONE,
    Agents,
    breaks,
    canary_first,
    files,
    first_commit,
    message,
    next_commit,
    phase_is,
    run,
    scanned_first,
    settled,
)
from tests.support.waiting import until


async def pause_fleet_yaml(service: Service, clone: Clone, on: bool) -> str:
    text = f"paused: {str(on).lower()}\nrolloutStrategy: {ONE}\n"
    return clone.push({"web/m.yaml": MAP.format(value=2), "web/fleet.yaml": text})


async def pause_gitrepo(service: Service, clone: Clone, on: bool) -> str:
    commit = clone.push(files(2, ONE))
    await add(service, clone.url, paths=["web"], paused=on)
    return commit


Pause = Callable[[Service, Clone, bool], Awaitable[str]]


@pytest.mark.parametrize(
    ("pause", "why"),
    [
        (pause_fleet_yaml, "its fleet.yaml has paused: true"),
        (pause_gitrepo, "GitRepo apps is paused"),
    ],
    ids=["fleet.yaml", "GitRepo"],
)
def test_a_pause_in_git_holds_the_rollout(
    tmp_path: Path, clone: Clone, pause: Pause, why: str
) -> None:
    """Nobody is told, also after a restart, and the reason is named; when it ends the clusters go
    within the budget, not all at once.
    """
    folder = tmp_path / "m"

    async def main() -> None:
        async with serving(folder) as service:
            agents = Agents(service)
            await agents.join("a", "b", "c")
            first = await scanned_first(service, agents, clone, ONE)
            await scanned(service, await pause(service, clone, True))
            await until(lambda: message(service), lambda text: text == why)
            assert await agents.told(first) == {"a", "b", "c"}
        async with serving(folder) as service:
            agents.service = service
            await agents.poll()
            await settled(service)
            assert await agents.told(first) == {"a", "b", "c"}
            assert set((await agents.states()).values()) == {"OutOfSync"}
            shown = await service.views.list_objects("BundleDeployment")
            assert {i["status"]["message"] for i in shown} == {why}
            commit = await pause(service, clone, False)
            await scanned(service, commit)
            await until(lambda: agents.told(first), lambda names: len(names) == 2)
            await settled(service)
            assert len(await agents.told(first)) == 2

    asyncio.run(main())


def test_a_paused_cluster_is_passed_over_and_catches_up(tmp_path: Path, clone: Clone) -> None:
    """The others go on without it; after the rollout is completed it gets the version as soon as
    nobody pauses it.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        first = await scanned_first(service, agents, clone, ONE)
        await paused(service, "a", on=True)
        second = await next_commit(service, clone, files(2, ONE))
        assert await agents.until_told(second, 1) == {"b"}
        await agents.poll("b")
        await phase_is(service, "Completed")
        assert await agents.told(first) == {"a"}
        await paused(service, "a", on=False)
        await agents.until_told(second, 2)

    run(tmp_path / "m", work)


async def paused(service: Service, name: str, *, on: bool) -> None:
    doc = await service.views.get_object("Cluster", "fleet-default", name)
    await service.objects.put(
        "Cluster",
        "fleet-default",
        name,
        {**{k: doc[k] for k in ("apiVersion", "kind", "metadata")}, "spec": {"paused": on}},
    )


def test_a_yes_before_the_canary_has_run_is_refused(tmp_path: Path, clone: Clone) -> None:
    """It would be worth nothing; the refusal says what is waited for. A canary that breaks is never
    asked about.
    """

    async def work(service: Service, agents: Agents) -> None:
        first = await canary_first(service, agents, clone)
        with pytest.raises(RefusedError, match="waits for no approval") as refused:
            await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        assert "partition canary: 1 of 1 clusters have not answered yet" in refused.value.next_step
        await agents.poll("a", answer=breaks)
        await until(
            lambda: message(service),
            lambda text: text == "partition canary: none of the 1 updated clusters is ready",
        )
        with pytest.raises(RefusedError, match="waits for no approval"):
            await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        await agents.poll("a")
        await until(lambda: message(service), lambda text: "waits for approval" in text)
        await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        await agents.until_told(first, 3)

    run(tmp_path / "m", work)


def test_an_agent_that_only_says_that_it_has_begun_has_not_answered(
    tmp_path: Path, clone: Clone
) -> None:
    """Its first report names the new generation; the next partition begins when it has applied
    it.
    """
    strategy = "{partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}]}"

    def begins(bundle: Any) -> Any:
        report = breaks(bundle)
        return type(report)(
            bundle=report.bundle, generation=report.generation, state=State.WAIT_APPLIED
        )

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "d", canary="yes")
        await agents.join("b")
        first = await first_commit(service, clone, files(1, strategy))
        await agents.until_told(first, 2)
        await agents.poll("d")
        await agents.poll("a", answer=begins)
        await settled(service)
        assert await agents.told(first) == {"a", "d"}
        await agents.poll("a")
        await agents.until_told(first, 3)

    run(tmp_path / "m", work)
