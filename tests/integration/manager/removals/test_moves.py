"""Bundles that get another name, through the real service: held, said, and carried out with all
that hangs on the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.rendering.render import release_of
from manager.commands.rollback import RollbackRequest
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, scanned, serving
from tests.support.rollouts.simulated_agents import MAP, Agents, breaks, run
from tests.support.waiting import until

SPACE = "fleet-default"
OLD, NEW = "apps-apps-web", "apps-platform-web"


PLAIN = "labels: {a: b}\n"


def files(place: str, value: int = 1, fleet: str = PLAIN, name: str = "web") -> dict[str, str]:
    return {
        f"{place}/m.yaml": MAP.format(value=value).replace("name: web", f"name: {name}"),
        f"{place}/fleet.yaml": fleet,
    }


BASE = files("base", 0, name="base")


async def told(agents: Agents) -> dict[str, tuple[dict[str, str], set[str]]]:
    """By cluster: (releases by bundle, bundles to be removed)."""
    found = {}
    for name, cluster in agents.ids.items():
        document = await desired(agents.service, cluster)
        releases = {b.name: release_of(b.options, b.name)[0] for b in document.bundles}
        found[name] = releases, {t.name for t in document.tombstones}
    return found


async def gitrepo(service: Service, name: str = "apps") -> dict[str, Any]:
    status: dict[str, Any] = (await service.views.get_object("GitRepo", SPACE, name))["status"]
    return status


async def begin(
    service: Service, agents: Agents, clone: Clone, fleet: str = PLAIN, **more: str
) -> str:
    """Two clusters that run apps/web and base."""
    await agents.join("a", "b")
    commit = clone.push(files("apps/web", fleet=fleet) | BASE | more)
    await add(service, clone.url)
    await scanned(service, commit)
    await until(
        lambda: told(agents), lambda t: all(len(releases) >= 2 for releases, _ in t.values())
    )
    await agents.poll()
    return commit


def renamed(clone: Clone, old: str, new: str, value: int = 1, fleet: str = PLAIN) -> str:
    for name in ("m.yaml", "fleet.yaml"):
        (clone.folder / old / name).unlink(missing_ok=True)
    return clone.push(files(new, value, fleet))


async def held(service: Service, commit: str, name: str = "apps") -> dict[str, Any]:
    status = await until(
        lambda: gitrepo(service, name), lambda s: bool(s["commit"] == commit and s["held"])
    )
    found: dict[str, Any] = status["held"]
    return found


async def bundles(service: Service) -> set[str]:
    return {
        b["metadata"]["name"] for b in await service.views.list_objects("Bundle", workspace=SPACE)
    }


class TestHeld:
    def test_a_renamed_directory_changes_nothing_until_somebody_says_what_it_is(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Neither is the old one removed nor the new one installed; the words are everywhere; a
        revert is enough to undo it.
        """

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            before = await told(agents)
            commit = renamed(clone, "apps/web", "platform/web")
            found = await held(service, commit)
            assert found["moves"] == [
                {
                    "from": OLD,
                    "to": NEW,
                    "message": "apps/web → platform/web looks like a move (the same files)",
                }
            ]
            assert await told(agents) == before
            assert await bundles(service) == {OLD, "apps-base"}
            status = await gitrepo(service)
            assert status["display"]["state"] == "Held"
            assert f"fleetctl bundle moved {OLD} {NEW}" in status["display"]["message"]
            [shown] = await service.removals.list_held(SPACE)
            assert (shown["kind"], shown["cause"], shown["removals"], shown["moves"][0]["to"]) == (
                "GitRepo",
                "move",
                1,
                NEW,
            )
            back = renamed(clone, "platform/web", "apps/web")
            await until(
                lambda: gitrepo(service), lambda s: s["commit"] == back and s["held"] is None
            )
            assert await told(agents) == before

        run(tmp_path / "m", work)

    def test_a_confirmation_removes_and_installs_anew(self, tmp_path: Path, clone: Clone) -> None:
        """With the number and the commit, as for every removal."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            commit = renamed(clone, "apps/web", "platform/web")
            await held(service, commit)
            await service.gitrepos.confirm(SPACE, "apps", 1, commit)
            found = await until(lambda: told(agents), lambda t: NEW in t["a"][0])
            assert found["a"] == ({"apps-base": "apps-base", NEW: NEW}, {OLD})

        run(tmp_path / "m", work)

    def test_a_name_of_its_own_makes_it_no_move(self, tmp_path: Path, clone: Clone) -> None:
        """`name:` in fleet.yaml: the identity has not changed, and nothing is held."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone, fleet="name: web\n")
            commit = renamed(clone, "apps/web", "platform/web", fleet="name: web\n")
            await scanned(service, commit)
            assert (await gitrepo(service))["held"] is None
            assert (await told(agents))["a"] == ({"apps-base": "apps-base", "web": "web"}, set())

        run(tmp_path / "m", work)

    def test_what_is_new_beside_a_removal_is_installed(self, tmp_path: Path, clone: Clone) -> None:
        """Nothing in common: no move, and no nuisance."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            service_file = (
                "apiVersion: v1\nkind: Service\nmetadata: {name: cache}\nspec: {ports: [{port:"
                " 1}]}\n"
            )
            gone: dict[str, str | None] = {"apps/web/m.yaml": None, "apps/web/fleet.yaml": None}
            commit = clone.push(gone | {"cache/c.yaml": service_file, "cache/fleet.yaml": PLAIN})
            await scanned(service, commit)
            assert (await told(agents))["a"][0].keys() == {"apps-base", "apps-cache"}

        run(tmp_path / "m", work)

    def test_a_scan_that_is_not_complete_moves_nothing_either(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Beside a broken bundle, the one that came is not installed next to the one that it
        was.
        """

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            clone.push({"broken/fleet.yaml": "nonsense: [\n"})
            commit = renamed(clone, "apps/web", "platform/web")
            status = (await scanned(service, commit))["status"]
            assert {p["code"] for p in status["problems"]} >= {"looks-like-a-move"}
            assert await bundles(service) == {OLD, "apps-base"}
            await service.removals.move(SPACE, OLD, NEW)
            await until(lambda: bundles(service), lambda found: found == {NEW, "apps-base"})

        run(tmp_path / "m", work)


class TestSaid:
    def test_all_that_hangs_on_the_name_goes_with_it(self, tmp_path: Path, clone: Clone) -> None:
        """The release stays, also over the next commits; history and pins go on; each cluster is
        told new and old at once.
        """

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            second = clone.push(files("apps/web", 2))
            await agents.until_told(second, 2)
            before = await service.views.bundle_history(SPACE, OLD)
            uid = (await service.views.get_object("Bundle", SPACE, OLD))["metadata"]["uid"]
            await held(service, renamed(clone, "apps/web", "platform/web", 2))
            await service.removals.move(SPACE, OLD, NEW)
            found = await until(lambda: told(agents), lambda t: NEW in t["a"][0])
            assert found == {name: ({"apps-base": "apps-base", NEW: OLD}, {OLD}) for name in "ab"}
            assert (await service.views.get_object("Bundle", SPACE, NEW))["metadata"]["uid"] == uid
            after = await service.views.bundle_history(SPACE, NEW)
            assert [r["commit"] for r in after][1:] == [r["commit"] for r in before]
            assert [r["clusters"] for r in after][:2] == [2, 0], "the new name is no other content"
            assert (await gitrepo(service))["held"] is None
            await service.rollouts.go_back(SPACE, NEW, RollbackRequest(before[-1]["number"], ""))
            third = clone.push(files("platform/web", 3))
            await scanned(service, third)
            assert (await told(agents))["a"][0] == {"apps-base": "apps-base", NEW: OLD}
            document = await desired(service, agents.ids["a"])
            assert next(b.commit for b in document.bundles if b.name == NEW) == before[-1]["commit"]
            await service.rollouts.go_back(SPACE, NEW, RollbackRequest(release=True))
            document = await desired(service, agents.ids["a"])
            assert next(b.commit for b in document.bundles if b.name == NEW) == third

        run(tmp_path / "m", work)

    def test_what_else_the_commit_changes_goes_through_the_rollout(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """All clusters have the new name at once with the old content; the new content goes to one
        after the other.
        """
        strategy = "rolloutStrategy: {maxUnavailable: 1}\n"

        async def work(service: Service, agents: Agents) -> None:
            first = await begin(service, agents, clone, fleet=strategy)
            commit = renamed(clone, "apps/web", "platform/web", 2, strategy)
            await held(service, commit)
            await service.removals.move(SPACE, OLD, NEW)

            async def commits() -> dict[str, str]:
                documents = {
                    name: await desired(service, cluster) for name, cluster in agents.ids.items()
                }
                return {
                    name: next((b.commit for b in d.bundles if b.name == NEW), "")
                    for name, d in documents.items()
                }

            await until(commits, lambda c: all(c.values()))
            assert {r[NEW] for r, _ in (await told(agents)).values()} == {OLD}
            await asyncio.sleep(0.5)
            assert sorted((await commits()).values()).count(commit) <= 1
            await agents.poll()
            await until(commits, lambda c: sorted(c.values()).count(commit) == 1)
            assert first in (await commits()).values()
            await agents.poll()
            await until(commits, lambda c: set(c.values()) == {commit})

        run(tmp_path / "m", work)

    def test_in_advance(self, tmp_path: Path, clone: Clone) -> None:
        """Said before the push: the scan does it at once. Taken back, it is held as if nothing had
        been said.
        """

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            await service.removals.move(SPACE, OLD, "elsewhere")
            await service.removals.move(SPACE, OLD, NEW)
            await service.removals.move(SPACE, OLD, OLD, taken_back=True)
            with pytest.raises(NotFound, match="no move is declared"):
                await service.removals.move(SPACE, OLD, OLD, taken_back=True)
            commit = renamed(clone, "apps/web", "platform/web")
            await held(service, commit)
            renamed(clone, "platform/web", "apps/web")
            await service.removals.move(SPACE, OLD, NEW)
            commit = renamed(clone, "apps/web", "platform/web", 2)
            await scanned(service, commit)
            assert (await told(agents))["a"][0] == {"apps-base": "apps-base", NEW: OLD}

        run(tmp_path / "m", work)

    def test_chains_and_the_way_back(self, tmp_path: Path, clone: Clone) -> None:
        """a → b → c → a: one release all the time, over a restart of the manager too."""
        folder = tmp_path / "m"
        names = {"apps/web": OLD, "platform/web": NEW, "shop/web": "apps-shop-web"}

        async def main() -> None:
            async with serving(folder) as service:
                agents = Agents(service)
                await begin(service, agents, clone)
                await self._step(service, agents, clone, ("apps/web", "platform/web"), names)
                await self._step(service, agents, clone, ("platform/web", "shop/web"), names)
            async with serving(folder) as service:
                agents.service = service
                await self._step(service, agents, clone, ("shop/web", "apps/web"), names)
                last = clone.push(files("apps/web", 9))
                await agents.until_told(last, 2)
                assert (await told(agents))["a"][0] == {"apps-base": "apps-base", OLD: OLD}

        asyncio.run(main())

    async def _step(
        self,
        service: Service,
        agents: Agents,
        clone: Clone,
        way: tuple[str, str],
        names: dict[str, str],
    ) -> None:
        old, new = names[way[0]], names[way[1]]
        await held(service, renamed(clone, *way))
        await service.removals.move(SPACE, old, new)
        found = await until(lambda: told(agents), lambda t: new in t["a"][0])
        assert found["a"][0] == {"apps-base": "apps-base", new: OLD}
        assert old in found["a"][1]
        assert new not in found["a"][1]

    def test_several_in_one_commit(self, tmp_path: Path, clone: Clone) -> None:
        """Each is held until it is said; what was said is done, and the rest goes on waiting."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone, **files("apps/db", 7, name="db"))
            (clone.folder / "apps/db/m.yaml").unlink()
            (clone.folder / "apps/db/fleet.yaml").unlink()
            clone.push(files("platform/db", 7, name="db"))
            commit = renamed(clone, "apps/web", "platform/web")
            found = await until(
                lambda: gitrepo(service), lambda s: bool(s["held"]) and len(s["held"]["moves"]) == 2
            )
            assert found["held"]["removals"] == 2
            await service.removals.move(SPACE, OLD, NEW)
            left = await until(
                lambda: gitrepo(service), lambda s: bool(s["held"]) and len(s["held"]["moves"]) == 1
            )
            assert left["held"]["moves"][0]["from"] == "apps-apps-db"
            assert left["commit"] == commit
            assert (await told(agents))["a"][0].keys() == {"apps-base", NEW, "apps-apps-db"}
            await service.removals.move(SPACE, "apps-apps-db", "apps-platform-db")
            await until(lambda: gitrepo(service), lambda s: s["held"] is None)

        run(tmp_path / "m", work)

    def test_in_git(self, tmp_path: Path, clone: Clone) -> None:
        """`movedFrom` says it in the commit itself; once it is done it says nothing more."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            commit = renamed(clone, "apps/web", "platform/web", fleet=f"movedFrom: {OLD}\n")
            await scanned(service, commit)
            assert (await gitrepo(service))["held"] is None
            assert (await told(agents))["a"] == ({"apps-base": "apps-base", NEW: OLD}, {OLD})
            again = clone.push(files("platform/web", 3, f"movedFrom: {OLD}\n"))
            await scanned(service, again)
            assert (await told(agents))["a"][0] == {"apps-base": "apps-base", NEW: OLD}

        run(tmp_path / "m", work)

    def test_what_cannot_be_said(self, tmp_path: Path, clone: Clone) -> None:
        """An old one that is not there, a new one that is, a name that is none; and a bundle that
        is still in Git moves nowhere.
        """

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            with pytest.raises(NotFound, match="nobody does not exist"):
                await service.removals.move(SPACE, "nobody", NEW)
            with pytest.raises(Conflict, match="exists already"):
                await service.removals.move(SPACE, OLD, "apps-base")
            with pytest.raises(UsageError):
                await service.removals.move(SPACE, OLD, "No Name")
            commit = clone.push(files("platform/web", 1, f"movedFrom: {OLD}\n"))
            status = (await scanned(service, commit))["status"]
            assert [p["code"] for p in status["problems"]] == ["moved-from"]
            assert "is still in Git" in status["display"]["message"]
            assert await bundles(service) == {OLD, "apps-base"}

        run(tmp_path / "m", work)

    def test_the_old_name_for_something_else(self, tmp_path: Path, clone: Clone) -> None:
        """Its release is the moved one's: the new one is refused until it has another."""

        async def work(service: Service, agents: Agents) -> None:
            await begin(service, agents, clone)
            await service.removals.move(SPACE, OLD, NEW)
            await scanned(service, renamed(clone, "apps/web", "platform/web"))
            commit = clone.push(files("apps/web", 5, name="other"))
            status = (await scanned(service, commit))["status"]
            assert [p["code"] for p in status["problems"]] == ["moved-away"]
            commit = clone.push({"apps/web/fleet.yaml": "helm: {releaseName: other}\n"})
            await until(lambda: bundles(service), lambda found: found == {OLD, NEW, "apps-base"})
            assert (await told(agents))["a"][0] == {
                "apps-base": "apps-base",
                NEW: OLD,
                OLD: "other",
            }

        run(tmp_path / "m", work)


class TestTwoRepositories:
    def two(self, clone: Clone) -> Callable[[Service], Awaitable[None]]:
        async def make(service: Service) -> None:
            await add(service, clone.url, paths=["apps", "base"])
            await add(service, clone.url, name="infra", paths=["infra", "base2"])

        return make

    def test_the_same_name_goes_over_when_the_first_drops_it(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Named in fleet.yaml: the second has to wait, and then has it without an uninstall."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            base2 = files("base2", 0, name="base2")
            keep = {"infra/keep.txt": "", "apps/keep.txt": ""}
            first = clone.push(files("apps/web", fleet="name: web\n") | BASE | base2 | keep)
            await self.two(clone)(service)
            await scanned(service, first)
            await until(lambda: told(agents), lambda t: "web" in t["a"][0])
            both = clone.push(files("infra/web", fleet="name: web\n"))
            await until(
                lambda: gitrepo(service, "infra"),
                lambda s: s["commit"] == both and s["problems"][0]["code"] == "name-taken",
            )
            (clone.folder / "apps/web/m.yaml").unlink()
            (clone.folder / "apps/web/fleet.yaml").unlink()
            clone.push({"infra/web/m.yaml": MAP.format(value=2)})
            await until(lambda: gitrepo(service, "infra"), lambda s: not s["problems"])
            bundle = await service.views.get_object("Bundle", SPACE, "web")
            assert bundle["metadata"]["labels"]["fleet.cattle.io/repo-name"] == "infra"
            assert (await told(agents))["a"][0]["web"] == "web"
            assert (await told(agents))["a"][1] == set()
            assert (await gitrepo(service))["held"] is None

        run(tmp_path / "m", work)

    @pytest.mark.parametrize("first", ["apps", "infra"])
    def test_another_name_is_said_in_advance(
        self, tmp_path: Path, clone: Clone, first: str
    ) -> None:
        """Whichever repository is scanned first: neither removes anything before the other one has
        it.
        """

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            base2 = files("base2", 0, name="base2")
            start = clone.push(
                files("apps/web") | BASE | base2 | {"infra/keep.txt": "", "apps/keep.txt": ""}
            )
            await self.two(clone)(service)
            await scanned(service, start)
            await until(lambda: told(agents), lambda t: len(t["a"][0]) == 3)
            other = {"apps": "infra", "infra": "apps"}[first]
            await self._paused(service, clone, other, paused=True)
            await service.removals.move(SPACE, OLD, "infra-infra-web")
            commit = renamed(clone, "apps/web", "infra/web")
            await scanned(service, commit, first)
            releases, gone = (await told(agents))["a"]
            assert OLD in releases.values()
            assert gone in (set(), {OLD})
            await self._paused(service, clone, other, paused=False)
            await scanned(service, commit, other)
            found = await until(lambda: told(agents), lambda t: "infra-infra-web" in t["a"][0])
            assert found["a"][0]["infra-infra-web"] == OLD
            assert OLD not in found["a"][0]
            await until(lambda: gitrepo(service), lambda s: not s["held"] and not s["problems"])

        run(tmp_path / "m", work)

    async def _paused(self, service: Service, clone: Clone, name: str, *, paused: bool) -> None:
        paths = ["apps", "base"] if name == "apps" else ["infra", "base2"]
        await add(service, clone.url, name=name, paths=paths, disablePolling=paused)
        if paused:
            await asyncio.sleep(1.5)

    def test_git_alone_takes_nothing_from_another_repository(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """movedFrom with a bundle of another GitRepo is refused: a person must say that."""

        async def work(service: Service, agents: Agents) -> None:
            await agents.join("a")
            first = clone.push(
                files("apps/web") | BASE | files("base2", 8, name="x") | {"infra/keep.txt": ""}
            )
            await self.two(clone)(service)
            await scanned(service, first)
            commit = clone.push(files("infra/web", fleet=f"movedFrom: {OLD}\n"))
            status = (await scanned(service, commit, "infra"))["status"]
            assert [p["code"] for p in status["problems"]] == ["moved-from"]
            assert "belongs to GitRepo apps" in status["problems"][0]["summary"]

        run(tmp_path / "m", work)


async def rollout(service: Service) -> dict[str, Any]:
    display: dict[str, Any] = (await service.views.list_rollouts(SPACE, NEW))[0]["status"][
        "display"
    ]
    return display


def test_a_rollout_goes_on_under_the_new_name(tmp_path: Path, clone: Clone) -> None:
    """What is paused stays paused, and what was broken by the version before is told the next
    one.
    """
    strategy = "rolloutStrategy: {maxUnavailable: 1}\n"

    async def work(service: Service, agents: Agents) -> None:
        await begin(service, agents, clone, fleet=strategy)
        bad = clone.push(files("apps/web", 2, strategy))
        [broken] = await agents.until_told(bad, 1)
        await agents.poll(broken, answer=breaks)
        await service.rollouts.command(SPACE, OLD, "pause", "freeze")
        await held(service, renamed(clone, "apps/web", "platform/web", 2, strategy))
        await service.removals.move(SPACE, OLD, NEW)
        await until(lambda: told(agents), lambda t: NEW in t["a"][0])
        display = await until(lambda: rollout(service), lambda d: bool(d["message"]))
        assert (display["state"], display["message"].endswith("freeze")) == ("Paused", True)
        assert await service.views.list_rollouts(SPACE, OLD) == []

    run(tmp_path / "m", work)
