"""Runs jobs on foreign input in child processes with limits on CPU, memory, file size and time.

A server process imports the job's module once; each job runs in a fork of it, so that a job costs a
few milliseconds and leaves nothing behind. Jobs of one server run at the same time; the caller
bounds how many. A fork ends by itself at each of its limits, and with the server; the server ends
with the process that started it.

Protocol: the caller passes one end of a socket pair to the server, writes `Header`, a newline and
the job's input, and closes its writing side. The fork writes its process id and a newline, then
`ok` or `error` and the result. The server appends `killed SIGNAL` when the fork died of a signal.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fleetctl.core.model.errors import DeadlineError, FleetError, UnavailableError
from fleetctl.environment import inherited
from fleetctl.tools.isolation.fork_child import Header
from fleetctl.tools.process import start_server

_ROOT = Path(__file__).parents[3]
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")
_PASSED_ON = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", *_PROXIES)
_KILLED_MARK = b"\nkilled "


@dataclass(frozen=True)
class JobLimits:
    """`seconds` of wall clock, `cpu` seconds; bytes of `memory`, of one written `file` and of the
    `result`.
    """

    seconds: float = 180.0
    cpu: int = 60
    memory: int = 1536 * 1024 * 1024
    file: int = 256 * 1024 * 1024
    result: int = 32 * 1024 * 1024


@dataclass
class ForkServer:
    """One server for the jobs of `module`, which has `run(data: bytes) -> bytes`. It starts with
    the first job, and again after it died. It belongs to no event loop.
    """

    module: str
    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def run(self, data: bytes, limits: JobLimits, *, subject: str) -> bytes:
        """The job's result. Raises DeadlineError, UnavailableError, and the job's own FleetError.

        When this is cancelled the fork is killed.
        """
        own_end, child_end = socket.socketpair()
        with own_end:
            own_end.setblocking(False)
            with child_end:
                await asyncio.to_thread(self._submit, child_end)
            job = _ForkJob(own_end, subject, limits)
            try:
                return await job.run(data)
            finally:
                job.kill()

    def close(self) -> None:
        with self._lock:
            if self._control:
                self._control.close()
            if self._process:
                self._process.terminate()
                self._process.wait()
            self._process = self._control = None

    def _submit(self, job: socket.socket) -> None:
        """Give the fork's end of a job to the server, which is started when needed."""
        with self._lock:
            for _ in range(2):
                try:
                    if (
                        self._control is None
                        or self._process is None
                        or self._process.poll() is not None
                    ):
                        self._start()
                    assert self._control is not None
                    socket.send_fds(self._control, [b"j"], [job.fileno()])
                    return
                except OSError:
                    self._drop()
        summary = f"the server for {self.module} cannot be started"
        raise UnavailableError(
            summary, next_step="Look at the memory and process limits of the host."
        )

    def _start(self) -> None:
        self._drop()
        control, child_end = socket.socketpair()
        env = inherited(_PASSED_ON)
        env |= {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
        with child_end:
            handle = child_end.fileno()
            argv = [
                sys.executable,
                "-P",
                "-m",
                "fleetctl.tools.isolation.fork_child",
                self.module,
                str(handle),
            ]
            self._process = start_server(argv, env, inherits=handle)
        self._control = control
        atexit.register(self.close)

    def _drop(self) -> None:
        atexit.unregister(self.close)
        if self._control:
            self._control.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None


class _ForkJob:
    """The caller's side of one job."""

    def __init__(self, connection: socket.socket, subject: str, limits: JobLimits) -> None:
        self._connection, self._subject, self._limits = connection, subject, limits
        self._pid = 0
        self._is_done = False

    async def run(self, data: bytes) -> bytes:
        limits = self._limits
        try:
            # The fork's own timer ends it a second earlier, so that this rarely strikes.
            async with asyncio.timeout(limits.seconds + 5.0):
                header = Header(limits.seconds, limits.cpu, limits.memory, limits.file)
                answer = await self._exchange(msgspec.json.encode(header) + b"\n" + data)
        except TimeoutError as error:
            raise self._late() from error
        return self._result(answer)

    def kill(self) -> None:
        if self._pid and not self._is_done:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._pid, signal.SIGKILL)

    async def _exchange(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        sending = loop.create_task(self._send(request))
        answer = bytearray()
        try:
            while chunk := await loop.sock_recv(self._connection, 1 << 18):
                answer += chunk
                if not self._pid and b"\n" in answer:
                    line, _, rest = bytes(answer).partition(b"\n")
                    self._pid, answer = int(line), bytearray(rest)
                if len(answer) > self._limits.result:
                    raise self._error(f"is larger than {self._limits.result} bytes when prepared")
        except ConnectionError:
            pass  # the fork died; the answer so far tells more
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        self._is_done = True
        return bytes(answer)

    async def _send(self, request: bytes) -> None:
        with contextlib.suppress(OSError):  # the fork died; reading tells of it
            await asyncio.get_running_loop().sock_sendall(self._connection, request)
            self._connection.shutdown(socket.SHUT_WR)

    def _result(self, answer: bytes) -> bytes:
        kind, _, data = answer.partition(b" ")
        _, mark, number = answer.rpartition(_KILLED_MARK)
        if mark and number.isdigit():
            raise self._error_of_signal(int(number))
        if kind == b"ok":
            return data
        if kind == b"error":
            raise self._error(data.decode("utf-8", "replace"))
        raise self._error("ended without a result")

    def _error_of_signal(self, number: int) -> FleetError:
        limits = self._limits
        if number == signal.SIGALRM:
            return self._late()
        if number == signal.SIGXCPU:
            return self._error(f"needs more than {limits.cpu} s of CPU time")
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return self._error(f"was killed by {name}, perhaps because the host is short of memory")

    def _late(self) -> FleetError:
        summary = f"{self._subject} did not end within {self._limits.seconds:g} s"
        return DeadlineError(
            summary, subject=self._subject, next_step="Make the repository smaller."
        )

    def _error(self, problem: str) -> FleetError:
        step = "Make the repository smaller, or split it; the next commit is tried at once."
        if "internal error" in problem or "without a result" in problem:
            step = "Report this with the traceback from the log; the next commit is tried at once."
        return UnavailableError(f"{self._subject} {problem}", subject=self._subject, next_step=step)
