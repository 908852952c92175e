"""Ends a child process when its parent ends (prctl(2), PR_SET_PDEATHSIG). The signal comes when the
thread that made the child ends, so make children in a thread that lives as long as the process.

fleetctl/tools/process.py does the same for programs that replace themselves by another one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child of a process with threads must not load libraries.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Call it in the child, between fork and exec. parent: the process id of the parent, which may
    have ended before this call; then the child ends here.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
