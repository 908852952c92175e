"""The state directory: who may change it, and the lock of the one agent that uses it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from fleetctl.core.model.errors import Conflict, RefusedError

from ..packaging.bootstrap import unsafe

LOCK = "agent.lock"


def refuse_unsafe(state_dir: Path, *, is_in_pod: bool) -> None:
    """Raises RefusedError when another user can change the directory: the agent runs and obeys
    what it contains.
    """
    if not state_dir.exists():
        return
    # The volume of a Pod is open to all users, and only the Pod's own users exist there.
    if reason := unsafe(state_dir, parents=not is_in_pod):
        step = f"chown {os.getuid()} {state_dir}; chmod 700 {state_dir}; or name another directory."
        raise RefusedError(
            f"the state directory {state_dir} {reason}", subject="--state-dir", next_step=step
        )


def lock_directory(state_dir: Path) -> int:
    """Returns the file descriptor that holds the lock. Raises Conflict when another agent runs."""
    path = state_dir / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        # On a read-only disk the agent observes and reports, and changes nothing.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Conflict(
            f"another agent runs with {state_dir}",
            subject="--state-dir",
            next_step="Stop it first.",
        ) from error
    return handle


def is_locked(state_dir: Path) -> bool:
    """Whether a process holds the directory's lock. A lock that cannot be opened counts as free."""
    try:
        handle = os.open(state_dir / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
