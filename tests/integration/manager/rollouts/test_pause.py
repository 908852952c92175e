"""Pausing a GitRepo and resuming it: no revision, no restart of a rollout, and no look at Git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manager.commands.rollback import RollbackRequest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    Agents,
    canary_first,
    first_commit,
    generations,
    next_commit,
    plain,
    rollout,
    run,
    settled,
)
from tests.support.waiting import until


async def set_paused(service: Service, clone: Clone, *, on: bool) -> None:
    await add(service, clone.url, paths=["web"], paused=on)


async def rescanned(service: Service) -> None:
    """Waits until the scan that follows a change of the GitRepo is over."""

    async def generations_of_repo() -> tuple[int, int]:
        repo = await service.views.get_object("GitRepo", "fleet-default", "apps")
        return repo["metadata"]["generation"], repo["status"]["observedGeneration"]

    await until(generations_of_repo, lambda pair: pair[0] == pair[1])


async def paused_flags(service: Service, agents: Agents) -> set[bool]:
    return {(await desired(service, i)).bundles[0].paused for i in agents.ids.values()}


async def history(service: Service) -> list[tuple[int, int]]:
    """(revision, clusters) of the bundle, newest first."""
    items = await service.views.bundle_history("fleet-default", BUNDLE)
    return [(item["number"], item["clusters"]) for item in items]


def test_pausing_and_resuming_keeps_revisions_and_generations(tmp_path: Path, clone: Clone) -> None:
    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        first = await first_commit(service, clone, plain(1))
        await agents.poll()
        await next_commit(service, clone, plain(2))
        await agents.poll()
        before, versions = await history(service), await generations(service, agents)
        for _ in range(6):
            for on in (True, False):
                await set_paused(service, clone, on=on)
                # The pause counts at once: no scan has run yet.
                assert await paused_flags(service, agents) == {on}
                await rescanned(service)
                assert await paused_flags(service, agents) == {on}
        assert await history(service) == before
        assert await generations(service, agents) == versions
        outcome = await service.rollouts.go_back(
            "fleet-default", BUNDLE, RollbackRequest(1, "", "ada"), dry_run=False
        )
        assert outcome.number == 1
        assert await agents.told(first) == {"a", "b"}

    run(tmp_path / "m", work)


def test_a_pause_in_fleet_yaml_makes_no_revision(tmp_path: Path, clone: Clone) -> None:
    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await first_commit(service, clone, plain(1))
        await agents.poll()
        for on in ("true", "false"):
            await next_commit(service, clone, {"web/fleet.yaml": f"paused: {on}\n"})
            assert await paused_flags(service, agents) == {on == "true"}
        assert len(await history(service)) == 1

    run(tmp_path / "m", work)


def test_a_pause_keeps_steps_and_approval_of_a_rollout(tmp_path: Path, clone: Clone) -> None:
    async def work(service: Service, agents: Agents) -> None:
        first = await canary_first(service, agents, clone)
        await agents.poll("a")
        await until(lambda: canary(service), lambda step: bool(step["finishedAt"]))
        steps = await partitions(service)
        await set_paused(service, clone, on=True)
        await rescanned(service)
        await settled(service)
        assert (await rollout(service))["status"]["display"]["message"] == "GitRepo apps is paused"
        assert (await rollout(service))["status"]["display"]["marks"] == ["paused"]
        assert await begun_and_finished(service) == times_of(steps)
        await set_paused(service, clone, on=False)
        await rescanned(service)
        await settled(service)
        assert await begun_and_finished(service) == times_of(steps)
        await service.rollouts.command("fleet-default", BUNDLE, "approve", "", person="ada")
        await agents.until_told(first, 3)

    run(tmp_path / "m", work)


async def partitions(service: Service) -> list[dict[str, Any]]:
    return list((await rollout(service))["status"]["partitions"])


async def canary(service: Service) -> dict[str, Any]:
    return (await partitions(service))[0]


def times_of(steps: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(step["startedAt"], step["finishedAt"], step["approval"]) for step in steps]


async def begun_and_finished(service: Service) -> list[tuple[Any, ...]]:
    return times_of(await partitions(service))
