"""Rollouts whose clusters are under Schedules: partitions, deadlines, emergencies and rollbacks;
the clock is told.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.core.model.errors import NotFound, RefusedError, UsageError
from manager.commands.rollback import ClusterSelection, RollbackRequest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.schedules import SPACE, Clock, deployments, ran_everywhere, schedule
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    ONE,
    Agents,
    breaks,
    files,
    next_commit,
    phase_is,
    plain,
    rollout,
    run,
    settled,
)

STAGED = (
    "{maxUnavailable: 1, progressDeadline: 1h, partitions: [{name: canary, clusterSelector:"
    " {matchLabels: {canary: 'yes'}}}]}"
)


def test_a_partition_waits_for_its_window_and_its_clock_stands_still(
    tmp_path: Path, clone: Clone
) -> None:
    """The canary is outside its window for days: nobody goes before it, and the deadline of an hour
    is not missed.
    """
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("canary", canary="yes")
        await agents.join("b", "c")
        await ran_everywhere(service, agents, clone, STAGED)
        await schedule(
            service, "sundays", "0 2 * * SUN", "2h", selector={"matchLabels": {"canary": "yes"}}
        )
        second = await next_commit(service, clone, files(2, STAGED))
        for moment in ("2026-11-25T12:30", "2026-11-27T12:30", "2026-11-29T01:59"):
            clock.set(moment)
            await agents.poll()
            await settled(service)
            assert await agents.told(second) == set()
            found = (await rollout(service))["status"]
            assert found["display"]["state"] == "Progressing"
            why = "window sundays opens at 2026-11-29T02:00:00+00:00 (UTC)"
            said = (
                "partition canary: all remaining clusters are outside their windows; 1"
                f" cluster waits: {why}"
            )
            assert found["display"]["message"] == said
        clock.set("2026-11-29T02:00")
        await agents.poll()
        assert await agents.until_told(second, 1) == {"canary"}
        await agents.poll()
        await agents.until_told(second, 2)
        await agents.poll()
        await agents.until_told(second, 3)
        await agents.poll()
        await phase_is(service, "Completed")

    run(tmp_path / "m", work, clock)


def test_the_deadline_counts_while_the_window_is_open(tmp_path: Path, clone: Clone) -> None:
    """A canary that takes longer than an hour inside its window has failed, as without one."""
    clock = Clock("2026-11-29T02:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("canary", canary="yes")
        await agents.join("b")
        await ran_everywhere(service, agents, clone, STAGED)
        await schedule(service, "sundays", "0 2 * * SUN", "4h")
        second = await next_commit(service, clone, files(2, STAGED))
        await agents.until_told(second, 1)
        await agents.poll(answer=breaks)
        clock.set("2026-11-29T03:01")
        await agents.poll(answer=breaks)
        await phase_is(service, "Failed")
        assert await agents.told(second) == {"canary"}

    run(tmp_path / "m", work, clock)


def test_a_window_that_never_opens_holds_its_cluster_and_nobody_else(
    tmp_path: Path, clone: Clone
) -> None:
    """It is said, the others go, and the rollout is completed without it."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("gone", canary="yes")
        await agents.join("b")
        await ran_everywhere(service, agents, clone, STAGED)
        await schedule(
            service, "once", "0 0 0 1 1 ? 2020", "1h", selector={"matchLabels": {"canary": "yes"}}
        )
        second = await next_commit(service, clone, files(2, STAGED))
        assert await agents.until_told(second, 1) == {"b"}
        await agents.poll()
        await phase_is(service, "Completed")
        assert (await deployments(service))["gone"] == (
            "WaitingForWindow",
            "window once never opens again",
        )
        assert (
            "1 cluster waits: window once never opens again"
            in (await rollout(service))["status"]["display"]["message"]
        )

    run(tmp_path / "m", work, clock)


def test_in_an_emergency_one_version_passes_closed_windows(tmp_path: Path, clone: Clone) -> None:
    """With a reason, which stays to be read; within the budget, as always; and the next commit
    waits again.
    """
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await ran_everywhere(service, agents, clone, ONE)
        await schedule(service, "nightly", "0 2 * * *", "2h")
        second = await next_commit(service, clone, files(2, ONE))
        await settled(service)
        assert await agents.told(second) == set()
        with pytest.raises(UsageError, match="needs a reason"):
            await service.rollouts.command(SPACE, BUNDLE, "ignore-windows", " ")
        shown = await service.rollouts.command(SPACE, BUNDLE, "ignore-windows", "CVE-2026-1")
        assert shown["status"]["ignoringWindows"] == "CVE-2026-1"
        assert len(await agents.until_told(second, 1)) == 1
        assert (
            "closed windows are ignored: CVE-2026-1"
            in (await rollout(service))["status"]["display"]["message"]
        )
        assert sorted(state for state, _ in (await deployments(service)).values()) == [
            "OutOfSync",
            "WaitApplied",
        ]
        decided = (await service.views.bundle_decisions(SPACE, BUNDLE))[0]
        assert (decided["cause"], decided["reason"]) == ("ignore-windows", "CVE-2026-1")
        await agents.poll()
        await agents.until_told(second, 2)
        await agents.poll()
        third = await next_commit(service, clone, files(3, ONE))
        await settled(service)
        assert await agents.told(third) == set()
        assert (await rollout(service))["status"]["ignoringWindows"] == ""
        with pytest.raises((NotFound, RefusedError)):
            await service.rollouts.command(SPACE, "nothing", "ignore-windows", "why")

    run(tmp_path / "m", work, clock)


def test_a_cluster_that_goes_back_waits_for_its_window_also_in_a_paused_rollout(
    tmp_path: Path, clone: Clone
) -> None:
    """Closed windows hold a rollback as everything else; when it opens, the cluster goes though
    nobody else may.
    """
    clock = Clock("2026-11-25T12:00:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("night", tier="prod")
        await agents.join("free")
        first = await ran_everywhere(service, agents, clone)
        second = await next_commit(service, clone, plain(2))
        await agents.until_told(second, 2)
        await agents.poll()
        await schedule(
            service,
            "nightly",
            "0 2 * * *",
            "2h",
            "Europe/Berlin",
            selector={"matchLabels": {"tier": "prod"}},
        )
        await service.rollouts.command(SPACE, BUNDLE, "pause", "freeze", "ada")
        done = await service.rollouts.go_back(
            SPACE, BUNDLE, RollbackRequest(clusters=ClusterSelection(("night",)))
        )
        assert (done.number, done.told, done.waiting) == (1, 0, 1)
        await settled(service)
        assert await agents.told(first) == set()
        state, message = (await deployments(service))["night"]
        why = "window nightly opens at 2026-11-26T02:00:00+01:00 (Europe/Berlin)"
        assert (state, message) == ("OutOfSync", f"{why}; pinned to revision 1")
        clock.set("2026-11-26T01:00:00")
        await agents.poll()
        assert await agents.until_told(first, 1) == {"night"}
        assert (await rollout(service))["status"]["display"]["state"] == "Paused"

    run(tmp_path / "m", work, clock)
