"""Schedules through the real service: who is held outside a window, when it goes, and what is said
of it; the clock is told.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetctl.core.model.errors import InvalidFile, UsageError
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import desired, serving
from tests.support.manager.schedules import SPACE, Clock, deployments, ran_everywhere, schedule
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    Agents,
    first_commit,
    next_commit,
    phase_is,
    plain,
    run,
    settled,
)
from tests.support.waiting import until


def test_a_change_waits_for_the_window(tmp_path: Path, clone: Clone) -> None:
    """A bundle without a strategy: the cluster under a schedule is held and says until when, the
    other one goes at once.
    """
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("night", tier="prod")
        await agents.join("free")
        first = await ran_everywhere(service, agents, clone)
        shown = await schedule(
            service,
            "nightly",
            "0 2 * * *",
            "2h",
            "Europe/Berlin",
            selector={"matchLabels": {"tier": "prod"}},
        )
        assert shown["status"] | {"display": 0, "conditions": 0} == {
            "active": False,
            "nextStartTime": "2026-11-26T02:00:00+01:00",
            "matchingClusters": ["night"],
            "display": 0,
            "conditions": 0,
        }
        second = await next_commit(service, clone, plain(2))
        assert await agents.until_told(second, 1) == {"free"}
        await agents.poll()
        why = "window nightly opens at 2026-11-26T02:00:00+01:00 (Europe/Berlin)"
        assert (await deployments(service))["night"] == ("WaitingForWindow", why)
        bundle = await service.views.get_object("Bundle", SPACE, BUNDLE)
        assert bundle["status"]["summary"] == {"ready": 1, "desiredReady": 2, "waitingForWindow": 1}
        assert (
            bundle["status"]["display"]["message"]
            == f"WaitingForWindow(1) [Cluster fleet-default/night: {why}]"
        )
        cluster = await service.views.get_object("Cluster", SPACE, "night")
        assert (cluster["status"]["scheduled"], cluster["status"]["activeSchedule"]) == (
            True,
            False,
        )
        assert cluster["status"]["display"]["state"] == "WaitingForWindow"
        assert (
            "scheduled" not in (await service.views.get_object("Cluster", SPACE, "free"))["status"]
        )
        assert (await service.views.status(None))["deployments"] == {
            "Ready": 1,
            "WaitingForWindow": 1,
        }
        found = await phase_is(service, "Completed")
        assert f"1 cluster waits: {why}" in found["status"]["display"]["message"]
        told = await service.views.explain(SPACE, cluster="night", bundle=BUNDLE, name="")
        assert {"topic": "Window", "text": why} in told["lines"]
        assert told["next"]["text"] == "the window opens 2026-11-26T01:00:00Z"
        assert found["status"]["waitingForWindow"] == 1, (
            "whom nobody has put into an order, nobody waits for"
        )
        for moment, told in (("2026-11-26T00:59:59", first), ("2026-11-26T01:00:00", second)):
            clock.set(moment)
            await agents.poll()
            await settled(service)
            assert await agents.told(told) >= {"night"}
        await agents.poll()
        await phase_is(service, "Completed")
        assert (await service.views.get_object("Schedule", SPACE, "nightly"))["status"][
            "active"
        ] is True
        assert (await service.views.get_object("Cluster", SPACE, "night"))["status"][
            "activeSchedule"
        ] is True

    run(tmp_path / "m", work, clock)


def test_time_alone_opens_a_window(tmp_path: Path, clone: Clone) -> None:
    """By a clock that goes: nobody reports anything, and the change goes out when the window
    begins, also after a restart.
    """
    folder = tmp_path / "m"

    async def main() -> None:
        async with serving(folder) as service:
            agents = Agents(service)
            await agents.join("a")
            await ran_everywhere(service, agents, clone)
            opens = datetime.fromtimestamp(int(time.time()) + 3600, UTC)
            await schedule(service, "soon", f"{opens:%S %M %H %d %m} ? {opens:%Y}", "10m")
            second = await next_commit(service, clone, plain(2))
            await until(lambda: deployments(service), lambda d: d["a"][0] == "WaitingForWindow")
        shift = opens.timestamp() - time.time() - 3
        async with serving(folder, lambda: time.time() + shift) as service:
            agents.service = service
            await agents.poll()
            await agents.until_told(second, 1)
            assert time.time() + shift >= opens.timestamp()

    asyncio.run(main())


def test_the_night_on_which_the_clock_is_put_forward(tmp_path: Path, clone: Clone) -> None:
    """02:30 does not exist on 29 March 2026 in Berlin: the window is from 03:00 to 04:00 by the
    clock on the wall.
    """
    clock = Clock("2026-03-28T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        await ran_everywhere(service, agents, clone)
        await schedule(service, "nightly", "30 2 * * *", "1h", "Europe/Berlin")
        for value, (moment, goes) in enumerate(
            (
                ("29T01:59:59+01:00", False),
                ("29T03:00:00+02:00", True),
                ("29T03:59:59+02:00", True),
                ("29T04:00:00+02:00", False),
            ),
            2,
        ):
            clock.set(f"2026-03-{moment}")
            await agents.poll()
            commit = await next_commit(service, clone, plain(value))
            await settled(service)
            assert (
                len(await agents.until_told(commit, 1) if goes else await agents.told(commit))
                == goes
            ), moment
        assert (await deployments(service))["a"][
            1
        ] == "window nightly opens at 2026-03-30T02:30:00+02:00 (Europe/Berlin)"

    run(tmp_path / "m", work, clock)


def test_a_freeze_wins_over_a_window_and_holds_first_installs(tmp_path: Path, clone: Clone) -> None:
    """A cluster that joins during the freeze gets nothing; after it, and once the nightly window
    opens, it does.
    """
    clock = Clock("2026-12-24T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await schedule(service, "freeze", "0 0 20 12 *", "336h", deny=True)
        await schedule(service, "nightly", "0 2 * * *", "2h")
        await agents.join("new")
        first = await first_commit(service, clone, plain(1))
        await agents.poll()
        await settled(service)
        assert (await deployments(service))["new"] == (
            "WaitingForWindow",
            "window nightly opens at 2027-01-03T02:00:00+00:00 (UTC)",
        )
        assert (await desired(service, agents.ids["new"])).bundles == []
        clock.set("2026-12-25T02:30")
        await agents.poll()
        await settled(service)
        assert await agents.told(first) == set()
        await service.objects.delete("Schedule", SPACE, "freeze")
        await agents.until_told(first, 1)

    run(tmp_path / "m", work, clock)


def test_a_label_a_group_and_a_schedule_decide_anew(tmp_path: Path, clone: Clone) -> None:
    """Whatever puts a cluster under a schedule, or takes it away, is followed at once."""
    clock = Clock("2026-11-25T12:00")

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await ran_everywhere(service, agents, clone)
        group = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "ClusterGroup",
            "metadata": {"name": "shops", "namespace": SPACE},
            "spec": {"selector": {"matchLabels": {"shop": "yes"}}},
        }
        await service.objects.put("ClusterGroup", SPACE, "shops", group)
        targets = {"clusters": [{"clusterGroup": "shops"}, {"clusterName": "c"}]}
        await schedule(service, "closed", "0 2 * * *", "2h", targets=targets)
        await service.objects.patch_labels("Cluster", SPACE, "a", {"shop": "yes"})
        second = await next_commit(service, clone, plain(2))
        assert await agents.until_told(second, 1) == {"b"}
        assert (await service.views.get_object("Schedule", SPACE, "closed"))["status"][
            "matchingClusters"
        ] == ["a", "c"]
        await service.objects.patch_labels("Cluster", SPACE, "a", {"shop": None})
        assert await agents.until_told(second, 2) == {"a", "b"}
        await service.objects.put(
            "ClusterGroup", SPACE, "shops", group | {"spec": {"selector": {}}}
        )
        third = await next_commit(service, clone, plain(3))
        await settled(service)
        assert await agents.told(third) == set()
        await service.objects.delete("ClusterGroup", SPACE, "shops")
        assert await agents.until_told(third, 2) == {"a", "b"}
        await schedule(service, "closed", "0 12 * * *", "2h", targets=targets)
        assert await agents.until_told(third, 3) == {"a", "b", "c"}
        assert first not in (await agents.versions()).values()

    run(tmp_path / "m", work, clock)


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
        assert await service.views.list_objects("Schedule") == []

    run(tmp_path / "m", work, clock)
