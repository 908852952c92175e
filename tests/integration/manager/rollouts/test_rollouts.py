"""Rollouts through the real service: staged, handed out within the budget, remembered over a
restart, and told by people what to do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetctl.core.model.errors import NotFound, RefusedError
from manager.commands.removals import Labels
from manager.commands.rollback import RollbackRequest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import desired, serving
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    CANARY,
    ONE,
    Agents,
    breaks,
    canary_first,
    files,
    first_commit,
    generations,
    next_commit,
    phase_is,
    plain,
    rollout,
    run,
    scanned_first,
    settled,
)
from tests.support.waiting import until


def test_clusters_change_one_after_the_other(tmp_path: Path, clone: Clone) -> None:
    """maxUnavailable 1: the next one goes when the one before is Ready; who is held shows
    OutOfSync, and the rollout says how far it is.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await first_commit(service, clone, files(1, ONE))
        await agents.until_told(first, 3)  # nothing runs there yet: nobody is disturbed
        await agents.poll()
        await phase_is(service, "Completed")
        second = await next_commit(service, clone, files(2, ONE))
        order: list[str] = []
        for count in (1, 2, 3):
            told = await agents.until_told(second, count)
            await settled(service)
            assert await agents.told(second) == told, "more than one at a time"
            [new] = told - set(order)
            order.append(new)
            states = await agents.states()
            assert {n for n, s in states.items() if s == "OutOfSync"} == set("abc") - told
            await agents.poll(new)
        found = await phase_is(service, "Completed")
        assert found["status"]["display"]["clusters"] == "3/3"
        assert set((await agents.states()).values()) == {"Ready"}

    run(tmp_path / "m", work)


def test_a_cluster_that_breaks_stops_the_others_and_a_newer_commit_takes_over(
    tmp_path: Path, clone: Clone
) -> None:
    """The broken one uses the budget; the next version goes to it at once, and nobody ever gets the
    version between.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        await scanned_first(service, agents, clone, ONE)
        bad = await next_commit(service, clone, files(2, ONE))
        [broken] = await agents.until_told(bad, 1)
        await agents.poll(broken, answer=breaks)
        await settled(service)
        assert await agents.told(bad) == {broken}
        message = (await rollout(service))["status"]["display"]["message"]
        assert "clusters may be unavailable at once" in message or "not updated yet" in message
        good = await next_commit(service, clone, files(3, ONE))
        assert await agents.until_told(good, 1) == {broken}
        await agents.poll(broken)
        for count in (2, 3):
            told = await agents.until_told(good, count)
            await agents.poll(*told)
        await phase_is(service, "Completed")

    run(tmp_path / "m", work)


def test_a_canary_is_approved_by_a_person(tmp_path: Path, clone: Clone) -> None:
    """The rest, which no partition names, waits for the yes; a second yes is refused, as is one for
    a bundle without a rollout.
    """

    async def work(service: Service, agents: Agents) -> None:
        first = await canary_first(service, agents, clone)
        await agents.poll("a")
        await until(
            lambda: rollout(service),
            lambda r: "waits for approval" in r["status"]["display"]["message"],
        )
        assert (await agents.states())["b"] == "Pending"
        await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        await agents.until_told(first, 3)
        with pytest.raises(RefusedError, match="waits for no approval"):
            await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        with pytest.raises(NotFound):
            await service.rollouts.command("fleet-default", "nothing", "approve", "")

    run(tmp_path / "m", work)


def test_pause_resume_and_abort(tmp_path: Path, clone: Clone) -> None:
    """A pause holds also what comes after it, and also of a bundle without a strategy; an abort
    leaves the old version in place.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await first_commit(service, clone, plain(1))
        await agents.poll()
        await service.rollouts.command("fleet-default", BUNDLE, "pause", "release freeze")
        second = await next_commit(service, clone, plain(2))
        await settled(service)
        assert await agents.told(second) == set()
        shown = await service.views.list_objects("BundleDeployment")
        assert {i["status"]["message"] for i in shown} == {"the rollout is paused: release freeze"}
        await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
        await agents.until_told(second, 2)
        with pytest.raises(RefusedError, match="not paused"):
            await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
        await agents.poll()
        await phase_is(service, "Completed")
        with pytest.raises(RefusedError, match="all clusters have the version"):
            await service.rollouts.command("fleet-default", BUNDLE, "abort", "bad release")

    run(tmp_path / "m", work)


def test_it_goes_on_after_a_restart(tmp_path: Path, clone: Clone) -> None:
    """Same order, same budget: the one that was told before the restart is waited for."""
    folder = tmp_path / "m"

    async def main() -> None:
        async with serving(folder) as service:
            agents = Agents(service)
            await agents.join("a", "b", "c")
            await scanned_first(service, agents, clone, ONE)
            second = await next_commit(service, clone, files(2, ONE))
            before = await agents.until_told(second, 1)
        async with serving(folder) as service:
            agents.service = service
            await settled(service)
            assert await agents.told(second) == before
            await agents.poll(*before)
            after = await agents.until_told(second, 2)
            assert before < after

    asyncio.run(main())


def test_a_cluster_that_leaves_the_targets_before_it_was_told_leaves_no_trace(
    tmp_path: Path, clone: Clone
) -> None:
    """Nothing was ever there, so nothing is removed; one that was told gets its tombstone."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", env="prod", canary="yes")
        await agents.join("b", env="prod")
        first = await first_commit(
            service,
            clone,
            files(1, CANARY),
            targets=[{"clusterSelector": {"matchLabels": {"env": "prod"}}}],
        )
        await agents.until_told(first, 1)
        for name, removals in (("a", 1), ("b", 0)):
            await service.removals.label(
                Labels("fleet-default", {"env": "test"}, [name], removals=removals)
            )
        assert [t.name for t in (await desired(service, agents.ids["a"])).tombstones] == [BUNDLE]
        document = await desired(service, agents.ids["b"])
        assert (document.bundles, document.tombstones) == ([], [])

    run(tmp_path / "m", work)


def test_going_back_to_what_a_cluster_has_is_no_rollout(tmp_path: Path, clone: Clone) -> None:
    """A commit that is taken back while it is held: nobody is told anything new, and nothing stays
    staged.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await scanned_first(service, agents, clone, ONE)
        before = await generations(service, agents)
        bad = await next_commit(service, clone, files(2, ONE))
        [told] = await agents.until_told(bad, 1)
        back = await next_commit(service, clone, files(1, ONE))
        assert await agents.until_told(back, 1) == {told}
        await agents.poll(told)
        await phase_is(service, "Completed")
        [other] = set(agents.ids) - {told}
        assert (await desired(service, agents.ids[other])).bundles[0].generation == before[other]
        assert set((await agents.states()).values()) == {"Ready"}

    run(tmp_path / "m", work)


class TestGoingBack:
    def test_a_revision_is_pinned_until_it_is_released(self, tmp_path: Path, clone: Clone) -> None:
        """Clusters get the older content as a new generation; commits wait; history and the bundle
        say so; then Git is followed again.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            first = await first_commit(service, clone, plain(1))
            with pytest.raises(RefusedError, match="no older revision"):
                await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest(0, ""))
            second = await next_commit(service, clone, plain(2))
            await agents.until_told(second, 2)
            before = (await desired(service, agents.ids["a"])).bundles[0].generation
            pinned = (
                await service.rollouts.go_back(
                    "fleet-default", BUNDLE, RollbackRequest(0, "it leaks")
                )
            ).number
            await agents.until_told(first, 2)
            assert (await desired(service, agents.ids["a"])).bundles[0].generation > before
            await next_commit(service, clone, plain(3))
            await agents.poll()
            assert await agents.told(first) == {"a", "b"}
            shown = await service.views.get_object("Bundle", "fleet-default", BUNDLE)
            assert shown["status"]["display"]["message"].startswith(
                f"pinned to revision {pinned} (it leaks), Git is at "
            )
            history = await service.views.bundle_history("fleet-default", BUNDLE)
            assert [(r["commit"], r["ready"], r["pinned"]) for r in history][-1] == (first, 2, True)
            assert {r["author"] for r in history} == {"Ada <ada@example.com>"}
            with pytest.raises(NotFound, match="no revision 99"):
                await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest(99, ""))
            await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest(release=True))
            await agents.until_told(history[0]["commit"], 2)
            with pytest.raises(RefusedError, match="not pinned"):
                await service.rollouts.go_back(
                    "fleet-default", BUNDLE, RollbackRequest(release=True)
                )

        run(tmp_path / "m", work)

    def test_a_rollout_that_fails_goes_back_by_itself(self, tmp_path: Path, clone: Clone) -> None:
        """maxFailures 0 and onFailure rollback: the broken cluster gets the old version again, and
        the other one never had the new.
        """
        strategy = "{maxUnavailable: 1, maxFailures: 0, onFailure: rollback}"

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            first = await scanned_first(service, agents, clone, strategy)
            bad = await next_commit(service, clone, files(2, strategy))
            [broken] = await agents.until_told(bad, 1)
            await agents.poll(broken, answer=breaks)
            await agents.until_told(first, 2)
            await agents.poll()
            shown = await service.views.get_object("Bundle", "fleet-default", BUNDLE)
            assert (
                "by itself: 1 clusters could not apply it" in shown["status"]["display"]["message"]
            )
            assert set((await agents.states()).values()) == {"Ready"}

        run(tmp_path / "m", work)
