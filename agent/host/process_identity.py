"""Which process this is, in words that another agent on this machine can check: is the one that
held a lease still alive?

A cloned disk brings the same state directory, host name and machine id; what it cannot bring is the
boot (its id is new at each start of a kernel), and in it the process: a pid is that process only
while its start time is the same, and only within its pid namespace.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_FORM = re.compile(r"[\w.:-]*(/[\w.:-]*){5}")


class Holder(NamedTuple):
    """Where the kernel tells nothing (`boot` is ""), nothing is concluded from the pid."""

    host: str
    instance: str
    boot: str
    space: str  # pid namespace
    pid: str
    start_time: str  # clock ticks since the boot

    def text(self) -> str:
        return "/".join(re.sub(r"[^\w.:-]", "-", part) for part in self)


def this_process(instance: str) -> Holder:
    pid = os.getpid()
    return Holder(
        socket.gethostname()[:63], instance, _boot(), _space(), str(pid), start_time_of(pid)
    )


def parse(text: str) -> Holder | None:
    """None for what no agent of ours wrote."""
    return Holder(*text.split("/")) if _FORM.fullmatch(text) else None


def is_alive(holder: Holder, current: Holder) -> bool | None:
    """Whether that process runs; None when it cannot be known from here: another machine, another
    boot, another container.
    """
    if (
        not current.boot
        or (holder.boot, holder.space) != (current.boot, current.space)
        or not holder.pid.isdigit()
        or not holder.start_time
    ):
        return None
    return start_time_of(int(holder.pid)) == holder.start_time


def start_time_of(pid: int) -> str:
    """When the process began, or "" when there is none (a zombie is none)."""
    try:
        words = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in {"Z", "X"} else words[19]


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return (_PROC / "self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return ""
