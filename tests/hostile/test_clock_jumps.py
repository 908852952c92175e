"""The manager's wall clock is set forward and back, while it runs and between runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from manager.clock import unix
from manager.security.signing import Signer
from manager.service import Service, ServiceSettings
from tests.support.manager.real_service import enrol

DAY = 86_400.0
SILENCE = 300.0


class Clocks:
    """`wall` may be set; `mono` only grows."""

    def __init__(self) -> None:
        self.wall, self.mono = 1_800_000_000.0, 5_000.0

    def sleep(self, seconds: float) -> None:
        self.wall, self.mono = self.wall + seconds, self.mono + seconds


def run(folder: Path, clocks: Clocks, work: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        folder.mkdir(exist_ok=True)
        signer = Signer.load_or_create(folder)
        service = Service(
            folder,
            signer=signer,
            clock=lambda: clocks.wall,
            monotonic=lambda: clocks.mono,
            settings=ServiceSettings(),
        )
        await service.start()
        try:
            await work(service)
        finally:
            await service.stop()

    asyncio.run(main())


async def seen(service: Service, cluster: ClusterId, clocks: Clocks) -> None:
    await service.agents.note_contact(cluster, instance="i", address="::1", stamp=int(clocks.wall))


async def shown(service: Service) -> dict[str, Any]:
    return (await service.views.get_object("Cluster", "fleet-default", "a"))["status"]


async def state(service: Service) -> str:
    return str((await shown(service))["display"]["state"])


@pytest.mark.parametrize("jump", [DAY, -DAY, 400 * DAY, -400 * DAY, 3600.0])
def test_a_step_of_the_clock_changes_nobodys_presence(tmp_path: Path, jump: float) -> None:
    """Who is heard stays heard, who is silent is Offline in time, and times are shown by the
    corrected clock.
    """
    clocks = Clocks()

    async def work(service: Service) -> None:
        cluster = await enrol(service, "a")
        await seen(service, cluster, clocks)
        clocks.wall += jump
        assert await state(service) != "Offline"
        assert abs(unix((await shown(service))["agent"]["lastSeen"]) - clocks.wall) <= 1
        clocks.sleep(SILENCE - 10)
        await seen(service, cluster, clocks)
        clocks.sleep(10)
        clocks.wall -= jump
        assert await state(service) != "Offline"
        clocks.sleep(SILENCE)
        assert await state(service) == "Offline"
        await seen(service, cluster, clocks)
        assert await state(service) != "Offline"

    run(tmp_path / "data", clocks, work)


def test_a_dead_cluster_is_offline_in_time_after_a_restart(tmp_path: Path) -> None:
    """It was heard last by a clock that was a day ahead: after the start that is no evidence, and
    it counts as unknown.
    """
    clocks = Clocks()
    kept: list[ClusterId] = []

    async def ahead(service: Service) -> None:
        kept.append(await enrol(service, "a"))
        clocks.wall += DAY
        await seen(service, kept[0], clocks)

    async def right(service: Service) -> None:
        assert service._live.health(kept[0], clocks.wall) == "unknown"
        assert unix((await shown(service))["agent"]["lastSeen"]) <= clocks.wall
        clocks.sleep(SILENCE + 1)
        assert await state(service) == "Offline"

    run(tmp_path / "data", clocks, ahead)
    clocks.wall -= DAY
    for _ in range(2):
        run(tmp_path / "data", clocks, right)

    async def back(service: Service) -> None:
        clocks.sleep(1)
        await seen(service, kept[0], clocks)
        assert await state(service) != "Offline"

    async def stored(service: Service) -> None:
        assert service._live.health(kept[0], clocks.wall) == "heard"

    run(tmp_path / "data", clocks, back)
    run(tmp_path / "data", clocks, stored)


def test_a_report_after_a_step_is_taken(tmp_path: Path) -> None:
    clocks = Clocks()

    async def work(service: Service) -> None:
        cluster = await enrol(service, "a")
        for number, jump in enumerate((DAY, -DAY, -DAY), 1):
            clocks.wall += jump
            await seen(service, cluster, clocks)
            request = wire.StatusRequest(instance="i", seq=number, full=True)
            await service.agents.report(cluster, msgspec.structs.replace(request))
            assert await state(service) != "Offline"

    run(tmp_path / "data", clocks, work)
