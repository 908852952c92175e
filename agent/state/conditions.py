"""What stands in the way of the agent as a whole (a full disk, a wrong clock, a twin), as opposed
to what is wrong with one bundle.

Rule: said once and unsaid when it is over; each code has one message; a file in the state directory
shows them to `fleet-agent status`, and is left as it is when the disk takes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleetctl.core.model.wire import Trouble
from fleetctl.durable import write_whole

from ..host.log import over, trouble

NAME = "troubles.json"


class Troubles:
    """`changed` is called after each change; `clock` in Unix seconds, corrected to the manager's
    time.
    """

    def __init__(
        self, state_dir: Path, on_change: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._path, self._on_change, self._clock = state_dir / NAME, on_change, clock
        self._conditions: dict[str, Trouble] = {}
        if self._path.exists():
            self._keep()  # of an earlier start: what still stands will be said again

    def say(self, code: str, message: str) -> None:
        """`code`: a stable word like `disk-full`. The first saying sets `since`; another message
        replaces the one before.
        """
        old = self._conditions.get(code)
        if old is not None and old.message == message:
            return
        since = (
            old.since if old else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        )
        self._conditions[code] = Trouble(code=code, message=message, since=since)
        trouble(code, message)
        self._tell()

    def unsay(self, code: str) -> None:
        """It is over, or never was."""
        if self._conditions.pop(code, None) is not None:
            over(code)
            self._tell()

    def __contains__(self, code: object) -> bool:
        return code in self._conditions

    def all(self) -> list[Trouble]:
        """Sorted by code."""
        return [self._conditions[code] for code in sorted(self._conditions)]

    def _tell(self) -> None:
        self._keep()
        self._on_change()

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            write_whole(self._path, msgspec.json.encode(self.all()))


def of_disk(error: OSError) -> tuple[str, str]:
    """(code, message) of an error that the state directory gave."""
    word = os.strerror(error.errno) if error.errno else str(error)
    code = {
        errno.ENOSPC: "disk-full",
        errno.EDQUOT: "disk-full",
        errno.EROFS: "disk-read-only",
    }.get(error.errno or 0, "disk-failing")
    return (
        code,
        (
            f"the state directory cannot be written ({word}): running releases continue, nothing is"
            " changed"
        ),
    )


DISK = ("disk-full", "disk-read-only", "disk-failing")


def read(state_dir: Path) -> list[Trouble]:
    """What the agent of this directory last wrote down; nothing when there is none, or nothing that
    can be read.
    """
    try:
        return msgspec.json.decode((state_dir / NAME).read_bytes(), type=list[Trouble])
    except (OSError, msgspec.DecodeError):
        return []
