"""Schedules through the real service: who is held outside a window, when it goes, and what is said of it; the clock is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.errors import InvalidFile, NotFound, RefusedError, UsageError
from manager.revisions.goingback import Ask, Chosen
from manager.service import Service, Settings
from manager.signing import Signer
from tests.integration.manager.test_rollouts import BUNDLE, MAP, Agents, breaks, files, rollout
from tests.integration.manager.test_service import add, desired, scanned
from tests.support.gitrepo import Clone
from tests.support.waiting import until

SPACE = "fleet-default"


class Clock:
    """Stands still until it is set."""

    def __init__(self, text: str) -> None:
        self.now = 0.0
        self.set(text)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=datetime.fromisoformat(text).tzinfo or UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serving(folder: Path, clock: Callable[[], float]) -> AsyncIterator[Service]:
    folder.mkdir(exist_ok=True)
    service = Service(folder, signer=Signer.load_or_create(folder), clock=clock, settings=Settings(poll_seconds=1))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def run(folder: Path, clock: Callable[[], float], work: Callable[[Service, Agents], Any]) -> None:
    async def main() -> None:
        async with serving(folder, clock) as service:
            await work(service, Agents(service))

    asyncio.run(main())


async def schedule(service: Service, name: str, text: str, duration: str, location: str = "", **more: Any) -> dict[str, Any]:
    targets = {"clusters": [{"clusterSelector": more.pop("selector", {})}]}
    spec = {"schedule": text, "duration": duration, "location": location, "targets": targets, **more}
    meta = {"name": name, "namespace": SPACE}
    doc = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Schedule", "metadata": meta, "spec": spec}
    return (await service.put_object("Schedule", SPACE, name, doc)).object


async def deployments(service: Service) -> dict[str, tuple[str, str]]:
    """State and message by cluster."""
    items = await service.list_objects("BundleDeployment")
    return {i["spec"]["cluster"]: (i["status"]["display"]["state"], i["status"]["message"]) for i in items}


async def settled(service: Service) -> None:
    """Every rollout has been looked at."""
    service._live.changed()
    await asyncio.sleep(0.4)


async def first_commit(service: Service, agents: Agents, clone: Clone, strategy: str = "") -> str:
    first = clone.push(files(1, strategy) if strategy else {"web/m.yaml": MAP.format(value=1)})
    await add(service, clone.url, paths=["web"])
    await scanned(service, first)
    for _ in range(len(agents.ids)):
        told = len(await agents.told(first))
        await agents.poll()
        await until(lambda: agents.told(first), lambda names, told=told: len(names) > told or len(names) == len(agents.ids))
    await agents.poll()
    return first


def test_a_change_waits_for_the_window(tmp_path: Path, clone: Clone) -> None:
    """A bundle without a strategy: the cluster under a schedule is held and says until when, the other one goes at once."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("night", tier="prod")
        await agents.join("free")
        first = await first_commit(service, agents, clone)
        shown = await schedule(service, "nightly", "0 2 * * *", "2h", "Europe/Berlin", selector={"matchLabels": {"tier": "prod"}})
        assert shown["status"] | {"display": 0, "conditions": 0} == {
            "active": False,
            "nextStartTime": "2026-11-26T02:00:00+01:00",
            "matchingClusters": ["night"],
            "display": 0,
            "conditions": 0,
        }
        second = clone.push({"web/m.yaml": MAP.format(value=2)})
        await scanned(service, second)
        assert await agents.until_told(second, 1) == {"free"}
        await agents.poll()
        why = "window nightly opens at 2026-11-26T02:00:00+01:00 (Europe/Berlin)"
        assert (await deployments(service))["night"] == ("WaitingForWindow", why)
        bundle = await service.get_object("Bundle", SPACE, BUNDLE)
        assert bundle["status"]["summary"] == {"ready": 1, "desiredReady": 2, "waitingForWindow": 1}
        assert bundle["status"]["display"]["message"] == f"WaitingForWindow(1) [Cluster fleet-default/night: {why}]"
        cluster = await service.get_object("Cluster", SPACE, "night")
        assert (cluster["status"]["scheduled"], cluster["status"]["activeSchedule"]) == (True, False)
        assert cluster["status"]["display"]["state"] == "WaitingForWindow"
        assert "scheduled" not in (await service.get_object("Cluster", SPACE, "free"))["status"]
        assert (await service.status(None))["deployments"] == {"Ready": 1, "WaitingForWindow": 1}
        found = await until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == "Completed")
        assert f"1 cluster waits: {why}" in found["status"]["display"]["message"]
        told = await service.why(SPACE, cluster="night", bundle=BUNDLE, name="")
        assert {"topic": "Window", "text": why} in told["lines"]
        assert told["next"]["text"] == "the window opens 2026-11-26T01:00:00Z"
        assert found["status"]["waitingForWindow"] == 1, "whom nobody has put into an order, nobody waits for"
        for moment, told in (("2026-11-26T00:59:59", first), ("2026-11-26T01:00:00", second)):
            clock.set(moment)
            await agents.poll()
            await settled(service)
            assert await agents.told(told) >= {"night"}
        await agents.poll()
        await until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == "Completed")
        assert (await service.get_object("Schedule", SPACE, "nightly"))["status"]["active"] is True
        assert (await service.get_object("Cluster", SPACE, "night"))["status"]["activeSchedule"] is True

    run(tmp_path / "m", clock, work)


def test_time_alone_opens_a_window(tmp_path: Path, clone: Clone) -> None:
    """By the real clock: nobody reports anything, and the change goes out when the window begins, also after a restart."""
    folder = tmp_path / "m"

    async def main() -> None:
        async with serving(folder, RealClock()) as service:
            agents = Agents(service)
            await agents.join("a")
            await first_commit(service, agents, clone)
            opens = datetime.fromtimestamp(int(RealClock()()) + 5, UTC)
            await schedule(service, "soon", f"{opens:%S %M %H %d %m} ? {opens:%Y}", "10m")
            second = clone.push({"web/m.yaml": MAP.format(value=2)})
            await scanned(service, second)
            await until(lambda: deployments(service), lambda d: d["a"][0] == "WaitingForWindow")
        async with serving(folder, RealClock()) as service:
            agents.service = service
            await agents.poll()
            await agents.until_told(second, 1)
            assert RealClock()() >= opens.timestamp()

    asyncio.run(main())


class RealClock:
    def __call__(self) -> float:
        return datetime.now(UTC).timestamp()


def test_the_night_on_which_the_clock_is_put_forward(tmp_path: Path, clone: Clone) -> None:
    """02:30 does not exist on 29 March 2026 in Berlin: the window is from 03:00 to 04:00 by the clock on the wall."""
    clock = Clock("2026-03-28T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await first_commit(service, agents, clone)
        await schedule(service, "nightly", "30 2 * * *", "1h", "Europe/Berlin")
        for value, (moment, goes) in enumerate(
            (("29T01:59:59+01:00", False), ("29T03:00:00+02:00", True), ("29T03:59:59+02:00", True), ("29T04:00:00+02:00", False)), 2
        ):
            clock.set(f"2026-03-{moment}")
            await agents.poll()
            commit = clone.push({"web/m.yaml": MAP.format(value=value)})
            await scanned(service, commit)
            await settled(service)
            assert len(await agents.until_told(commit, 1) if goes else await agents.told(commit)) == goes, moment
        assert (await deployments(service))["a"][1] == "window nightly opens at 2026-03-30T02:30:00+02:00 (Europe/Berlin)"

    run(tmp_path / "m", clock, work)


def test_a_freeze_wins_over_a_window_and_holds_first_installs(tmp_path: Path, clone: Clone) -> None:
    """A cluster that joins during the freeze gets nothing; after it, and once the nightly window opens, it does."""
    clock = Clock("2026-12-24T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await schedule(service, "freeze", "0 0 20 12 *", "336h", deny=True)
        await schedule(service, "nightly", "0 2 * * *", "2h")
        await agents.join("new")
        first = clone.push({"web/m.yaml": MAP.format(value=1)})
        await add(service, clone.url, paths=["web"])
        await scanned(service, first)
        await agents.poll()
        await settled(service)
        assert (await deployments(service))["new"] == ("WaitingForWindow", "window nightly opens at 2027-01-03T02:00:00+00:00 (UTC)")
        assert (await desired(service, agents.ids["new"])).bundles == []
        clock.set("2026-12-25T02:30")
        await agents.poll()
        await settled(service)
        assert await agents.told(first) == set()
        await service.delete_object("Schedule", SPACE, "freeze")
        await agents.until_told(first, 1)

    run(tmp_path / "m", clock, work)


def test_a_label_a_group_and_a_schedule_decide_anew(tmp_path: Path, clone: Clone) -> None:
    """Whatever puts a cluster under a schedule, or takes it away, is followed at once."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await first_commit(service, agents, clone)
        group = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "ClusterGroup",
            "metadata": {"name": "shops", "namespace": SPACE},
            "spec": {"selector": {"matchLabels": {"shop": "yes"}}},
        }
        await service.put_object("ClusterGroup", SPACE, "shops", group)
        targets = {"clusters": [{"clusterGroup": "shops"}, {"clusterName": "c"}]}
        await schedule(service, "closed", "0 2 * * *", "2h", targets=targets)
        await service.patch_labels("Cluster", SPACE, "a", {"shop": "yes"})
        second = clone.push({"web/m.yaml": MAP.format(value=2)})
        await scanned(service, second)
        assert await agents.until_told(second, 1) == {"b"}
        assert (await service.get_object("Schedule", SPACE, "closed"))["status"]["matchingClusters"] == ["a", "c"]
        await service.patch_labels("Cluster", SPACE, "a", {"shop": None})
        assert await agents.until_told(second, 2) == {"a", "b"}
        await service.put_object("ClusterGroup", SPACE, "shops", group | {"spec": {"selector": {}}})
        third = clone.push({"web/m.yaml": MAP.format(value=3)})
        await scanned(service, third)
        await settled(service)
        assert await agents.told(third) == set()
        await service.delete_object("ClusterGroup", SPACE, "shops")
        assert await agents.until_told(third, 2) == {"a", "b"}
        await schedule(service, "closed", "0 12 * * *", "2h", targets=targets)
        assert await agents.until_told(third, 3) == {"a", "b", "c"}
        assert first not in (await agents.versions()).values()

    run(tmp_path / "m", clock, work)


STAGED = "{maxUnavailable: 1, progressDeadline: 1h, partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}]}"


def test_a_partition_waits_for_its_window_and_its_clock_stands_still(tmp_path: Path, clone: Clone) -> None:
    """The canary is outside its window for days: nobody goes before it, and the deadline of an hour is not missed."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("canary", canary="yes")
        await agents.join("b", "c")
        await first_commit(service, agents, clone, STAGED)
        await schedule(service, "sundays", "0 2 * * SUN", "2h", selector={"matchLabels": {"canary": "yes"}})
        second = clone.push(files(2, STAGED))
        await scanned(service, second)
        for moment in ("2026-11-25T12:30", "2026-11-27T12:30", "2026-11-29T01:59"):
            clock.set(moment)
            await agents.poll()
            await settled(service)
            assert await agents.told(second) == set()
            found = (await rollout(service))["status"]
            assert found["display"]["state"] == "Progressing"
            why = "window sundays opens at 2026-11-29T02:00:00+00:00 (UTC)"
            said = f"partition canary: all who are left are outside their windows; 1 cluster waits: {why}"
            assert found["display"]["message"] == said
        clock.set("2026-11-29T02:00")
        await agents.poll()
        assert await agents.until_told(second, 1) == {"canary"}
        await agents.poll()
        await agents.until_told(second, 2)
        await agents.poll()
        await agents.until_told(second, 3)
        await agents.poll()
        await until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == "Completed")

    run(tmp_path / "m", clock, work)


def test_the_deadline_counts_while_the_window_is_open(tmp_path: Path, clone: Clone) -> None:
    """A canary that takes longer than an hour inside its window has failed, as without one."""
    clock = Clock("2026-11-29T02:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("canary", canary="yes")
        await agents.join("b")
        await first_commit(service, agents, clone, STAGED)
        await schedule(service, "sundays", "0 2 * * SUN", "4h")
        second = clone.push(files(2, STAGED))
        await scanned(service, second)
        await agents.until_told(second, 1)
        await agents.poll(answer=breaks)
        clock.set("2026-11-29T03:01")
        await agents.poll(answer=breaks)
        await until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == "Failed")
        assert await agents.told(second) == {"canary"}

    run(tmp_path / "m", clock, work)


def test_a_window_that_never_opens_holds_its_cluster_and_nobody_else(tmp_path: Path, clone: Clone) -> None:
    """It is said, the others go, and the rollout is completed without it."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("gone", canary="yes")
        await agents.join("b")
        await first_commit(service, agents, clone, STAGED)
        await schedule(service, "once", "0 0 0 1 1 ? 2020", "1h", selector={"matchLabels": {"canary": "yes"}})
        second = clone.push(files(2, STAGED))
        await scanned(service, second)
        assert await agents.until_told(second, 1) == {"b"}
        await agents.poll()
        await until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == "Completed")
        assert (await deployments(service))["gone"] == ("WaitingForWindow", "window once never opens again")
        assert "1 cluster waits: window once never opens again" in (await rollout(service))["status"]["display"]["message"]

    run(tmp_path / "m", clock, work)


def test_in_an_emergency_one_version_passes_closed_windows(tmp_path: Path, clone: Clone) -> None:
    """With a reason, which stays to be read; within the budget, as always; and the next commit waits again."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await first_commit(service, agents, clone, "{maxUnavailable: 1}")
        await schedule(service, "nightly", "0 2 * * *", "2h")
        second = clone.push(files(2, "{maxUnavailable: 1}"))
        await scanned(service, second)
        await settled(service)
        assert await agents.told(second) == set()
        with pytest.raises(UsageError, match="needs a reason"):
            await service.command_rollout(SPACE, BUNDLE, "ignore-windows", " ")
        shown = await service.command_rollout(SPACE, BUNDLE, "ignore-windows", "CVE-2026-1")
        assert shown["status"]["ignoringWindows"] == "CVE-2026-1"
        assert len(await agents.until_told(second, 1)) == 1
        assert "closed windows are ignored: CVE-2026-1" in (await rollout(service))["status"]["display"]["message"]
        assert sorted(state for state, _ in (await deployments(service)).values()) == ["OutOfSync", "WaitApplied"]
        decided = (await service.bundle_decisions(SPACE, BUNDLE))[0]
        assert (decided["cause"], decided["reason"]) == ("ignore-windows", "CVE-2026-1")
        await agents.poll()
        await agents.until_told(second, 2)
        await agents.poll()
        third = clone.push(files(3, "{maxUnavailable: 1}"))
        await scanned(service, third)
        await settled(service)
        assert await agents.told(third) == set()
        assert (await rollout(service))["status"]["ignoringWindows"] == ""
        with pytest.raises((NotFound, RefusedError)):
            await service.command_rollout(SPACE, "nothing", "ignore-windows", "why")

    run(tmp_path / "m", clock, work)


def test_a_wrong_schedule_is_refused(tmp_path: Path) -> None:
    """Each with what is wrong, and nothing is stored."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, _: Agents) -> None:
        for text, duration, location, said in (
            ("0 25 * * *", "2h", "", "hour: '25' is not within 0-23"),
            ("0 2 * * *", "2d", "", "'2d' is not a duration"),
            ("0 2 * * *", "2h", "Europe/Berln", "there is no time zone 'Europe/Berln'"),
        ):
            with pytest.raises((UsageError, InvalidFile)) as caught:
                await schedule(service, "wrong", text, duration, location)
            assert said in caught.value.summary
        assert await service.list_objects("Schedule") == []

    run(tmp_path / "m", clock, work)


def test_a_cluster_that_goes_back_waits_for_its_window_also_in_a_paused_rollout(tmp_path: Path, clone: Clone) -> None:
    """Closed windows hold a rollback as everything else; when it opens, the cluster goes though nobody else may."""
    clock = Clock("2026-11-25T12:00:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("night", tier="prod")
        await agents.join("free")
        first = await first_commit(service, agents, clone)
        second = clone.push({"web/m.yaml": MAP.format(value=2)})
        await scanned(service, second)
        await agents.until_told(second, 2)
        await agents.poll()
        await schedule(service, "nightly", "0 2 * * *", "2h", "Europe/Berlin", selector={"matchLabels": {"tier": "prod"}})
        await service.command_rollout(SPACE, BUNDLE, "pause", "freeze", "ada")
        done = await service.go_back(SPACE, BUNDLE, Ask(chosen=Chosen(("night",))))
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

    run(tmp_path / "m", clock, work)
