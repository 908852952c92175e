"""Starts programs of this checkout in forks of a process that has imported them: a start takes 0.1
s of CPU time, not 1 s.

What runs is the whole program, in a process, session and process group of its own, with its own
environment and log. Only the imports are not repeated. Some tests start the real commands
(`Fleet(real=True)`, agent upgrades, the CLI).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, Any, cast

from examples.demo.parts import Agent, Process, environment

_MODULES = ("manager", "agent")
_MOST_BYTES = 200_000  # of one message; far below the kernel's limit for such a socket


class Child:
    """A started program; has what is used of `subprocess.Popen`."""

    def __init__(self, pid: int, pidfd: int, status: socket.socket) -> None:
        self.pid, self._pidfd, self._status = pid, pidfd, status
        self.returncode: int | None = None

    def __del__(self) -> None:
        os.close(self._pidfd)
        self._status.close()

    def poll(self) -> int | None:
        return self._wait(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def _wait(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            text = self._status.recv(16)
            self.returncode = int(text) if text else -int(signal.SIGKILL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Zygote:
    """The process that forks, for one program. It ends with this one, and its programs with it."""

    def __init__(self, module: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            argv = [
                sys.executable,
                "-m",
                "tests.support.processes.prefork",
                module,
                str(theirs.fileno()),
            ]
            self._process = subprocess.Popen(
                argv,
                env=environment({}),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        atexit.register(self.close)

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Sequence[IO[Any]]
    ) -> Child:
        """Run `python -m MODULE WORDS...` of `argv` with stdin, stdout and stderr of `streams`."""
        ours, theirs = socket.socketpair()
        message = json.dumps({"argv": list(argv), "env": dict(env), "cwd": os.getcwd()}).encode()  # noqa: PTH109
        with theirs, self._lock:
            handles = [stream.fileno() for stream in streams]
            socket.send_fds(self._control, [message], [*handles, theirs.fileno()])
            data, received, _, _ = socket.recv_fds(self._control, 64, 1)
        return Child(int(data), received[0], ours)

    def close(self) -> None:
        self._control.close()
        self._process.wait(20)


@cache
def zygote(module: str) -> Zygote:
    return Zygote(module)


def module_of(argv: Sequence[str]) -> str:
    """The module that the command line runs, "" when it is no program that can be forked."""
    is_program = (
        len(argv) > 2 and argv[0] == sys.executable and argv[1] == "-m" and argv[2] in _MODULES
    )
    return argv[2] if is_program else ""


class PreforkedProcess(Process):
    """As `Process`; a command line that is not one of our programs starts as any other does."""

    def start(self) -> None:
        module = module_of(self.argv)
        if not module:
            super().start()
            return
        with self.log.open("ab") as out, open(os.devnull, "rb") as empty:  # noqa: PTH123
            child = zygote(module).spawn(self.argv, self.env, (empty, out, out))
        self._popen = cast("subprocess.Popen[bytes]", child)
        self.pid = child.pid


def preforked(process: Process) -> PreforkedProcess:
    return PreforkedProcess(process.name, process.argv, process.env, process.log)


class PreforkedAgent(Agent):
    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.process = preforked(self.process)

    def run_enrol(self, argv: Sequence[str], token: str) -> subprocess.CompletedProcess[str]:
        module = module_of(argv)
        if not module:
            return super().run_enrol(argv, token)
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(token.encode() + b"\n")
            given.seek(0)
            code = zygote(module).spawn(argv, self.process.env, (given, out, err)).wait(60)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(
                list(argv), code, out.read().decode(), err.read().decode()
            )


def _preload(module: str) -> None:
    """Import what the program imports sooner or later in each of its lives."""
    if module == "manager":
        import uvicorn.loops.asyncio
        import uvicorn.protocols.http.httptools_impl  # noqa: F401

        import manager.app  # noqa: F401
    else:
        import fleetctl.tools.helm
        import fleetctl.tools.isolation.sandbox
        import fleetctl.tools.kustomize  # noqa: F401
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the pages of every object


def _serve(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """In each fork: what to run, and its open files. In the server: None, when the tests have
    ended.
    """
    wake, writer = socket.socketpair()
    wake.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    status: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            wake.recv(4096)
            _reap(status)
        if control in ready:
            data, handles, _, _ = socket.recv_fds(control, _MOST_BYTES, 4)
            if not data:
                _kill_all(status)
                return None
            reader, ready_writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.write(ready_writer, b"s")
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return json.loads(data), handles[:3]
            status[pid] = handles[3]
            os.close(ready_writer)
            os.read(reader, 1)  # it has a session and process group of its own
            for handle in (reader, *handles[:3]):
                os.close(handle)
            pidfd = os.pidfd_open(pid)
            socket.send_fds(control, [str(pid).encode()], [pidfd])
            os.close(pidfd)


def _reap(status: dict[int, int]) -> None:
    while status:
        pid, code = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        handle = status.pop(pid)
        try:
            os.write(handle, str(os.waitstatus_to_exitcode(code)).encode())
        except OSError:
            pass  # nobody waits for it any more
        os.close(handle)


def _kill_all(status: dict[int, int]) -> None:
    for pid in status:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while status and time.monotonic() < end:
        _reap(status)
        time.sleep(0.01)


def _become(request: dict[str, Any], handles: list[int]) -> None:
    """Be the program, from here to the end of this process."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    os.closerange(3, 4096)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.orig_argv[:] = request["argv"]
    sys.argv[:] = request["argv"][2:]
    runpy.run_module(request["argv"][2], run_name="__main__", alter_sys=True)


def main() -> None:
    module, handle = sys.argv[1], int(sys.argv[2])
    control = socket.socket(fileno=handle)
    _preload(module)
    work = _serve(control)
    if work is not None:
        control.detach()
        _become(*work)


if __name__ == "__main__":
    main()
