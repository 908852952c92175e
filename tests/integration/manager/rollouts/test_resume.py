"""Rollouts that must not stand still, and what must not be lost on the way: silence, deletions,
failures that are accepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import ClusterId
from manager.commands.removals import Labels
from manager.commands.rollback import RollbackRequest
from manager.ingest.gitrepo_loader import GitRepoDeleted
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, scanned
from tests.support.manager.silence import silence
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    MAP,
    ONE,
    Agents,
    breaks,
    files,
    first_commit,
    next_commit,
    phase_is,
    plain,
    run,
    scanned_first,
    settled,
)
from tests.support.waiting import until

PROD = [{"clusterSelector": {"matchLabels": {"env": "prod"}}}]


def falls_silent(service: Service, cluster: ClusterId) -> None:
    """As if it, and this manager's start, were an hour ago."""
    silence(service._live, cluster, 3600)
    service._live.mark_changed()


class TestSilence:
    def test_who_falls_silent_before_it_answers_stops_nobody_for_ever(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Within the budget of its partition: the next partition begins, though no report says that
        anything changed.
        """
        strategy = (
            "{maxUnavailable: 1, partitions: [{name: canary, clusterSelector: {matchLabels:"
            " {canary: 'yes'}}}]}"
        )

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", canary="yes")
            await agents.join("b")
            await agents.join("c")
            first = await first_commit(service, clone, files(1, strategy))
            await agents.until_told(first, 1)
            await agents.poll("b", "c")
            falls_silent(service, agents.ids["a"])
            await agents.until_told(first, 3)

        run(tmp_path / "m", work)

    def test_who_comes_back_as_it_was_lets_the_others_go(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """It used the budget while it was silent; after its next report its report says nothing
        new.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b", "c")
            await scanned_first(service, agents, clone, ONE)
            second = await next_commit(service, clone, files(2, ONE))
            [told] = await agents.until_told(second, 1)
            await service.rollouts.command("fleet-default", BUNDLE, "pause", "")
            await agents.poll(told)
            falls_silent(service, agents.ids[told])
            await agents.poll(*set(agents.ids) - {told})
            await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
            await settled(service)
            assert await agents.told(second) == {told}
            await agents.poll(told)
            await agents.until_told(second, 2)

        run(tmp_path / "m", work)


def test_deleting_the_cluster_that_blocks_lets_the_others_go(tmp_path: Path, clone: Clone) -> None:
    """It broke, it is thrown away: nothing is unavailable any more."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        await scanned_first(service, agents, clone, ONE)
        bad = await next_commit(service, clone, files(2, ONE))
        [broken] = await agents.until_told(bad, 1)
        await agents.poll(broken, answer=breaks)
        await settled(service)
        await service.objects.delete("Cluster", "fleet-default", broken)
        del agents.ids[broken]
        await agents.until_told(bad, 1)

    run(tmp_path / "m", work)


def test_failures_that_a_person_accepts_are_not_counted_again(tmp_path: Path, clone: Clone) -> None:
    """`resume` after too many failures goes on; one failure more stops it again."""
    strategy = "{maxUnavailable: 3, maxFailures: 0}"

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c", "d", "e")
        await scanned_first(service, agents, clone, strategy)
        bad = await next_commit(service, clone, files(2, strategy))
        told = sorted(await agents.until_told(bad, 3))
        await agents.poll(told[0], answer=breaks)
        await phase_is(service, "Failed")
        await agents.poll(told[1])
        shown = await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
        assert shown["status"]["display"]["state"] == "Progressing"
        await agents.until_told(bad, 4)
        await agents.poll(told[2], answer=breaks)
        found = await phase_is(service, "Failed")
        said = (
            "the rollout has failed: 2 clusters could not apply it, 1 were accepted and 0 more may"
            " fail; continue"
        )
        assert found["status"]["display"]["message"].startswith(said)

    run(tmp_path / "m", work)


def test_what_was_told_once_is_removed_though_it_was_wanted_again_meanwhile(
    tmp_path: Path, clone: Clone
) -> None:
    """Its tombstone was taken back while the new version is held, and then nobody wants it: the
    cluster still has it, and is told so.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", env="prod")
        first = await first_commit(service, clone, plain(1), targets=PROD)
        await agents.until_told(first, 1)
        await agents.poll()
        await service.rollouts.command("fleet-default", BUNDLE, "pause", "")
        generation = (await desired(service, agents.ids["a"])).bundles[0].generation
        for env, removals in (("test", 1), ("prod", 0), ("test", 1)):
            await service.removals.label(
                Labels("fleet-default", {"env": env}, ["a"], removals=removals)
            )
        [tombstone] = (await desired(service, agents.ids["a"])).tombstones
        assert (tombstone.name, tombstone.generation > generation) == (BUNDLE, True)
        await service.objects.patch_labels("Cluster", "fleet-default", "a", {"env": "prod"})
        assert (await agents.states())["a"] == "Pending"
        await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
        await agents.until_told(first, 1)
        assert (await desired(service, agents.ids["a"])).bundles[
            0
        ].generation > tombstone.generation

    run(tmp_path / "m", work)


class TestHistory:
    def test_a_repository_that_comes_again_begins_anew(self, tmp_path: Path, clone: Clone) -> None:
        """What another bundle of the same name once was is nothing to go back to."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            for value in (1, 2, 3):
                commit = clone.push(plain(value))
                if value == 1:
                    await add(service, clone.url, paths=["web"])
                await scanned(service, commit)
            assert len(await service.views.bundle_history("fleet-default", BUNDLE)) == 3
            await service.objects.delete("GitRepo", "fleet-default", "apps")
            await add(service, clone.url, paths=["web"])
            await scanned(service, commit)
            assert [
                r["number"] for r in await service.views.bundle_history("fleet-default", BUNDLE)
            ] == [1]

        run(tmp_path / "m", work)

    def test_one_that_comes_again_while_its_end_is_noticed_is_looked_at(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Who finds that it is gone does not take its successor off the list."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            commit = clone.push({f"{name}/m.yaml": MAP.format(value=1) for name in ("web", "db")})
            await add(service, clone.url, paths=["db"])
            await scanned(service, commit)
            load, again = service._scanner._loader.load, []

            async def late(*words: Any) -> Any:
                try:
                    return await load(*words)
                except GitRepoDeleted:
                    if not again:
                        again.append(await add(service, clone.url, paths=["web"]))
                    raise

            service._scanner._loader.load = late  # type: ignore[method-assign]
            await service.objects.delete("GitRepo", "fleet-default", "apps")
            await until(
                lambda: service.views.list_objects("Bundle"),
                lambda found: [b["metadata"]["name"] for b in found] == [BUNDLE],
            )
            assert again

        run(tmp_path / "m", work)

    def test_what_was_found_for_one_that_is_gone_is_not_its_successors(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Deleted and made anew, with other paths, while its scan was under way."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            clone.push({f"{name}/m.yaml": MAP.format(value=1) for name in ("web", "db")})
            take, again = service._scanner._take, []

            async def late(*words: Any) -> None:
                if not again:
                    await service.objects.delete("GitRepo", "fleet-default", "apps")
                    again.append(await add(service, clone.url, paths=["web"]))
                await take(*words)

            service._scanner._take = late  # type: ignore[method-assign]
            await add(service, clone.url, paths=["db"])
            await until(
                lambda: service.views.list_objects("Bundle"),
                lambda found: [b["metadata"]["name"] for b in found] == [BUNDLE],
            )

        run(tmp_path / "m", work)

    def test_nobody_is_ready_who_is_offline(self, tmp_path: Path, clone: Clone) -> None:
        """The last report says nothing of now."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", "b")
            await first_commit(service, clone, plain(1))
            await agents.poll()
            falls_silent(service, agents.ids["a"])
            [found] = await service.views.bundle_history("fleet-default", BUNDLE)
            assert (found["clusters"], found["ready"]) == (2, 1)

        run(tmp_path / "m", work)

    def test_going_back_skips_what_has_the_same_content(self, tmp_path: Path, clone: Clone) -> None:
        """Other targets or another strategy make a revision too; to go there would change nothing
        on any cluster.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a", env="prod")
            await first_commit(service, clone, files(1, ONE))
            await next_commit(service, clone, files(1, "{maxUnavailable: 2}"))
            with pytest.raises(RefusedError, match="no older revision"):
                await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest(0, ""))
            await next_commit(service, clone, files(2, "{maxUnavailable: 2}"))
            await next_commit(service, clone, files(2, "{maxUnavailable: 3}"))
            assert (
                await service.rollouts.go_back("fleet-default", BUNDLE, RollbackRequest(0, ""))
            ).number == 2

        run(tmp_path / "m", work)


def test_many_new_clusters_do_not_wait_for_a_report_between_the_batches(
    tmp_path: Path, clone: Clone
) -> None:
    """maxNew is a batch, not a brake: the next one goes at once."""
    strategy = "{maxUnavailable: 4, maxNew: 1}"

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c", "d")
        await agents.poll()
        first = await first_commit(service, clone, files(1, strategy))
        await agents.until_told(first, 4)

    run(tmp_path / "m", work)


def test_a_failure_is_gone_back_from_in_the_transaction_that_found_it(
    tmp_path: Path, clone: Clone
) -> None:
    """No moment between the two in which a manager that dies forgets the rollback: nobody ever sees
    `Failed` without the pin.
    """
    strategy = "{maxUnavailable: 1, maxFailures: 0, onFailure: rollback}"

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await scanned_first(service, agents, clone, strategy)
        bad = await next_commit(service, clone, files(2, strategy))
        [broken] = await agents.until_told(bad, 1)
        await service.rollouts.command("fleet-default", BUNDLE, "pause", "")
        await agents.poll(broken, answer=breaks)
        shown = await service.rollouts.command("fleet-default", BUNDLE, "resume", "")
        assert shown["status"]["display"]["state"] == "Progressing"
        assert (await service.views.get_object("Bundle", "fleet-default", BUNDLE))["status"][
            "pinned"
        ] == 1

    run(tmp_path / "m", work)
