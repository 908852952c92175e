"""The server process of `forkserver`: forks for each job, reports forks that died of a signal."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable

import msgspec

from fleetctl.tools.parent_death import die_with_parent


class Header(msgspec.Struct, frozen=True):
    """The limits of a job: seconds of wall clock, seconds of CPU, bytes of memory and of a file."""

    seconds: float
    cpu: int
    memory: int
    file: int


def main() -> None:
    """Serve until the process that started this one has ended."""
    control = socket.socket(fileno=int(sys.argv[2]))
    module = importlib.import_module(sys.argv[1])
    getattr(module, "preload", lambda: None)()
    job: Callable[[bytes], bytes] = module.run
    server = os.getpid()
    gc.freeze()  # a collection in a fork would copy the pages of every object
    forks: dict[int, socket.socket] = {}
    child_ended = _child_signals()
    while True:
        ready, _, _ = select.select([control, child_ended], [], [])
        if child_ended in ready:
            child_ended.recv(4096)
            _reap(forks)
        if control in ready:
            data, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return
            connection = socket.socket(fileno=handles[0])
            pid = os.fork()
            if pid == 0:
                for handle in (control, child_ended, *forks.values()):
                    handle.close()
                _run_fork(job, connection, server)
            forks[pid] = connection


def _child_signals() -> socket.socket:
    """Becomes readable when a fork has ended."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _reap(forks: dict[int, socket.socket]) -> None:
    while forks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        connection = forks.pop(pid)
        if os.WIFSIGNALED(status):
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.send(b"\nkilled %d" % os.WTERMSIG(status))
        connection.close()


def _run_fork(job: Callable[[bytes], bytes], connection: socket.socket, server: int) -> None:
    """Never returns."""
    try:
        die_with_parent(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection.settimeout(None)
        connection.sendall(b"%d\n" % os.getpid())
        head, _, data = _read(connection).partition(b"\n")
        _set_limits(msgspec.json.decode(head, type=Header))
        try:
            answer = b"ok " + job(data)
        except MemoryError:
            answer = b"error needs more memory than a job may use"
        except Exception as error:
            traceback.print_exc()
            answer = f"error failed: internal error: {type(error).__name__}: {error}"[:500].encode(
                "utf-8", "replace"
            )
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


if __name__ == "__main__":
    main()
