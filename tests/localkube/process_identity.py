"""Which process a process id means, over time.

Rule: a recorded process is signalled only while its id still belongs to the process that was
recorded; ids are used again, start times within one boot are not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tests.localkube.errors import NotReady
from tests.localkube.waiting import holds, wait_for

# Signal, and seconds until the next. An API server with idle clients lingers for a minute after the
# first SIGTERM, and exits at once on the second: nothing is lost by that, what it has is in etcd.
STEPS = ((signal.SIGTERM, 2.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


def identity(pid: int) -> str | None:
    """A text that no other process will ever have; None when the process is gone (or a zombie)."""
    if not Path("/proc/self/stat").exists():
        return _identity_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The second field is the program's name in brackets, with whatever it contains: proc(5).
    fields = stat[stat.rindex(")") + 1 :].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _identity_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.strip() or None


def signal_if_same(pid: int, recorded: str, number: signal.Signals) -> bool:
    """Send the signal if the id still means the recorded process; True if it was sent."""
    if hasattr(os, "pidfd_open"):
        return _signal_by_descriptor(pid, recorded, number)
    same = identity(pid) == recorded
    if same:
        os.kill(pid, number)
    return same


def _signal_by_descriptor(pid: int, recorded: str, number: signal.Signals) -> bool:
    # The descriptor pins the process, so that it cannot be replaced between the look and the
    # signal.
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if identity(pid) != recorded:
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def end(processes: dict[int, str]) -> int:
    """End recorded processes, each of ``STEPS`` to all until they are gone. Returns how many were
    alive.
    """
    ended: set[int] = set()
    for number, seconds in STEPS:
        ended |= {pid for pid, known in processes.items() if signal_if_same(pid, known, number)}
        with contextlib.suppress(NotReady):
            wait_for(lambda: holds(not _left(processes)), seconds, lambda: "still there")
            return len(ended)
    raise NotReady(f"still there after SIGKILL: {_left(processes)}")


def _left(processes: dict[int, str]) -> list[int]:
    return sorted(pid for pid, known in processes.items() if identity(pid) == known)
