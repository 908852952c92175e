"""Reads the CPU time and the resident memory of a process and its descendants from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ProcessUsage:
    """`cpu_seconds`: user and system time, also of children that have ended. `resident_bytes`: of
    the processes that run now.
    """

    cpu_seconds: float = 0.0
    resident_bytes: int = 0

    def __add__(self, other: ProcessUsage) -> ProcessUsage:
        return ProcessUsage(
            self.cpu_seconds + other.cpu_seconds, self.resident_bytes + other.resident_bytes
        )


def usage_of_tree(pid: int) -> ProcessUsage:
    """The sum over the process and its descendants. A process that has ended counts nothing."""
    total = _usage(pid)
    for child in _children(pid):
        total += usage_of_tree(child)
    return total


def _usage(pid: int) -> ProcessUsage:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return ProcessUsage()
    # The name in parentheses may hold spaces. utime, stime, cutime and cstime are fields 14 to 17.
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessUsage(ticks / _TICKS, pages * _PAGE_BYTES)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return children
