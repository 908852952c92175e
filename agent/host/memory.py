"""Small nodes: what starting and a burst of work took is given back to the system when the agent is
idle.

Rule: nothing is given back that is needed to go on. Pages of programs and libraries that are not
used for hours are dropped (they lie in files, and come back by themselves); freed memory is
returned; threads do not get heaps of their own.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from pathlib import Path
from typing import Any

# <malloc.h> and <sys/mman.h> of Linux.
_M_ARENA_MAX = -8
_MADV_DONTNEED, _MADV_PAGEOUT = 4, 21


def settle() -> None:
    """Once at the start: one heap for all threads, which would else keep up to 64 MiB each; nothing
    where it cannot be said.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Collect, return free memory, and let go of the pages of files; nothing where it cannot."""
    gc.collect()
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)
        _drop_file_pages()


def _drop_file_pages() -> None:
    """Code goes even where other processes use it too; read-only data, which the loader may have
    changed, as the kernel sees fit.
    """
    advise = _libc().madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return
    for line in maps.splitlines():
        span, rights, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and rights in {"r-xp", "r--p"}:
            start, end = (int(part, 16) for part in span.split("-"))
            advise(start, end - start, _MADV_DONTNEED if "x" in rights else _MADV_PAGEOUT)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
