"""Small nodes: what a burst of work took is given back to the system when the agent is idle."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect, and let the C library return free pages; nothing where it cannot."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
