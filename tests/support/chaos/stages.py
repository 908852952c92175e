"""The steps of a bundle's life, each played with a fault and judged by its history."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.state.journal import Entry, _frame
from fleetctl.core.model.ids import BundleName
from tests.support.chaos.history import Allowed, changing_helms, violations
from tests.support.chaos.world import (
    BOUND_SECONDS,
    BUNDLE,
    CHART,
    NAMESPACE,
    NOTHING,
    RENAMED,
    V1,
    V2,
    Wish,
    World,
)


@dataclass(frozen=True)
class Scenario:
    """`prepare` runs while the agent is down, before the wish is told. `deletes`: the objects that
    go on the way.
    """

    name: str
    wish: Wish
    deletes: tuple[str, ...] = ()
    prepare: Callable[[World], None] = lambda _world: None


def pad_journal(world: World) -> None:
    """So large that the next record makes it compact."""
    padding = [Entry(bundle=BundleName("padding"), removed=True, error="x" * 1000)] * 560
    with (world.agent.state_dir / "journal").open("ab") as file:
        file.write(b"".join(_frame(entry) for entry in padding))


def cut_off_upgrade(world: World) -> None:
    """What an agent leaves that was killed together with its helm in the middle of an upgrade to
    something that is never asked for again: a pending record, and an object that only it knows of.
    """
    world.ask_for(RENAMED)
    world.ask_for(V1)
    generation = world.told()[f"edge.{BUNDLE}"][1]
    folder = world.folder / f"cut-{generation}"
    for name, text in CHART.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    labels = {
        "cluster": cluster_id(world),
        "bundle": BUNDLE,
        "epoch": "1",
        "generation": str(generation),
        "digest": "test",
    }
    argv = [
        "helm",
        "upgrade",
        "--install",
        BUNDLE,
        str(folder / "app"),
        "--namespace",
        NAMESPACE,
        "--server-side=true",
        "--force-conflicts",
    ]
    argv += ["--set", "version=cut,broken=true", "--wait=watcher", "--timeout=60s"]
    argv.append("--labels=" + ",".join(f"fleetctl-{key}={value}" for key, value in labels.items()))
    helm = subprocess.Popen(
        [*argv, "--kubeconfig", str(world.proxy.kubeconfig)], env=world.env, start_new_session=True
    )
    end = time.monotonic() + BOUND_SECONDS
    while "only-cut" not in world.names("configmaps"):
        assert helm.poll() is None, "helm ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.05)
    helm.kill()
    helm.wait()


def cluster_id(world: World) -> str:
    return str(json.loads((world.agent.state_dir / "identity.json").read_bytes())["cluster_id"])


SCENARIOS = (
    Scenario("install", V1),
    Scenario("upgrade", V2, ("only-v1", "sealed")),
    Scenario("compact", V1, ("only-v2", "sealed"), pad_journal),
    Scenario("cut-off", V2, ("only-v1", "only-cut", "sealed"), cut_off_upgrade),
    Scenario("rename", RENAMED),
    Scenario("removal", NOTHING, ("*",)),
)


def play(world: World, scenario: Scenario, fault: str = "") -> list[str]:
    """One stage; the names of the failpoints that were passed. `fault`: `NAME=ACTION`, at its first
    passing.
    """
    begun = time.monotonic()
    world.agent.process.kill()
    scenario.prepare(world)
    since = world.history.mark()
    world.ask_for(scenario.wish)
    world.start(f"{fault}@1" if fault else "")
    passed: list[str] = []
    if fault.endswith("=kill"):
        world.died()
        passed = world.passed()
        world.start()
    world.settled()
    passed += world.passed()
    judge(world, since, scenario)
    print(
        f"{scenario.name:<8} {fault or 'no fault':<30} {time.monotonic() - begun:5.1f} s",
        flush=True,
    )
    if fault:
        name = fault.partition("=")[0]
        assert name in passed, f"{name} was not passed, so nothing was tried: {passed}"
    return passed


def judge(world: World, since: int, scenario: Scenario) -> None:
    time.sleep(0.3)  # the watches are a moment behind
    found = violations(world.history, since, Allowed(frozenset(scenario.deletes)))
    assert not found, "\n".join([f"{scenario.name}:", *found, world.log()])


def kill(world: World, who: str) -> None:
    """The agent first: so that it does not see what becomes of its helm."""
    helms = [pid for pids in changing_helms([NAMESPACE], world.folder).values() for pid in pids]
    if who in {"agent", "both"} and world.agent.process.alive():
        os.kill(world.agent.process.pid, signal.SIGKILL)
    for pid in helms if who in {"helm", "both"} else ():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def seed() -> int:
    """From SEED, else new; whoever uses it prints it."""
    return int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "big"))
