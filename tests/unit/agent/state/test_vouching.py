"""A process whose poll loop is stuck no longer vouches for itself: systemd's watchdog and the
liveness probe start it anew.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.loops.poll import Poller
from agent.loops.supervisor import Runner
from agent.state.status_file import StatusFile, read
from fleetctl.core.model.wire import MAX_WAIT_SECONDS
from fleetctl.tools.systemd import Notifier


class Silent:
    """A manager's door that neither answers nor ends."""

    next_poll, offset, url = 15.0, 0, "https://m"

    async def fetch_desired(self, etag: str, wait: int) -> None:
        await asyncio.Event().wait()


def test_a_poll_has_a_time_by_which_it_must_have_ended() -> None:
    """Longer than the longest wait that a manager may ask for, and not for ever."""

    async def due() -> tuple[float, float]:
        at: Any = SimpleNamespace(
            context=SimpleNamespace(uplink=Silent()), etag="e", poll_due=float("inf"), document=None
        )
        task = asyncio.create_task(Poller(at, SimpleNamespace()).poll())  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        return at.poll_due, asyncio.get_running_loop().time()

    due_at, now = asyncio.run(due())
    assert MAX_WAIT_SECONDS + 60 < due_at - now < 3600


def beats(folder: Path, due: float) -> tuple[bool, bool]:
    """(whether the watchdog heard of it, whether the file in memory was written) within one
    beat.
    """
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.setblocking(False)
        runner: Any = Runner.__new__(Runner)
        runner._state = SimpleNamespace(
            reports={}, busy={}, was_busy=False, contact=0.0, contact_error="", poll_due=due
        )
        runner._notifier, runner._live = Notifier(path), StatusFile(folder / "live", "1")

        async def once() -> None:
            task = asyncio.create_task(runner._beat())
            await asyncio.sleep(0.05)
            task.cancel()

        asyncio.run(once())
        heard = b""
        while True:
            try:
                heard += ear.recv(4096) + b"\n"
            except BlockingIOError:
                break
    return b"WATCHDOG=1" in heard, read(folder / "live", {os.getuid()}) is not None


def test_a_loop_that_turns_is_vouched_for(tmp_path: Path) -> None:
    """To systemd and to the probes."""
    assert beats(tmp_path, float("inf")) == (True, True)


def test_a_loop_that_is_stuck_is_not(tmp_path: Path) -> None:
    """Neither hears a word, though the process lives and its other loops turn."""
    assert beats(tmp_path, 0.0) == (False, False)
