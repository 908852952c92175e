"""Work on foreign input in a child process with limits of CPU time, memory and wall time, so that
no input can stop its owner.

One child serves one request after the other. It is started when it is needed, with its imports
done, and ends when nobody has needed it for a while, after many requests, or when its memory has
grown: a Python start for each bundle would cost more than the work. A request that exceeds a limit
ends the child and fails with WorkLimit; the next request gets a new child.

The wire: a length of 4 bytes, then msgpack (fleetctl/tools/isolation/sandbox_child.py). Nothing
that the child sends is executed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fleetctl.core.model.errors import FleetError, UsageError, WorkCrashed, WorkLimit, error_of
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.options import Options
from fleetctl.core.rendering.render import RenderPlan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools import process
from fleetctl.tools.isolation import sandbox_child
from fleetctl.tools.isolation.sandbox_child import (
    ChangeRequest,
    PlanRequest,
    Request,
    SandboxAnswer,
)
from fleetctl.tools.post_renderer import Changes
from fleetctl.tools.process import Command

_T = TypeVar("_T")
_MIB = 1024 * 1024
_CALL = (
    "import sys; sys.path.insert(0, sys.argv[1]); from fleetctl.tools.isolation.sandbox_child"
    " import main; main()"
)
_EMPTY_PATH = "/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """For one request: `cpu` and `wall` in seconds, `memory` in bytes of data of the child. `idle`:
    seconds until an unused child ends.
    """

    cpu: int = 20
    wall: float = 60.0
    memory: int = 512 * _MIB
    answer: int = 256 * _MIB
    idle: float = 20.0


@dataclass
class Sandbox:
    """Does the named work of `sandbox_child.OPERATIONS`.

    Safe for concurrent calls, which wait for each other.
    """

    limits: SandboxLimits = SandboxLimits()
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _child: asyncio.subprocess.Process | None = None
    _idle: asyncio.TimerHandle | None = None
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def plan(
        self,
        archive: Path,
        options: Options,
        facts: ClusterFacts,
        *,
        bundle: BundleName,
        values_from: Sequence[dict[str, Any]] = (),
    ) -> RenderPlan:
        """As `core.render.plan`, of the files of an archive on this disk, with what only foreign
        input tells. Raises UsageError, InvalidFile, WorkLimit, WorkCrashed.
        """
        # JSON, because values hold whatever YAML holds: msgpack has no integers beyond 64 bits.
        details = msgspec.json.encode([options, facts, list(values_from)])
        request = PlanRequest(archive=str(archive), bundle=bundle, details=details)
        return await self.call("plan", request, RenderPlan, subject=f"bundle {bundle}")

    async def change(self, text: bytes, changes: Changes, *, subject: str) -> bytes:
        """As `postrender.changed`. Raises as `plan`."""
        return await self.call(
            "change", ChangeRequest(text=text, changes=changes), bytes, subject=subject
        )

    async def call(
        self, operation: str, request: msgspec.Struct, kind: type[_T], *, subject: str
    ) -> _T:
        """The result of one operation. Raises the FleetError that it raised, WorkLimit or
        WorkCrashed.
        """
        data = msgspec.msgpack.encode(
            Request(operation=operation, cpu=self.limits.cpu, body=msgspec.msgpack.encode(request))
        )
        async with self._lock:
            answer = await self._answer(data, subject)
        if answer.failure is not None:
            raise self._error(answer.failure, subject)
        return msgspec.msgpack.decode(answer.body, type=kind)

    async def close(self) -> None:
        """End the child. The sandbox can be used again."""
        if self._idle is not None:
            self._idle.cancel()
        child, self._child = self._child, None
        if child is not None:
            await process.end(child)
        await asyncio.gather(*self._ending)

    async def _answer(self, data: bytes, subject: str) -> SandboxAnswer:
        if self._idle is not None:
            self._idle.cancel()
        answer = None
        try:
            child = await self._running()
            async with asyncio.timeout(self.limits.wall):
                answer = await self._exchange(child, data)
        except TimeoutError as error:
            raise _limit_error(f"{self.limits.wall:g} s", subject) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise await self._death(subject) from error
        finally:
            if answer is None or answer.is_last:
                child_or_none, self._child = self._child, None
                if child_or_none is not None:
                    await asyncio.shield(process.end(child_or_none))
            else:
                self._idle = asyncio.get_running_loop().call_later(self.limits.idle, self._end_idle)
        return answer

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            root = str(Path(sandbox_child.__file__).parents[3])
            env = {"PATH": _EMPTY_PATH, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
            limits = process.ProcessLimits(memory=self.limits.memory)
            self._child = await process.start(
                Command(
                    [sys.executable, "-I", "-c", _CALL, root],
                    env=env,
                    limits=limits,
                    cwd=Path("/"),
                    network=False,
                )
            )
        return self._child

    async def _exchange(self, child: asyncio.subprocess.Process, data: bytes) -> SandboxAnswer:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(len(data).to_bytes(4, "big"))
        child.stdin.write(data)
        await child.stdin.drain()
        size = int.from_bytes(await child.stdout.readexactly(4), "big")
        if size > self.limits.answer:
            raise ConnectionError(f"an answer of {size} bytes")
        return msgspec.msgpack.decode(await child.stdout.readexactly(size), type=SandboxAnswer)

    async def _death(self, subject: str) -> FleetError:
        """Why the child ended in the middle of a request."""
        child = self._child
        if child is None:
            return WorkCrashed(
                "the worker process cannot be started",
                subject=subject,
                next_step="Look at the log of this machine.",
            )
        try:
            async with asyncio.timeout(5):
                code, words = await child.wait(), await _last_line(child)
        except TimeoutError:
            code, words = 0, ""
        if code in {-signal.SIGXCPU, 128 + signal.SIGXCPU}:
            return _limit_error(f"{self.limits.cpu} s of CPU time", subject)
        if code in {-signal.SIGKILL, 128 + signal.SIGKILL}:
            return _limit_error("the memory of this machine, or was killed", subject)
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        summary = f"the worker process ended with {reason}" + (f": {words}" if words else "")
        return WorkCrashed(
            summary,
            subject=subject,
            next_step="Report the line of the log, with the bundle if you may.",
        )

    def _error(self, failure: sandbox_child.SandboxFailure, subject: str) -> Exception:
        if failure.code == sandbox_child.MEMORY:
            return _limit_error(f"{self.limits.memory // _MIB} MiB of memory", subject)
        if failure.code == sandbox_child.BUG:
            return RuntimeError(failure.summary)
        return error_of(
            failure.code,
            failure.summary,
            subject=failure.subject,
            next_step=failure.next_step,
            default=UsageError,
        )

    def _end_idle(self) -> None:
        if self._lock.locked():
            return
        child, self._child = self._child, None
        if child is not None:
            task = asyncio.get_running_loop().create_task(process.end(child))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _last_line(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    lines = (await child.stderr.read(65536)).decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _limit_error(limit: str, subject: str) -> WorkLimit:
    step = (
        "Make its templates, charts or manifests smaller; the agent tries again when the"
        " bundle changes, and after growing pauses."
    )
    return WorkLimit(f"the work on it exceeded {limit}", subject=subject, next_step=step)
