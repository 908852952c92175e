"""No helm of an earlier agent is alive when this one changes a release (I5).

Children die with their agent by the kernel's signal; but a wrapper script may keep helm out of its
reach, and a process that waits for a disk dies late. So every helm that changes something inherits
the lock of `STATE_DIR/helm.lock`, and the kernel frees that only when the last of them has gone:
whoever holds the lock is alone, whatever the process table looks like.

Rule: the lock is taken before the first change of this process and never given back. Who holds it
is waited for, then killed with its process group; while it lives on, nothing is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from fleetctl.core.model.errors import HelmAlive

from ..host.log import event

PATIENCE_SECONDS = 5.0
_PAUSE = 0.05


class HelmLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._is_locked = False

    def handles(self) -> tuple[int, ...]:
        """What a helm that changes something inherits."""
        return (self._handle,) if self._is_locked else ()

    async def take(self, patience: float = PATIENCE_SECONDS) -> None:
        """Returns when no other helm is alive; kills those that live on after `patience` seconds.
        Raises HelmAlive, OSError.
        """
        if self._is_locked:
            return
        if await self._lock_within(patience):
            return
        for pid in list(self.holders()):
            event("a helm that an earlier agent began is ended", pid=pid)
            _kill(pid)
        if not await self._lock_within(patience):
            pids = ", ".join(map(str, self.holders())) or "unknown"
            step = f"Stop the processes that hold {self._path}."
            raise HelmAlive(
                f"a helm of an earlier agent does not end (pid {pids}); nothing is changed",
                subject="helm",
                next_step=step,
            )

    def holders(self) -> Iterator[int]:
        """Processes, other than this one, that have the lock's file open."""
        lock_file = os.fstat(self._open())
        for entry in Path("/proc").iterdir():
            if (
                entry.name.isdecimal()
                and int(entry.name) != os.getpid()
                and _holds(entry / "fd", lock_file)
            ):
                yield int(entry.name)

    async def _lock_within(self, seconds: float) -> bool:
        handle = self._open()
        for _ in range(max(1, round(seconds / _PAUSE))):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
            else:
                self._is_locked = True
                return True
        return False

    def _open(self) -> int:
        if self._handle < 0:
            self._handle = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        return self._handle

    def close(self) -> None:
        """For an agent that ends in good order: its children have ended before."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._is_locked = -1, False


def _holds(folder: Path, lock_file: os.stat_result) -> bool:
    try:
        for link in folder.iterdir():
            with contextlib.suppress(OSError):
                link_file = link.stat()
                if (link_file.st_dev, link_file.st_ino) == (lock_file.st_dev, lock_file.st_ino):
                    return True
    except OSError:  # it has ended, or is another user's
        return False
    return False


def _kill(pid: int) -> None:
    """With its process group, which is of its own: what it started may have closed the file."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
