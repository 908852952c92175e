"""The agent that the manager keeps beside itself, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from manager.agents.local_agent import LocalAgent

SCRIPT = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--state-dir") + 1])
with (folder / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "|" + sys.stdin.read().strip() + "\\n")
if sys.argv[1] == "run":
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)
"""


def test_local_agent_is_enrolled_once_run_and_ended(tmp_path: Path):
    """The token goes by standard input, never as an argument; cancelling ends the process."""

    async def token() -> str:
        return "secret-token"

    async def play() -> int:
        command = (sys.executable, "-c", SCRIPT)
        agent = LocalAgent(
            tmp_path / "state", "https://127.0.0.1:1", "ab", tmp_path / "kubeconfig", token, command
        )
        task = asyncio.create_task(agent.supervise())
        pid = tmp_path / "state" / "pid"
        async with asyncio.timeout(20):
            while not pid.exists() or not pid.read_text():
                await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return int(pid.read_text())

    pid = asyncio.run(play())
    enrol, run = (tmp_path / "state" / "calls").read_text().splitlines()
    words, _, said = enrol.partition("|")
    assert (words.split()[0], said, "secret-token" in words) == ("enrol", "secret-token", False)
    assert run.startswith("run --state-dir")
    try:
        os.kill(pid, 0)
        alive = True
    except ProcessLookupError:
        alive = False
    assert not alive
