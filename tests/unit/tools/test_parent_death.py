"""A child ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fleetctl.tools.parent_death import die_with_parent

# Starts a child that waits, prints its process id, and is killed itself.
_PARENT = """
import os, signal, subprocess
from functools import partial
from fleetctl.tools.parent_death import die_with_parent
child = subprocess.Popen(
    ["sleep", "60"], stdout=subprocess.DEVNULL, preexec_fn=partial(die_with_parent, os.getpid())
)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="the signal is Linux's")
def test_a_child_of_a_killed_parent_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PARENT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + 30
    while is_running(int(done.stdout)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_running(int(done.stdout))


def test_a_child_whose_parent_ended_before_ends_too() -> None:
    pid = os.fork()
    if pid == 0:
        die_with_parent(1)  # not the parent of this process
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
