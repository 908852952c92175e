"""Which process a process id means, over time.

Rule: a recorded process is signalled only while its id still belongs to the process that was recorded; ids are
used again, start times within one boot are not.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from examples.localkube.errors import NotReady
from examples.localkube.waiting import holds, wait_for

STOP_SECONDS = 8.0


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
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
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
    # The descriptor pins the process, so that it cannot be replaced between the look and the signal.
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


def end(processes: dict[int, str], seconds: float = STOP_SECONDS) -> int:
    """End recorded processes: SIGTERM to all, SIGKILL to those left after ``seconds``. How many were alive."""
    signalled = sum(signal_if_same(pid, known, signal.SIGTERM) for pid, known in processes.items())

    def gone() -> bool | None:
        return holds(all(identity(pid) != known for pid, known in processes.items()))

    try:
        wait_for(gone, seconds, lambda: "SIGTERM was not enough")
    except NotReady:
        for pid, known in processes.items():
            signal_if_same(pid, known, signal.SIGKILL)
        wait_for(gone, seconds, lambda: f"still there after SIGKILL: {sorted(processes)}")
    return signalled
