"""The server process of `forkserver`: forks for each job, reports forks that died of a signal."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable

import msgspec

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02


class Header(msgspec.Struct, frozen=True):
    """The limits of a job: seconds of wall clock, seconds of CPU, bytes of memory and of a file."""

    seconds: float
    cpu: int
    memory: int
    file: int


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[2]))
    job: Callable[[bytes], bytes] = importlib.import_module(sys.argv[1]).run
    forks: dict[int, socket.socket] = {}
    while True:
        # With forks running, look for dead ones between two requests.
        control.settimeout(_POLL_SECONDS if forks else None)
        with contextlib.suppress(TimeoutError):
            data, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return  # the process that started this one has ended
            connection = socket.socket(fileno=handles[0])
            pid = os.fork()
            if pid == 0:
                control.close()
                for other in forks.values():
                    other.close()
                _run_fork(job, connection)
            forks[pid] = connection
        _reap(forks)


def _reap(forks: dict[int, socket.socket]) -> None:
    while forks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        connection = forks.pop(pid)
        if os.WIFSIGNALED(status):
            connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            with contextlib.suppress(OSError):
                connection.send(b"\nkilled %d" % os.WTERMSIG(status))
        connection.close()


def _run_fork(job: Callable[[bytes], bytes], connection: socket.socket) -> None:
    """Never returns."""
    try:
        _die_with_parent()
        connection.settimeout(None)
        connection.sendall(b"%d\n" % os.getpid())
        head, _, data = _read(connection).partition(b"\n")
        _set_limits(msgspec.json.decode(head, type=Header))
        try:
            answer = b"ok " + job(data)
        except MemoryError:
            answer = b"error needs more memory than a job may use"
        except Exception as why:
            traceback.print_exc()
            answer = f"error failed: internal error: {type(why).__name__}: {why}"[:500].encode("utf-8", "replace")
        connection.sendall(answer)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _read(connection: socket.socket) -> bytes:
    data = bytearray()
    while chunk := connection.recv(1 << 18):
        data += chunk
    return bytes(data)


def _set_limits(limits: Header) -> None:
    """Each ends this process by itself, also inside a C function that never returns."""
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file, limits.file))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu, limits.cpu + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is an error with a name
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)


def _die_with_parent() -> None:
    server = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != server or server == 1:
            os._exit(1)


if __name__ == "__main__":
    main()
