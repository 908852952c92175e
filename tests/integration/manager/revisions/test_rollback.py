"""Going back on some clusters, and what each was told: pins through the real service."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import NotFound, RefusedError, UsageError
from manager.commands.rollback import ClusterSelection, RollbackRequest, RollbackResult
from manager.service import Service, _archives_in_use
from manager.store.queries.pins import PinCount
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


async def two_revisions(service: Service, agents: Agents, clone: Clone) -> tuple[str, str]:
    """Revisions 1 and 2 of a bundle that is handed out at once; every cluster is Ready at the
    second.
    """
    first = await first_commit(service, clone, plain(1))
    await agents.poll()
    second = await next_commit(service, clone, plain(2))
    await agents.poll()
    return first, second


def some(*names: str, to: int = 0, release: bool = False, reason: str = "") -> RollbackRequest:
    return RollbackRequest(to, reason, "ada", ClusterSelection(names), release=release)


async def go(service: Service, ask: RollbackRequest, *, dry_run: bool = False) -> RollbackResult:
    return await service.rollouts.go_back("fleet-default", BUNDLE, ask, dry_run=dry_run)


async def told(service: Service, name: str) -> list[tuple[Any, ...]]:
    items = await service.views.cluster_history("fleet-default", name, BUNDLE)
    return [(item["number"], item["cause"], item["who"], item["result"]) for item in items]


async def pins_are_said(service: Service, newest: str) -> None:
    """a and b have a pin of their own: on the bundle, each deployment, each cluster, and in the
    history.
    """
    words = "pinned to revision 1 by ada (it leaks)"
    bundle = (await service.views.get_object("Bundle", "fleet-default", BUNDLE))["status"]
    assert bundle["display"]["message"] == "2 clusters pinned to revision 1"
    assert (bundle["pin"], bundle["pinnedClusters"]) == (None, [{"number": 1, "clusters": 2}])
    items = await service.views.list_objects("BundleDeployment", workspace="fleet-default")
    assert {i["spec"]["cluster"]: i["status"]["message"] for i in items} == {
        "a": words,
        "b": words,
        "c": "",
    }
    clusters = await service.views.list_objects("Cluster", workspace="fleet-default")
    said = {i["metadata"]["name"]: i["status"]["display"]["message"] for i in clusters}
    assert said == {"a": f"{BUNDLE} {words}", "b": f"{BUNDLE} {words}", "c": ""}
    history = await service.views.bundle_history("fleet-default", BUNDLE)
    assert [(i["number"], i["pinnedClusters"], i["ready"], i["current"]) for i in history] == [
        (3, 0, 1, True),
        (2, 0, 0, False),
        (1, 2, 2, False),
    ]
    assert [i["cause"] for i in await service.views.bundle_decisions("fleet-default", BUNDLE)] == [
        "commit",
        "rollback",
        "commit",
        "commit",
    ]


class TestPins:
    def test_only_these_clusters_go_back_until_they_are_released(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """A new generation for them alone; commits pass them by; the history says what each was
        told, by whom, and the result.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b", "c")
            first, second = await two_revisions(service, agents, clone)
            before = await generations(service, agents)
            seen = await go(service, some("a", "b", reason="it leaks"), dry_run=True)
            assert (seen.number, seen.clusters, seen.told, seen.waiting) == (1, 2, 2, 0)
            assert await generations(service, agents) == before
            done = await go(service, some("a", "b", reason="it leaks"))
            assert (done.number, done.clusters, done.told) == (1, 2, 2)
            assert await agents.told(first) == {"a", "b"}
            assert await agents.told(second) == {"c"}
            after = await generations(service, agents)
            assert after["a"] > before["a"]
            assert after["c"] == before["c"]
            third = await next_commit(service, clone, plain(3))
            await agents.poll()
            assert await agents.versions() == {"a": first, "b": first, "c": third}
            await pins_are_said(service, third)
            assert await told(service, "a") == [
                (1, "rollback", "ada", "Ready"),
                (2, "commit", "", "Ready"),
                (1, "commit", "", "Ready"),
            ]
            assert [number for number, *_ in await told(service, "c")] == [3, 2, 1]
            released = await go(service, some("a", release=True))
            assert (released.clusters, released.told) == (1, 1)
            assert await agents.versions() == {"a": third, "b": first, "c": third}
            assert (await told(service, "a"))[0] == (3, "release", "ada", "WaitApplied")
            with pytest.raises(RefusedError, match="no pin of its own"):
                await go(service, some("a", release=True))

        run(tmp_path / "m", work)

    def test_a_clusters_pin_comes_before_the_bundles(self, tmp_path: Path, clone: Clone) -> None:
        """A fleet-wide rollback and its release leave it alone and say so; releasing all ends
        both.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            first, second = await two_revisions(service, agents, clone)
            third = await next_commit(service, clone, plain(3))
            await go(service, some("a", to=1))
            whole = await go(service, RollbackRequest(2))
            assert (whole.clusters, whole.told, whole.own) == (1, 1, [PinCount(1, 1)])
            assert await agents.versions() == {"a": first, "b": second}
            with pytest.raises(
                RefusedError, match="revision 2 on 1 cluster, revision 1 on 1 cluster"
            ):
                await go(
                    service,
                    RollbackRequest(clusters=ClusterSelection(selector="fleet.cattle.io/cluster")),
                )
            released = await go(service, RollbackRequest(release=True))
            assert released.own == [PinCount(1, 1)]
            assert await agents.versions() == {"a": first, "b": third}
            with pytest.raises(RefusedError, match="not pinned") as refused:
                await go(service, RollbackRequest(release=True))
            assert "--all" in refused.value.next_step
            await go(service, RollbackRequest(release=True, everyone=True))
            assert set((await agents.versions()).values()) == {third}

        run(tmp_path / "m", work)

    def test_a_pinned_revision_outlives_the_last_ten_and_a_restart(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Twelve commits and 48 days later, after the archives were swept, a cluster that joins
        again at that pin still gets it.
        """
        folder, late = tmp_path / "m", [0.0]

        async def main() -> None:
            async with serving(folder, lambda: time.time() + late[0]) as service:
                agents = Agents(service)
                await agents.join("a", "b")
                first, _ = await two_revisions(service, agents, clone)
                await go(service, some("a", to=1))
                for value in range(3, 15):
                    late[0] += 4 * 86400
                    await next_commit(service, clone, plain(value))
                numbers = [
                    item["number"]
                    for item in await service.views.bundle_history("fleet-default", BUNDLE)
                ]
                assert (len(numbers), numbers[-1]) == (11, 1)
                used = await service._store.read(_archives_in_use)
                service._archives.sweep(used.__contains__, now=time.time() + 1e7)
            async with serving(folder, lambda: time.time() + late[0]) as service:
                agents.service = service
                assert await agents.told(first) == {"a"}
                bundle = (await desired(service, agents.ids["a"])).bundles[0]
                assert (await service.agents.archive_path(agents.ids["a"], bundle.archive)).exists()

        asyncio.run(main())

    def test_what_cannot_be_meant_is_refused_and_nothing_is_done(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", env="prod")
            await agents.join("other", env="test")
            target = [{"clusterSelector": {"matchLabels": {"env": "prod"}}}]
            first = await first_commit(service, clone, plain(1), targets=target)
            with pytest.raises(RefusedError, match="no older revision"):
                await go(service, some("a"))
            await next_commit(service, clone, plain(2))
            for ask, error, text in (
                (some("nobody"), NotFound, "Cluster nobody does not exist"),
                (some("other"), RefusedError, "does not get bundle"),
                (some("a", "nobody"), NotFound, "Cluster nobody does not exist"),
                (some("a", to=9), NotFound, "no revision 9"),
                (
                    RollbackRequest(clusters=ClusterSelection(selector="env=dev")),
                    NotFound,
                    "env=dev selects none of the 1 cluster",
                ),
                (
                    RollbackRequest(clusters=ClusterSelection(selector="env in (")),
                    UsageError,
                    "selector",
                ),
                (
                    RollbackRequest(clusters=ClusterSelection(partition="canary")),
                    NotFound,
                    "no partition 'canary'",
                ),
                (
                    RollbackRequest(clusters=ClusterSelection(("a",), "env=prod")),
                    UsageError,
                    "two ways",
                ),
            ):
                with pytest.raises(error, match=text):
                    await go(service, ask)
            assert {
                item["pinnedClusters"]
                for item in await service.views.bundle_history("fleet-default", BUNDLE)
            } == {0}
            assert await agents.told(first) == set()

        run(tmp_path / "m", work)

    def test_who_gets_it_is_as_git_says_now(self, tmp_path: Path, clone: Clone) -> None:
        """An earlier revision's doNotDeploy takes the bundle from nobody who goes back to it."""
        without = "targetCustomizations:\n- name: none\n  clusterName: a\n  doNotDeploy: true\n"

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            first = await first_commit(service, clone, plain(1) | {"web/fleet.yaml": without})
            assert await agents.versions() == {"a": "", "b": first}
            await next_commit(service, clone, plain(2) | {"web/fleet.yaml": "labels: {x: y}\n"})
            await go(service, RollbackRequest(1))
            assert await agents.versions() == {"a": first, "b": first}

        run(tmp_path / "m", work)


async def halted(service: Service, agents: Agents, clone: Clone, verb: str) -> tuple[str, str, str]:
    """(first commit, second, the one cluster that got it and broke) of a rollout that stands still,
    one at a time.
    """
    strategy = "{maxUnavailable: 1, maxFailures: 0}" if verb == "fail" else ONE
    first = await scanned_first(service, agents, clone, strategy)
    second = await next_commit(service, clone, files(2, strategy))
    [broken] = await agents.until_told(second, 1)
    await agents.poll(broken, answer=breaks)
    if verb != "fail":
        await service.rollouts.command("fleet-default", BUNDLE, verb, "stop it", "ada")
    await phase_is(service, {"pause": "Paused", "abort": "Aborted", "fail": "Failed"}[verb])
    return first, second, broken


@pytest.mark.parametrize("verb", ["pause", "abort", "fail"])
class TestARolloutThatStandsStill:
    def test_the_whole_bundle_goes_back(self, tmp_path: Path, clone: Clone, verb: str) -> None:
        """A rollback begins a rollout of its own; a pause ends with it, and says so."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b", "c")
            first, _, broken = await halted(service, agents, clone, verb)
            done = await go(service, RollbackRequest(person="ada"))
            assert (done.number, done.waiting, done.resumed) == (1, 1, verb == "pause")
            assert await agents.until_told(first, 3)
            await agents.poll(broken)
            await phase_is(service, "Completed")

        run(tmp_path / "m", work)

    def test_only_the_broken_cluster_goes_back(
        self, tmp_path: Path, clone: Clone, verb: str
    ) -> None:
        """It gets the old version though nobody goes on; the others are not told the bad one, and
        the rollout stands still as before.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b", "c")
            first, second, broken = await halted(service, agents, clone, verb)
            phase = (await rollout(service))["status"]["display"]["state"]
            done = await go(service, some(broken))
            assert (done.clusters, done.waiting) == (1, 1)
            assert len(await agents.until_told(first, 3)) == 3
            await agents.poll()
            await settled(service)
            assert await agents.told(second) == set()
            shown = (await rollout(service))["status"]
            assert shown["display"]["state"] == phase
            assert shown["display"]["message"].endswith("; 1 cluster pinned to revision 1")
            assert await told(service, broken) == [
                (1, "rollback", "ada", "Ready"),
                (2, "commit", "", "ErrApplied"),
                (1, "commit", "", "Ready"),
            ]

        run(tmp_path / "m", work)


def test_many_go_back_one_by_one(tmp_path: Path, clone: Clone) -> None:
    """Who goes back by name stays within the budget of its partition, one after the other is
    Ready.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await scanned_first(service, agents, clone, ONE)
        second = await next_commit(service, clone, files(2, ONE))
        for count in (1, 2, 3):
            await agents.poll(*await agents.until_told(second, count))
        await phase_is(service, "Completed")
        done = await go(service, some("a", "b", "c"))
        assert (done.clusters, done.told, done.waiting) == (3, 0, 3)
        for count in (1, 2, 3):
            gone = await agents.until_told(first, count)
            await settled(service)
            assert await agents.told(first) == gone, "more than one at a time"
            await agents.poll(*gone)
        assert set((await agents.states()).values()) == {"Ready"}

    run(tmp_path / "m", work)


def test_a_partition_goes_back_and_who_was_not_told_keeps_what_it_has(
    tmp_path: Path, clone: Clone
) -> None:
    """The canary alone had the new version; the rest, held, keeps the old one as a pin; a first
    version has nothing to go back to.
    """

    async def work(service: Service, agents: Agents) -> None:
        first = await canary_first(service, agents, clone)
        with pytest.raises(RefusedError, match="2 clusters have never got bundle"):
            await go(service, RollbackRequest(1, clusters=ClusterSelection(partition="(rest)")))
        await agents.poll("a")
        await until(
            lambda: rollout(service),
            lambda r: "waits for approval" in r["status"]["display"]["message"],
        )
        await service.rollouts.command("fleet-default", BUNDLE, "approve", "")
        await agents.until_told(first, 3)
        await agents.poll()
        await phase_is(service, "Completed")
        second = await next_commit(service, clone, files(2, CANARY))
        await agents.until_told(second, 1)
        rest = await go(service, RollbackRequest(clusters=ClusterSelection(partition="(rest)")))
        assert (rest.number, rest.clusters, rest.told, rest.waiting) == (1, 2, 0, 0)
        canary = await go(service, RollbackRequest(clusters=ClusterSelection(partition="canary")))
        assert (canary.number, canary.clusters) == (1, 1)
        await agents.until_told(first, 3)
        third = await next_commit(service, clone, files(3, CANARY))
        await settled(service)
        assert await agents.told(third) == set()

    run(tmp_path / "m", work)


def test_git_is_not_needed_and_who_is_offline_catches_up(tmp_path: Path, clone: Clone) -> None:
    """The repository is gone and the agent away: it is pinned at once and told when it asks
    again.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        first, _ = await two_revisions(service, agents, clone)
        clone.bare.rename(clone.bare.with_name("gone"))
        await until(
            lambda: service.views.get_object("GitRepo", "fleet-default", "apps"),
            lambda r: r["status"]["display"]["state"] != "Ready",
        )
        await go(service, some("b"))
        assert await agents.told(first) == {"b"}
        await agents.poll("b")
        assert (await told(service, "b"))[0] == (1, "rollback", "ada", "Ready")

    run(tmp_path / "m", work)


def test_a_cluster_that_leaves_takes_its_pin_and_its_history_with_it(
    tmp_path: Path, clone: Clone
) -> None:
    """One of the same name that comes later follows Git."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        _, second = await two_revisions(service, agents, clone)
        await go(service, some("a"))
        await service.objects.delete("Cluster", "fleet-default", "a")
        with pytest.raises(NotFound):
            await service.views.cluster_history("fleet-default", "a")
        await agents.join("a")
        assert await agents.told(second) == {"a", "b"}
        assert await told(service, "a") == [(2, "commit", "", "WaitApplied")]

    run(tmp_path / "m", work)
