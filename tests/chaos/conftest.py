"""One world for all that happens in a module: it is worn by one fault after the other, as a real
cluster is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.chaos.stages import SCENARIOS, play
from tests.support.chaos.world import World


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, tool_env: dict[str, str], kube: LocalKube
) -> Iterator[World]:
    """Leaves the cluster as empty as it was, however far the last test had come: the next module's
    world is on the same one.
    """
    made = World(tmp_path_factory.mktemp("chaos"), tool_env, kube["prod"].kubeconfig)
    try:
        yield made
        made.calm()
    finally:
        made.stop()


@pytest.fixture
def fresh(world: World) -> World:
    """The world with nothing in it: a test that failed before is no reason for the next to fail."""
    world.calm()
    return world


@pytest.fixture(scope="module")
def census(world: World) -> dict[str, list[str]]:
    """{scenario: the failpoints that it passes}, from a life without faults."""
    return {scenario.name: list(dict.fromkeys(play(world, scenario))) for scenario in SCENARIOS}
