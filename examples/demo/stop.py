"""`make demo-stop`: ends what `KEEP=1 make demo`, or one that was killed, left running."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from tests.localkube import kubeapi

DEMO = Path(".demo").absolute()


def stop(folder: Path) -> int:
    """How many processes were ended. Only processes that have this folder in their command line, so
    that no stranger's pid is hit.
    """
    pids = _mine(folder)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        end = time.monotonic() + 8
        while time.monotonic() < end and any(_alive(pid) for pid in pids):
            time.sleep(0.05)
        pids = [pid for pid in pids if _alive(pid)]
    count = len(pids)
    if (folder / "kube").is_dir():
        count += kubeapi.stop(folder / "kube")
    return count


def running(folder: Path) -> bool:
    """Whether parts of a demo in this folder still run."""
    return bool(_mine(folder))


def _mine(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        ours = {"manager", "agent", "fleetctl_agent", "tests.servers.gitserver"} & set(words)
        if ours and any(word.startswith(str(folder) + "/") for word in words):
            found.append(int(path.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


if __name__ == "__main__":
    stop(DEMO)
    sys.stderr.write("the demo is stopped\n")
