"""Removals that wait for a person, through the real service: labels, groups and targets that
suddenly pick far fewer clusters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, RepoName, Workspace
from manager.clock import unix
from manager.commands.removals import Labels
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.reconcile.reconcile import reconcile
from manager.rollout import batches
from manager.service import Service
from manager.store.queries import Scope
from manager.store.schema import clusters, deployments, repos
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, scanned, serving
from tests.support.rollouts.simulated_agents import BUNDLE, MAP, Agents, run
from tests.support.waiting import until

SPACE, NOW = "fleet-default", "2026-01-01T00:00:00Z"
PROD = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}}]
EVERY = [{"name": "all", "clusterSelector": {}}]
Work = Callable[[Service, Agents], Awaitable[None]]


def names(count: int) -> list[str]:
    return [f"c{i:02d}" for i in range(count)]


async def settled(service: Service, agents: Agents, clone: Clone, count: int, **spec: Any) -> str:
    """`count` clusters in prod; all run the bundle `web`, and another one that everybody has."""
    await agents.join(*names(count), env="prod")
    commit = clone.push({"web/m.yaml": MAP.format(value=1)})
    base = clone.push({"base/m.yaml": MAP.format(value=0).replace("name: web", "name: base")})
    await add(service, clone.url, paths=["web"], **({"targets": PROD} | spec))
    await add(service, clone.url, name="base", paths=["base"], targets=EVERY)
    await scanned(service, base)
    await scanned(service, base, "base")
    await agents.poll()
    del commit
    return base


async def told(agents: Agents) -> tuple[set[str], set[str]]:
    """(clusters whose document has the bundle, clusters that are told to remove it)."""
    have, lose = set(), set()
    for name, cluster in agents.ids.items():
        document = await desired(agents.service, cluster)
        have |= {name for bundle in document.bundles if bundle.name == BUNDLE}
        lose |= {name for tombstone in document.tombstones if tombstone.name == BUNDLE}
    return have, lose


async def label(
    service: Service,
    *picked: str,
    selector: str = "",
    removals: int | None = None,
    **labels: str | None,
) -> dict[str, Any]:
    return await service.removals.label(
        Labels(SPACE, dict(labels), picked, selector, removals=removals)
    )


async def held(service: Service) -> dict[str, int]:
    return {one["bundle"]: one["removals"] for one in await service.removals.list_held(SPACE)}


class TestLabels:
    def test_a_label_taken_from_many_at_once_removes_nothing(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """12 of 12: nobody is told anything; bundle, GitRepo and deployments say so; and all is as
        before when the label is back.
        """

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 12)
            before = {
                name: [b.generation for b in (await desired(service, c)).bundles]
                for name, c in agents.ids.items()
            }
            answer = await label(service, selector="env=prod", env=None)
            assert (answer["clusters"], answer["removals"], answer["held"]) == (12, 12, 12)
            assert await told(agents) == (set(names(12)), set())
            [hold] = await service.removals.list_held(SPACE)
            assert (
                hold["bundle"],
                hold["removals"],
                hold["of"],
                hold["cause"],
                hold["changed"],
            ) == (BUNDLE, 12, 12, "all", "labels")
            await agents.poll()
            bundle = await service.views.get_object("Bundle", SPACE, BUNDLE)
            assert bundle["status"]["display"]["state"] == "Held"
            assert bundle["status"]["display"]["readyClusters"] == "12/12"
            assert (
                f"fleetctl held confirm {BUNDLE} --removals 12"
                in bundle["status"]["display"]["message"]
            )
            repo = await service.views.get_object("GitRepo", SPACE, "apps")
            assert (
                repo["status"]["display"]["state"],
                repo["status"]["heldRemovals"][0]["removals"],
            ) == ("Held", 12)
            shown = await service.views.list_objects(
                "BundleDeployment", workspace=SPACE, repo="apps"
            )
            assert {i["status"]["message"] for i in shown} == {"held: would be removed"}
            attention = (await service.views.status(SPACE))["attention"]
            assert {(a["kind"], a["state"]) for a in attention} == {
                ("GitRepo", "Held"),
                ("Bundle", "Held"),
            }
            await label(service, *names(12), env="prod")
            assert await service.removals.list_held(SPACE) == []
            assert {
                n: [b.generation for b in (await desired(service, c)).bundles]
                for n, c in agents.ids.items()
            } == before
            assert (await service.views.get_object("Bundle", SPACE, BUNDLE))["status"]["display"][
                "state"
            ] == "Ready"

        run(tmp_path / "m", work)

    def test_one_after_the_other_counts_together_over_a_restart(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Of 12 the first five go, each by itself; then no more, also after a restart and although
        five are gone and forgotten by then.
        """
        folder = tmp_path / "m"

        async def main() -> None:
            async with serving(folder) as service:
                agents = Agents(service)
                await settled(service, agents, clone, 12)
                for name in names(4):
                    await service.objects.patch_labels("Cluster", SPACE, name, {"env": None})
                assert (await told(agents))[1] == set(names(4))
            async with serving(folder) as service:
                agents.service = service
                for name in names(12)[4:]:
                    await service.objects.patch_labels("Cluster", SPACE, name, {"env": None})
                have, lose = await told(agents)
                assert (have, lose) == (set(names(12)[5:]), set(names(5)))
                assert await held(service) == {BUNDLE: 7}
            async with serving(folder) as service:
                agents.service = service
                assert await held(service) == {BUNDLE: 7}
                await service.objects.patch_labels("Cluster", SPACE, "c11", {"env": "prod"})
                assert await held(service) == {BUNDLE: 6}
                for name in names(11)[5:]:
                    await service.objects.patch_labels("Cluster", SPACE, name, {"env": "prod"})
                    assert (await told(agents))[1] == set(names(5)), (
                        "undoing one by one must not let the rest go"
                    )
                assert await held(service) == {}

        asyncio.run(main())

    def test_a_confirmation_names_the_number_of_now(self, tmp_path: Path, clone: Clone) -> None:
        """6 were seen; by now they are 7: the 6 are refused, and nothing goes. 7 lets exactly these
        go, which then count as asked for.
        """

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 20)
            await label(service, *names(6), env=None)
            assert await held(service) == {BUNDLE: 6}
            seen = (await service.removals.list_held(SPACE))[0]["digest"]
            await label(service, "c06", env=None)
            with pytest.raises(Conflict, match="7 removals are held, not 6"):
                await service.removals.confirm(SPACE, BUNDLE, 6, "")
            with pytest.raises(Conflict, match="other clusters"):
                await service.removals.confirm(SPACE, BUNDLE, 7, seen)
            assert (await told(agents))[1] == set()
            await service.removals.confirm(SPACE, BUNDLE, 7, "")
            assert await told(agents) == (set(names(20)[7:]), set(names(7)))
            assert await held(service) == {}
            with pytest.raises(Conflict, match="nothing is held"):
                await service.removals.confirm(SPACE, BUNDLE, 7, "")
            await label(service, "c07", env=None)
            assert (await told(agents))[1] == set(names(8)), (
                "what was confirmed does not use up what may go unasked"
            )

        run(tmp_path / "m", work)

    def test_the_ordinary_day(self, tmp_path: Path, clone: Clone) -> None:
        """One of three loses the label: it goes at once. What it has left is its other bundle."""

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 3)
            answer = await label(service, "c00", env="test")
            assert (answer["removals"], answer["held"], answer["bundles"]) == (
                1,
                0,
                [{"name": BUNDLE, "removals": 1}],
            )
            assert await told(agents) == ({"c01", "c02"}, {"c00"})
            with pytest.raises(NotFound, match="nobody"):
                await label(service, "c00", "nobody", env="test")
            with pytest.raises(UsageError):
                await label(service, "c00", selector="env=prod", env="test")

        run(tmp_path / "m", work)

    def test_a_dry_run_lists_bundles_that_clusters_gain_lose_or_change(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Another target, a customization of it, and a bundle for that target only; nothing is
        stored.
        """
        test = {"name": "test", "clusterSelector": {"matchLabels": {"env": "test"}}}

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 2, targets=[*PROD, test])
            await add(service, clone.url, name="tools", paths=["tools"], targets=[test])
            await scanned(
                service,
                clone.push(
                    {"tools/m.yaml": MAP.format(value=1).replace("name: web", "name: tools")}
                ),
                "tools",
            )
            answer = await service.removals.label(
                Labels(SPACE, {"env": "test"}, ["c00"], dry_run=True)
            )
            effects = {one["bundle"]: one for one in answer["effects"]}
            assert (effects["tools-tools"]["what"], effects["tools-tools"]["new"]["target"]) == (
                "added",
                "test",
            )
            assert (effects[BUNDLE]["old"]["target"], effects[BUNDLE]["new"]["target"]) == (
                "prod",
                "test",
            )
            assert (answer["removals"], {one["names"][0] for one in answer["effects"]}) == (
                0,
                {"c00"},
            )
            [lost] = (
                await service.removals.label(Labels(SPACE, {"env": None}, ["c00"], dry_run=True))
            )["effects"]
            assert (lost["bundle"], lost["what"], lost["clusters"]) == (BUNDLE, "removed", 1)
            assert (await told(agents))[0] == {"c00", "c01"}

        run(tmp_path / "m", work)

    def test_a_clusters_last_bundle_is_held_unless_the_number_is_said(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """By a label alone it is kept; with the number in the same call it goes; another number
        does nothing at all.
        """

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 3)
            await service.objects.delete("GitRepo", SPACE, "base")
            await label(service, "c00", env="test")
            assert await told(agents) == (set(names(3)), set())
            assert (await service.removals.list_held(SPACE))[0]["cause"] == "last"
            assert "no bundle would stay" in (await service.removals.list_held(SPACE))[0]["message"]
            with pytest.raises(Conflict, match="1 deployments would be removed, not 2"):
                await label(service, "c01", removals=2, env="test")
            cluster = await service.views.get_object("Cluster", SPACE, "c01")
            assert cluster["metadata"]["labels"]["env"] == "prod"
            await label(service, "c01", removals=1, env="test")
            assert await told(agents) == ({"c00", "c02"}, {"c01"})

        run(tmp_path / "m", work)

    def test_a_dry_run_says_and_does_nothing(self, tmp_path: Path, clone: Clone) -> None:
        """The numbers of what would happen, and every label as before."""

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 12)
            answer = await service.removals.label(
                Labels(SPACE, {"env": None}, (), "env=prod", dry_run=True)
            )
            assert (answer["dryRun"], answer["removals"], answer["held"]) == (True, 12, 12)
            assert answer["holds"][0]["message"].startswith(
                "would be removed from 12 of 12 clusters (c00, c01, c02, c03, c04 and 7 more)"
            )
            assert await held(service) == {}
            assert (
                len(
                    await service.views.list_objects(
                        "Cluster", workspace=SPACE, selector="env=prod"
                    )
                )
                == 12
            )

        run(tmp_path / "m", work)


class TestTargetsAndGroups:
    def test_targets_that_match_nothing(self, tmp_path: Path, clone: Clone) -> None:
        """A typing mistake in the GitRepo's selector: 3 of 3 would lose it, and keep it; the right
        targets undo it.
        """

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 3)
            wrong = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "pord"}}}]
            await add(service, clone.url, paths=["web"], targets=wrong)
            await until(lambda: held(service), lambda found: found == {BUNDLE: 3})
            assert await told(agents) == (set(names(3)), set())
            assert (await service.removals.list_held(SPACE))[0]["changed"] == "targets"
            await add(service, clone.url, paths=["web"], targets=PROD)
            await until(lambda: held(service), lambda found: found == {})
            assert await told(agents) == (set(names(3)), set())

        run(tmp_path / "m", work)

    def test_a_group_that_picks_others(self, tmp_path: Path, clone: Clone) -> None:
        """The selector of a ClusterGroup changes, or the group is deleted: what hangs on it is
        held.
        """

        def group(env: str) -> dict[str, Any]:
            meta = {"name": "prod", "namespace": SPACE}
            spec = {"selector": {"matchLabels": {"env": env}}}
            return {
                "apiVersion": "fleet.cattle.io/v1alpha1",
                "kind": "ClusterGroup",
                "metadata": meta,
                "spec": spec,
            }

        async def work(service: Service, agents: Agents) -> None:
            await service.objects.put("ClusterGroup", SPACE, "prod", group("prod"))
            await settled(
                service, agents, clone, 12, targets=[{"name": "g", "clusterGroup": "prod"}]
            )
            await service.objects.put("ClusterGroup", SPACE, "prod", group("prd"))
            assert await held(service) == {BUNDLE: 12}
            assert (await service.removals.list_held(SPACE))[0]["changed"] == "groups"
            await service.objects.put("ClusterGroup", SPACE, "prod", group("prod"))
            assert await held(service) == {}
            await service.objects.delete("ClusterGroup", SPACE, "prod")
            assert await held(service) == {BUNDLE: 12}
            assert await told(agents) == (set(names(12)), set())

        run(tmp_path / "m", work)

    def test_what_is_held_gets_no_newer_version(self, tmp_path: Path, clone: Clone) -> None:
        """Frozen: commits go to the others. Picked again, it follows."""

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 12)
            await label(service, *names(6), env=None)
            second = clone.push({"web/m.yaml": MAP.format(value=2)})
            await scanned(service, second)

            async def commits() -> dict[str, str]:
                documents = {
                    name: await desired(service, cluster) for name, cluster in agents.ids.items()
                }
                return {
                    name: next(b.commit for b in d.bundles if b.name == BUNDLE)
                    for name, d in documents.items()
                }

            found = await until(commits, lambda c: c["c11"] == second)
            assert {name for name, commit in found.items() if commit == second} == set(
                names(12)[6:]
            )
            await label(service, *names(6), env="prod")
            assert set((await commits()).values()) == {second}

        run(tmp_path / "m", work)


class TestWhoSaysItIsNotAsked:
    def test_a_gitrepo_that_is_deleted_takes_everything_with_it(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Also what was held: a person has said so."""

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 12)
            await label(service, *names(6), env=None)
            await service.objects.delete("GitRepo", SPACE, "apps")
            assert await told(agents) == (set(), set(names(12)))
            assert await service.removals.list_held(SPACE) == []

        run(tmp_path / "m", work)

    def test_a_cluster_that_leaves(self, tmp_path: Path, clone: Clone) -> None:
        """`cluster delete --uninstall` removes all that it has, held or not; without, its holds go
        with it.
        """

        async def work(service: Service, agents: Agents) -> None:
            await settled(service, agents, clone, 12)
            await label(service, *names(6), env=None)
            await service.objects.delete("Cluster", SPACE, "c00", uninstall=True)
            document = await desired(service, ClusterId(agents.ids["c00"]))
            assert sorted(t.name for t in document.tombstones) == [BUNDLE, "base-base"]
            await service.objects.delete("Cluster", SPACE, "c01")
            assert await held(service) == {BUNDLE: 4}

        run(tmp_path / "m", work)


def test_a_label_taken_from_five_thousand_clusters(tmp_path: Path) -> None:
    """Nobody is told anything, over a restart; the number lets exactly these go, another one
    nobody.
    """
    repo = RepoSpec(
        workspace=Workspace(SPACE),
        name=RepoName("apps"),
        spec=GitRepoSpec(repo="https://git.test/apps"),
    )

    def fill(connection: Connection) -> None:
        blank = {
            "annotations": b"{}",
            "spec": b"{}",
            "created_at": NOW,
            "generation": 1,
            "workspace": SPACE,
        }
        labels = {"labels": b'{"env":"prod"}'}
        connection.execute(
            sa.insert(clusters),
            [
                {"id": f"id-{n}", "uid": f"u{n}", "name": f"c{n:04d}", **labels, **blank}
                for n in range(5000)
            ],
        )
        connection.execute(sa.insert(repos), {"workspace": SPACE, "name": "apps"})
        targets = {"web": {"matchLabels": {"env": "prod"}}, "base": {}}
        specs = [
            BundleSpec(
                workspace=Workspace(SPACE),
                name=BundleName(name),
                repo=RepoName("apps"),
                targets=[Target(cluster_selector=selector)],
            )
            for name, selector in targets.items()
        ]
        apply_scan(
            connection,
            repo,
            1,
            CompletedScan(CommitId("c" * 40), specs, []),
            confirmation=None,
            now=NOW,
        )
        for spec in specs:
            reconcile(connection, Scope(Workspace(SPACE), [spec.name], None), now=NOW)
        while batches.every(connection):
            for place in batches.every(connection):
                batches.go_on(connection, place, unix(NOW), reconcile)
        connection.execute(
            sa.update(deployments).values(
                generation=1, reported_generation=1, staged_key="", state="Ready"
            )
        )

    async def removed(service: Service) -> int:
        d = deployments.c
        query = sa.select(sa.func.count()).where(d.bundle == "web", d.is_removed)
        return await service._store.read(lambda connection: connection.execute(query).scalar_one())

    async def main() -> None:
        async with serving(tmp_path / "m") as service:
            await service._store.write(fill)
            answer = await label(service, selector="env=prod", env=None)
            assert (answer["clusters"], answer["removals"], answer["held"]) == (5000, 5000, 5000)
        async with serving(tmp_path / "m") as service:
            [hold] = await service.removals.list_held(SPACE)
            assert (hold["removals"], hold["of"], await removed(service)) == (5000, 5000, 0)
            with pytest.raises(Conflict):
                await service.removals.confirm(SPACE, "web", 12, "")
            await label(service, *[f"c{n:04d}" for n in range(100)], env="prod")
            with pytest.raises(Conflict, match="4900 removals are held, not 5000"):
                await service.removals.confirm(SPACE, "web", 5000, "")
            assert await removed(service) == 0
            await service.removals.confirm(SPACE, "web", 4900, "")
            assert await removed(service) == 4900

    asyncio.run(main())
