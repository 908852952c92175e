"""Every failpoint with every action, in every step of a bundle's life that passes it: the matrix is
made from the registry.
"""

from __future__ import annotations

import os
import random

import pytest

from agent.host.failpoints import NAMES
from tests.support.chaos.stages import SCENARIOS, play, seed
from tests.support.chaos.world import World
from tests.support.depth import matrix

pytestmark = [pytest.mark.cluster, pytest.mark.chaos]
ACTIONS = ("kill", "raise", "enospc", "eio", "sleep:2")
WHOLE = os.environ.get("CHAOS") == "whole"


def test_every_registered_failpoint_is_passed(census: dict[str, list[str]]) -> None:
    """One that no scenario passes would be tried by nobody."""
    passed = {name for names in census.values() for name in names}
    lacking, unknown = set(NAMES) - passed, passed - set(NAMES)
    assert (sorted(lacking), sorted(unknown)) == ([], []), (
        "not passed, and passed without being registered"
    )


if WHOLE:

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("name", NAMES)
    def test_the_matrix(fresh: World, census: dict[str, list[str]], name: str, action: str) -> None:
        """In every scenario that passes the failpoint."""
        for scenario in SCENARIOS:
            play(fresh, scenario, f"{name}={action}" if name in census[scenario.name] else "")

else:

    @pytest.fixture(scope="module")
    def order() -> list[str]:
        """All failpoints in the random order of this run."""
        used = seed()
        print(f"SEED={used}")
        names = list(NAMES)
        random.Random(used).shuffle(names)
        return names

    @pytest.mark.parametrize("part", matrix(range(5), 0))
    def test_every_step_is_survived_once(
        fresh: World, census: dict[str, list[str]], order: list[str], part: int
    ) -> None:
        """Each failpoint in one scenario that passes it: most are killed there, every fifth fails
        in another way. `make test` takes a fifth of them, drawn by the seed of the run.
        """
        waiting: dict[str, list[str]] = {scenario.name: [] for scenario in SCENARIOS}
        for number, name in list(enumerate(order))[part::5]:
            places = [scenario for scenario, passed in census.items() if name in passed]
            if not places:  # the test above says where they are tried
                continue
            least = min(places, key=lambda scenario: len(waiting[scenario]))
            waiting[least].append(
                f"{name}={ACTIONS[number % 5] if number % 5 != 4 else 'sleep:1'}"
                if number % 2
                else f"{name}=kill"
            )
        while any(waiting.values()):
            for scenario in SCENARIOS:
                if any(waiting.values()):
                    play(
                        fresh,
                        scenario,
                        waiting[scenario.name].pop() if waiting[scenario.name] else "",
                    )
