"""A rollout that has stopped, and what begins anew: newcomers, going back to what was good, Secrets
that change, a newer commit.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import RefusedError
from manager.commands.rollback import RollbackRequest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    MAP,
    ONE,
    Agents,
    breaks,
    completed,
    files,
    first_commit,
    generations,
    message,
    next_commit,
    phase_is,
    rollout,
    run,
    scanned_first,
    settled,
)
from tests.support.waiting import until

THREE = (
    "{maxUnavailable: 1, partitions: [{name: one, clusterSelector: {matchLabels: {ring: '1'}}},"
    " {name: two, clusterSelector: {matchLabels: {ring: '2'}}},"
    " {name: three, clusterSelector: {matchLabels: {ring: '3'}}, approval: true}]}"
)


async def rings(agents: Agents, *counts: int) -> None:
    """Clusters 1a, 1b ... in ring 1, 2a ... in ring 2."""
    for ring, count in enumerate(counts, 1):
        await agents.join(*(f"{ring}{'abcd'[n]}" for n in range(count)), ring=str(ring))


async def say(service: Service, verb: str, reason: str = "") -> None:
    await service.rollouts.command("fleet-default", BUNDLE, verb, reason)


class TestNewcomers:
    def test_they_get_what_the_fleet_had_and_wait_with_it(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Aborted twice: the second time they get the version that was completed, not the one
        before, which was aborted too. A resume brings everybody the newest.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b", "c")
            first = await scanned_first(service, agents, clone, ONE)
            for value in (2, 3):
                bad = await next_commit(service, clone, files(value, ONE))
                await agents.until_told(bad, 1)
                await say(service, "abort", "it leaks")
                await agents.join(f"new{value}")
                assert (await agents.versions())[f"new{value}"] == first
                await agents.poll()
            await agents.poll()
            assert (await agents.states())["new3"] == "OutOfSync"
            why = ("new3", "the rollout is aborted: it leaks")
            await until(
                lambda: service.views.list_objects("BundleDeployment"),
                lambda found: (
                    why in [(i["spec"]["cluster"], i["status"]["message"]) for i in found]
                ),
            )
            text = await message(service)
            assert "`fleetctl rollback`" in text
            assert "`fleetctl rollout resume`" in text
            await say(service, "resume")
            await completed(service, agents, bad)

        run(tmp_path / "m", work)

    def test_one_that_waits_when_the_rollout_fails_gets_it_then(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """It joined a partition that had not begun."""
        strategy = THREE.replace("{maxUnavailable", "{maxFailures: 0, maxUnavailable")

        async def work(service: Service, agents: Agents) -> None:
            await rings(agents, 1, 1)
            first = await first_commit(service, clone, files(1, strategy))
            await completed(service, agents, first)
            bad = await next_commit(service, clone, files(2, strategy))
            [told] = await agents.until_told(bad, 1)
            await agents.join("3a", ring="3")
            assert (await agents.states())["3a"] == "Pending"
            await agents.poll(told, answer=breaks)
            await phase_is(service, "Failed")
            await until(agents.versions, lambda versions: versions["3a"] == first)

        run(tmp_path / "m", work)

    def test_where_nothing_was_ever_good_they_are_told_to_wait(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """The first version was aborted."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            await first_commit(service, clone, files(1, THREE))
            await agents.join("3a", ring="3")
            await say(service, "abort", "no")
            assert (await agents.states())["3a"] == "Pending"
            shown = {
                i["spec"]["cluster"]: i["status"]["message"]
                for i in await service.views.list_objects("BundleDeployment")
            }
            assert shown["3a"] == "the rollout is aborted: no"

        run(tmp_path / "m", work)


def test_going_back_after_an_abort_is_to_what_was_good(tmp_path: Path, clone: Clone) -> None:
    """Two versions were aborted; a rollback without a number goes to the completed one, and those
    that have it do nothing.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await scanned_first(service, agents, clone, ONE)
        for value in (2, 3):
            bad = await next_commit(service, clone, files(value, ONE))
            await agents.until_told(bad, 1)
            await agents.poll()
            await say(service, "abort")
        before = await generations(service, agents)
        had = await agents.told(first)
        assert (
            await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest())
        ).number == 1
        await completed(service, agents, first)
        after = await generations(service, agents)
        assert {name for name in agents.ids if before[name] == after[name]} == had

    run(tmp_path / "m", work)


def test_an_abort_of_what_nobody_waits_for_is_refused(tmp_path: Path, clone: Clone) -> None:
    """And says what to do instead."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await scanned_first(service, agents, clone, ONE)
        with pytest.raises(RefusedError, match="all clusters have the version") as refused:
            await say(service, "abort")
        assert "fleetctl rollback" in refused.value.next_step

    run(tmp_path / "m", work)


def test_a_newer_commit_half_way_through_takes_over(tmp_path: Path, clone: Clone) -> None:
    """Partition two is half done: nobody else ever gets that version, the new one begins at
    partition one, and asks for approval anew.
    """

    async def work(service: Service, agents: Agents) -> None:
        await rings(agents, 1, 2, 1)
        await agents.poll()
        first = await first_commit(service, clone, files(1, THREE))
        await asked(service, agents)
        assert await agents.told(first) == {"1a", "2a", "2b"}
        await say(service, "approve")
        await completed(service, agents, first)
        second = await next_commit(service, clone, files(2, THREE))
        await agents.until_told(second, 1)
        await agents.poll("1a")
        half = await agents.until_told(second, 2)
        third = await next_commit(service, clone, files(3, THREE))
        assert await agents.until_told(third, 1) == {"1a"}
        assert await agents.told(second) == half - {"1a"}
        seen = set[str]()

        async def turn() -> str:
            await agents.poll()
            seen.update((await agents.told(second)) - half)
            return await message(service)

        await until(turn, lambda text: text == "partition three waits for approval")
        assert await agents.told(third) == {"1a", "2a", "2b"}
        assert await agents.told(first) == {"3a"}
        await say(service, "approve")
        await completed(service, agents, third)
        assert seen == set()

    run(tmp_path / "m", work)


async def asked(service: Service, agents: Agents) -> None:
    """Everybody answers until nothing but a person's yes is missing."""

    async def turn() -> str:
        await agents.poll()
        return await message(service)

    await until(turn, lambda text: "waits for approval" in text)


def secret(value: str) -> dict[str, Any]:
    data = {"password": base64.b64encode(value.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "fleet-default"},
        "data": data,
    }


class TestWaves:
    STRATEGY = THREE + "\ndownstreamResources: [{kind: Secret, name: db}]"

    def test_a_secret_that_changes_goes_through_the_partitions(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Not to all at once because the version before had finished; an approval is asked for
        again.
        """

        async def work(service: Service, agents: Agents) -> None:
            await rings(agents, 1, 1, 1)
            await agents.poll()
            await service.objects.put("Secret", "fleet-default", "db", secret("old"))
            first = await first_commit(
                service,
                clone,
                {
                    "web/m.yaml": MAP.format(value=1),
                    "web/fleet.yaml": f"rolloutStrategy: {self.STRATEGY}\n",
                },
            )
            await asked(service, agents)
            assert await agents.told(first) == {"1a", "2a"}
            await say(service, "approve")
            await completed(service, agents, first)
            before = await generations(service, agents)
            await service.objects.put("Secret", "fleet-default", "db", secret("new"))

            async def changed() -> set[str]:
                return {
                    name
                    for name, number in (await generations(service, agents)).items()
                    if number > before[name]
                }

            await until(changed, lambda names: names == {"1a"})
            await settled(service)
            assert await changed() == {"1a"}
            await agents.poll("1a")
            await until(changed, lambda names: names == {"1a", "2a"})
            await agents.poll("2a")
            await until(lambda: message(service), lambda text: "waits for approval" in text)
            assert await changed() == {"1a", "2a"}
            await say(service, "approve")
            await until(changed, lambda names: len(names) == 3)

        run(tmp_path / "m", work)

    def test_after_an_abort_it_is_held(self, tmp_path: Path, clone: Clone) -> None:
        """Nothing changes until a person has decided; a resume brings it."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            strategy = ONE + "\ndownstreamResources: [{kind: Secret, name: db}]"
            await service.objects.put("Secret", "fleet-default", "db", secret("old"))
            await scanned_first(service, agents, clone, strategy)
            bad = await next_commit(service, clone, files(2, strategy))
            await agents.until_told(bad, 1)
            await agents.poll()
            await say(service, "abort", "it leaks")
            await agents.poll()  # the other cluster may have got the commit before the abort
            before = await generations(service, agents)
            await service.objects.put("Secret", "fleet-default", "db", secret("new"))
            await settled(service)
            assert await generations(service, agents) == before
            assert (await rollout(service))["status"]["display"]["state"] == "Aborted"
            assert set((await agents.states()).values()) == {"OutOfSync"}
            await say(service, "resume")
            await completed(service, agents, bad)
            assert all(
                number > before[name]
                for name, number in (await generations(service, agents)).items()
            )

        run(tmp_path / "m", work)


def test_a_cluster_that_leaves_before_it_was_told_keeps_its_document(
    tmp_path: Path, clone: Clone
) -> None:
    """Nothing is another one for it: the ETag stays, and nobody is woken."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("1a", ring="1")
        await agents.join("3a", ring="3")
        first = await first_commit(service, clone, files(1, THREE))
        await agents.until_told(first, 1)
        before = (await service.agents.get_document(agents.ids["3a"])).etag
        await add(
            service,
            clone.url,
            paths=["web"],
            targets=[{"clusterSelector": {"matchLabels": {"ring": "1"}}}],
        )
        await until(agents.states, lambda states: "3a" not in states)
        assert (await service.agents.get_document(agents.ids["3a"])).etag == before

    run(tmp_path / "m", work)


def test_history_counts_clusters_on_a_revision_that_changed_only_targets(
    tmp_path: Path, clone: Clone
) -> None:
    """They need not be told anything, and are on it all the same."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await scanned_first(service, agents, clone, ONE)
        await next_commit(service, clone, files(1, "{maxUnavailable: 2}"))
        await until(
            lambda: service.views.bundle_history("fleet-default", BUNDLE),
            lambda revisions: len(revisions) == 2,
        )
        newest, oldest = await service.views.bundle_history("fleet-default", BUNDLE)
        assert (newest["clusters"], newest["ready"], oldest["clusters"]) == (2, 2, 0)

    run(tmp_path / "m", work)
