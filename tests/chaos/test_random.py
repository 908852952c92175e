"""Kills at random moments, one after the other, while what is wanted changes: `make chaos
ROUNDS=100 SEED=7` does it for long.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.support.chaos.stages import Scenario, judge, kill, seed
from tests.support.chaos.world import NOTHING, V1, V2, Wish, World

pytestmark = [pytest.mark.cluster, pytest.mark.chaos]
ROUNDS = int(os.environ.get("ROUNDS") or (60 if os.environ.get("CHAOS") == "whole" else 8))
VICTIMS = ("agent", "helm", "both", "manager", "everyone")


@pytest.mark.full
def test_a_random_life(fresh: World) -> None:
    """Each round asks for something else and kills up to three times within a few seconds; then the
    world comes to what was asked for.
    """
    chosen = random.Random(used := seed())
    print(f"SEED={used} ROUNDS={ROUNDS}")
    for number in range(ROUNDS):
        before = fresh.wish
        wish = chosen.choice([wish for wish in (NOTHING, V1, V2) if wish != before])
        since = fresh.history.mark()
        fresh.ask_for(wish)
        struck: list[str] = []
        for _ in range(chosen.randint(1, 3)):
            time.sleep(chosen.uniform(0.0, 1.5))
            struck.append(chosen.choice(VICTIMS))
            strike(fresh, struck[-1])
        fresh.settled()
        print(
            f"{number + 1}: {before.label or 'nothing'} to {wish.label or 'nothing'}, killed"
            f" {', '.join(struck)}",
            flush=True,
        )
        judge(fresh, since, Scenario(f"round {number + 1}", wish, gone(before, wish)))
    fresh.calm()


def strike(world: World, who: str) -> None:
    """They are started again at once, as a service manager would."""
    if who in {"manager", "everyone"}:
        world.fleet.manager.process.kill()
    if who != "manager":
        kill(world, "both" if who == "everyone" else who)
    if who in {"manager", "everyone"}:
        world.fleet.manager.start()
    if who not in {"manager", "helm"}:
        world.died()
        world.start()


def gone(before: Wish, after: Wish) -> tuple[str, ...]:
    """What the way from one to the other deletes."""
    if not after.version:
        return ("*",)
    return (f"only-{before.version}", "sealed") if before.version else ()
