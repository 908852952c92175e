"""A restart of the manager: agents are served at once, and are not asked for what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import manager.service
from fleetctl.core.model import wire
from fleetctl.core.model.errors import SendAll
from fleetctl.core.model.ids import ClusterId
from manager.service import Service
from tests.support.rollouts.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two clusters whose agents have sent their full reports, each as its first request."""
    world = World(tmp_path / "m", {})
    world.repository()
    for name in ("a", "b"):
        world.join(name)
    world.commit()
    world.look()
    for name in ("a", "b"):
        world.poll(name)
    yield world
    world.close()


def send_changes(world: World, name: str, seq: int) -> None:
    """A report that states only changes; there are none."""
    request = wire.StatusRequest(instance=f"i-{name}", seq=seq, full=False, deployments=[])
    world.run(world.service.agents.report(world.sites[name].id, request))


def test_a_restart_asks_no_agent_for_a_full_report(world: World) -> None:
    world.restart()
    send_changes(world, "a", 2)
    world.restart()
    send_changes(world, "a", 3)


def test_a_report_after_a_gap_must_be_a_full_one(world: World) -> None:
    """The report with number 2 may have been stored after the contact was."""
    world.restart()
    with pytest.raises(SendAll):
        send_changes(world, "a", 3)


def test_agents_are_served_before_the_fleet_is_loaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request loads its own cluster; views wait for all of them."""
    monkeypatch.setattr(manager.service, "_LOADED_BEFORE_START", -1)
    world.run(world.service.stop())
    service = Service(world.folder, signer=world._signer, clock=lambda: world.now)
    cluster, stranger = world.sites["a"].id, ClusterId("c-stranger")

    async def restart() -> None:
        await service.start()
        assert service._live.is_loading
        for name in (cluster, stranger):
            await service.agents.prepare(name)
        assert service.agents.key_of(cluster) is not None
        assert service.agents.key_of(stranger) is None
        assert (await service.agents.get_document(cluster)).body
        status = await service.views.status(None)
        assert sum(status["clusters"].values()) == 2
        assert not service._live.is_loading
        assert len(service._live.clusters) == 2

    world.service = service
    world.run(restart())
