"""Child processes that cannot outlive this one by accident.

Rule: every child is its own session and process group, writes to a log file, and is killed by the
kernel when this process ends, however it ends. Only a ``detached`` child survives.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec could deadlock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_alive: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()
_detached: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()
_spawner: ThreadPoolExecutor | None = None


@dataclass(frozen=True)
class Spec:
    """What to start. ``nice`` is added to the niceness; ``env`` None means our own environment."""

    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    nice: int = 0
    detached: bool = False


def start(spec: Spec) -> subprocess.Popen[bytes]:
    """Start the child; its output is appended to ``spec.log``."""
    if spec.detached:
        child = _popen(spec)
        # Held for good: Popen complains when it is forgotten before the process has ended.
        _detached.append(child)
        return child
    # The kernel's signal comes when the *thread* that forked ends, so all are forked by one that
    # never ends.
    child = _the_spawner().submit(_popen, spec).result()
    _alive.add(child)
    return child


def run(spec: Spec, seconds: float) -> int:
    """Start the child and wait; kill its whole group on a timeout or when interrupted. Returns its
    exit status.
    """
    child = start(spec)
    try:
        return child.wait(seconds)
    finally:
        kill_group(child)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the child and what it started; nothing when it has ended."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _the_spawner() -> ThreadPoolExecutor:
    global _spawner
    with _lock:
        if _spawner is None:
            _spawner = ThreadPoolExecutor(1, thread_name_prefix="localkube-spawner")
        return _spawner


def _popen(spec: Spec) -> subprocess.Popen[bytes]:
    with spec.log.open("ab") as log:
        return subprocess.Popen(
            list(spec.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if spec.env is None else dict(spec.env),
            cwd=spec.cwd,
            start_new_session=True,
            # What runs in the child before exec takes no lock and loads nothing.
            preexec_fn=_before_exec(spec, os.getpid()),  # noqa: PLW1509
        )


def _before_exec(spec: Spec, parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if spec.nice:
            os.nice(spec.nice)
        if _LIBC is not None and not spec.detached:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            # The parent may have ended before the line above: then no signal will come.
            if os.getppid() != parent:
                os._exit(1)

    return prepare


@atexit.register
def _kill_all() -> None:
    """For systems without PDEATHSIG; elsewhere the kernel does it."""
    for child in list(_alive):
        kill_group(child)
