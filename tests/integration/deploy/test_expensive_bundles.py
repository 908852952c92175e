"""One bundle that exceeds a limit, or that kills the agent, stops no other bundle, and heals when
its repository is fixed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.places import clone, fleet, server

__all__ = ["clone", "fleet", "server"]

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{}}\n"
LARGE = "# " + "x" * 4_000_000 + "\n" + MAP.format(name="large")


def reason(fleet: Fleet, bundle: str) -> dict[str, Any]:
    found = next(item for name, item in fleet.deployments().items() if bundle in name)
    return dict(found["status"].get("reason") or {})


def test_a_bundle_beyond_a_limit_and_then_one_that_kills_the_agent(
    clone: Clone, fleet: Fleet, tmp_path: Path
) -> None:
    """With real processes: the limit is the worker's, the death a SIGKILL in the middle of the
    work.
    """
    fleet.env = {**fleet.env, "FLEET_AGENT_WORK_MEMORY_MIB": "110"}
    clone.push({"good/a.yaml": MAP.format(name="a"), **{f"bad/{n}.yaml": LARGE for n in range(12)}})
    fleet.gitrepo(clone.url, paths=["good", "bad"])
    target = tmp_path / "target"
    agent = fleet.agent("edge", None, target_dir=target)
    states = fleet.until(
        fleet.states, lambda s: sorted(s.values()) == ["ErrApplied", "Ready"], seconds=60
    )
    assert reason(fleet, "bad")["code"] == "work-limit"
    assert "110 MiB of memory" in str(reason(fleet, "bad"))

    # The next commit reaches the other bundle while this one waits, and a smaller bundle is
    # deployed at once.
    clone.push({"good/b.yaml": MAP.format(name="b")})
    fleet.until(
        lambda: [
            path.name
            for path in target.rglob("*")
            if path.is_file() and b"name: b" in path.read_bytes()
        ],
        bool,
        seconds=60,
    )
    clone.push({f"bad/{n}.yaml": None if n else MAP.format(name="small") for n in range(12)})
    fleet.until(
        fleet.states, lambda s: set(s.values()) == {"Ready"} and len(s) == len(states), seconds=60
    )

    # A bundle that kills the agent each time it is worked on.
    agent.process.env = {**agent.process.env, "FLEETCTL_FAILPOINTS": "before-prepare=kill"}
    agent.process.stop()
    agent.process.start()
    clone.push({"bad/0.yaml": MAP.format(name="killer")})
    for _ in range(2):
        fleet.until(agent.process.alive, lambda alive: not alive, seconds=60)
        agent.process.env = {
            k: v for k, v in agent.process.env.items() if _ == 0 or k != "FLEETCTL_FAILPOINTS"
        }
        agent.process.start()
    clone.push({"good/c.yaml": MAP.format(name="c")})
    fleet.until(
        lambda: reason(fleet, "bad").get("code"), lambda code: code == "set-aside", seconds=60
    )
    fleet.until(
        lambda: [
            path.name
            for path in target.rglob("*")
            if path.is_file() and b"name: c\n" in path.read_bytes()
        ],
        bool,
        seconds=60,
    )
    began = time.monotonic()
    clone.push({"bad/0.yaml": MAP.format(name="mended")})
    fleet.until(fleet.states, lambda s: set(s.values()) == {"Ready"}, seconds=45)
    assert time.monotonic() - began < 45
    assert not list((agent.state_dir / "attempts").glob("*.json"))
