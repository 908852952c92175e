"""One agent beside the manager, for a single cluster: enrolled through the service, kept running,
and gone when the manager goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fleetctl import jitter
from fleetctl.core.model.ids import LOCAL_WORKSPACE
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools.parent_death import die_with_parent

from .. import log

CLUSTER = "local"
_RESTART, _HEALTHY_SECONDS = Backoff(1.0, 60.0, jitter=0.5), 120.0
_STOP_SECONDS = 3.0


@dataclass(frozen=True)
class LocalAgent:
    """What the supervised agent needs. `token` makes a fresh registration token."""

    state_dir: Path
    url: str
    ca_pin: str
    kubeconfig: Path | None
    token: Callable[[], Awaitable[str]]
    command: tuple[str, ...] = (sys.executable, "-m", "fleetctl_agent")

    async def supervise(self) -> None:
        """Enrol when needed and run, for ever; a dead agent comes back after 1 to 60 s. Cancel to
        stop.
        """
        failures = 0
        while True:
            loop = asyncio.get_running_loop()
            began = loop.time()
            if await self._ensure_enrolled():
                code = await self._run_command(
                    "run", "--state-dir", str(self.state_dir), *self._kube()
                )
                log.warning("local agent ended", exit=code)
            failures = 1 if loop.time() - began > _HEALTHY_SECONDS else failures + 1
            await asyncio.sleep(_RESTART.seconds(failures, jitter.fraction()))

    async def _ensure_enrolled(self) -> bool:
        """Whether the agent has its identity. The mark is written after the agent has said that it
        is enrolled.
        """
        mark = self.state_dir / ".enrolled-by-manager"
        if mark.exists():
            return True
        self.state_dir.mkdir(mode=0o700, exist_ok=True)
        token = await self.token()
        words = (
            "enrol",
            self.url,
            "--ca-pin",
            self.ca_pin,
            "--token-stdin",
            "--state-dir",
            str(self.state_dir),
            *self._kube(),
        )
        code = await self._run_command(*words, stdin=token.encode() + b"\n")
        if code:
            log.warning("local agent could not enrol", exit=code)
            return False
        mark.touch(mode=0o600)
        return True

    def _kube(self) -> tuple[str, ...]:
        return ("--kubeconfig", str(self.kubeconfig)) if self.kubeconfig else ()

    async def _run_command(self, *words: str, stdin: bytes = b"") -> int:
        """The exit status of one run; when this is cancelled the process is asked, then made, to
        end.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *words,
            stdin=asyncio.subprocess.PIPE,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
            start_new_session=True,
        )
        try:
            await process.communicate(stdin)
        finally:
            await _end(process)
        return process.returncode or 0


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


WORKSPACE = LOCAL_WORKSPACE
