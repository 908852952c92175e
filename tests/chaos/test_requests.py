"""Killed at an API request: helm, the agent, or both, at every one that helm makes, before the API
server has it or after it answered.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos.stages import SCENARIOS, Scenario, judge, kill, play, seed
from tests.support.chaos.world import BAD, NAMESPACE, NOTHING, V1, V2, World
from tests.support.depth import matrix
from tests.support.network.api_proxy import Request, Trap

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.usefixtures("fresh")]
WHOLE = os.environ.get("CHAOS") == "whole"
VICTIMS = ("helm", "agent", "both")
LIFE = [scenario for scenario in SCENARIOS if scenario.name in {"install", "upgrade", "removal"}]


def struck(
    world: World, scenario: Scenario, who: str, when: Callable[[Request], bool], *, after: bool
) -> Request | None:
    """One stage in which `who` dies at a request; which one that was, or None when there was no
    such request.
    """
    world.agent.process.kill()
    scenario.prepare(world)
    since = world.history.mark()
    trap = Trap(when, lambda: kill(world, who), after=after)
    world.proxy.arm(trap)
    world.ask_for(scenario.wish)
    world.start()
    world.until(lambda: trap.sprung is not None or not world.lacking(), "a request that is the one")
    if trap.sprung is not None and who != "helm":
        world.died()
        world.start()
    world.settled()
    print(f"{scenario.name:<8} {who:<5} {'after' if after else 'before'} {trap.sprung}", flush=True)
    judge(world, since, scenario)
    return trap.sprung


def counted(world: World) -> dict[str, int]:
    """How many requests helm makes in each scenario when nothing happens."""
    found: dict[str, int] = {}
    for scenario in LIFE:
        world.proxy.arm()
        play(world, scenario)
        found[scenario.name] = len(world.proxy.seen)
    return found


if WHOLE:

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("who", VICTIMS)
    def test_every_request(world: World, who: str, after: bool) -> None:
        """Of an installation, an upgrade and a removal."""
        numbers = counted(world)
        for number in range(1, max(numbers.values()) + 1):
            for scenario in LIFE:
                struck(world, scenario, who, lambda r, n=number: r.number == n, after=after)

else:

    def test_some_requests(world: World) -> None:
        """A few, by chance; which, the seed says."""
        chosen = random.Random(used := seed())
        print(f"SEED={used}")
        numbers = counted(world)
        for scenario in LIFE:
            number = chosen.randint(1, numbers[scenario.name])
            struck(
                world,
                scenario,
                chosen.choice(VICTIMS),
                lambda r, n=number: r.number == n,
                after=chosen.random() < 0.5,
            )


STATES = {
    "pending-install": SCENARIOS[0],
    "pending-upgrade": SCENARIOS[1],
    "uninstalling": next(s for s in SCENARIOS if s.name == "removal"),
}


@pytest.mark.parametrize("state", matrix(STATES, "pending-upgrade"))
def test_a_release_that_is_left_in(world: World, state: str) -> None:
    """helm has just written that state of the release: it and its agent die. Every object is kept,
    none rolls twice.
    """
    for scenario in LIFE:
        if scenario is STATES[state]:
            assert struck(world, scenario, "both", lambda r: writes(r, state), after=True)
        else:
            play(world, scenario)


@pytest.mark.full
def test_a_removal_that_was_cut_off_is_wanted_again(world: World) -> None:
    """Half of it is gone, and the release stands at uninstalling, when the bundle comes back: what
    is gone is made, the rest is kept.
    """
    play(world, SCENARIOS[0])
    world.agent.process.kill()
    since = world.history.mark()
    trap = Trap(
        lambda r: r.method == "DELETE" and "/configmaps/" in r.path,
        lambda: kill(world, "both"),
        after=True,
    )
    world.proxy.arm(trap)
    world.ask_for(NOTHING)
    world.start()
    world.died()
    world.ask_for(V1)
    world.start()
    world.settled()
    judge(world, since, Scenario("back", V1, ("*",)))
    play(world, SCENARIOS[-1])


@pytest.mark.full
def test_a_rollback_that_was_cut_off(world: World) -> None:
    """`atomic` takes back a change that does not get ready; helm and agent die while it does. The
    next commit is applied as ever.
    """
    play(world, SCENARIOS[0])
    world.agent.process.kill()
    since = world.history.mark()
    trap = Trap(lambda r: writes(r, "pending-rollback"), lambda: kill(world, "both"), after=True)
    world.proxy.arm(trap)
    world.ask_for(BAD)
    world.start()
    world.died()
    world.ask_for(V2)
    world.start()
    world.settled()
    judge(world, since, Scenario("rollback", V2, ("only-v1", "only-bad", "sealed")))
    play(world, SCENARIOS[-1])


def writes(request: Request, state: str) -> bool:
    """Whether the request makes or changes a release record so that it has this state, which a
    label says in plain.
    """
    return (
        request.method in {"POST", "PUT", "PATCH"}
        and "/secrets" in request.path
        and state.encode() in request.body
    )


@pytest.mark.parametrize("kind", matrix(["hangs", "escapes"], "escapes"))
def test_a_helm_that_outlives_its_agent(world: World, kind: str, tmp_path: Path) -> None:
    """One that ignores every signal it can, or that a wrapper has put out of reach: it is dead
    before the next agent changes a release.
    """
    real = world.env["PATH"].split(":")
    helm = next(path for folder in real if (path := Path(folder) / "helm").exists())
    hang = f"echo $$ >{tmp_path}/pid; while :; do sleep 1; done"
    lines = {
        "hangs": f'case "$1" in upgrade) trap "" TERM INT HUP PIPE; {hang};; esac',
        "escapes": (
            f"case \"$1\" in upgrade) setsid sh -c '{hang}' upgrade --namespace {NAMESPACE} &"
            " wait;; esac"
        ),
    }
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "helm").write_text(f'#!/bin/sh\n{lines[kind]}\nexec {helm} "$@"\n')
    (bin_folder / "helm").chmod(0o755)
    world.agent.process.kill()
    since = world.history.mark()
    world.ask_for(V1)
    world.start(PATH=f"{bin_folder}:{world.env['PATH']}")
    world.until(
        lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "a helm that hangs"
    )
    pid = int((tmp_path / "pid").read_text())
    world.agent.process.kill()
    world.start()
    world.settled()
    assert not Path(f"/proc/{pid}").exists()
    judge(world, since, SCENARIOS[0])
    play(world, SCENARIOS[-1])
