"""CPU time and memory of a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.sim.process_usage import ProcessUsage, usage_of_tree

_BUSY = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BUSY!r}])"


def test_a_child_that_has_ended_counts() -> None:
    before = usage_of_tree(os.getpid())
    subprocess.run([sys.executable, "-c", _BUSY], check=True)
    assert usage_of_tree(os.getpid()).cpu_seconds - before.cpu_seconds > 0.25


def test_children_of_children_count() -> None:
    script = _CHILD + "; print(flush=True); input()"
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        usage = usage_of_tree(process.pid)
        process.communicate(b"\n")
    assert usage.cpu_seconds > 0.25
    assert usage.resident_bytes > 1_000_000


def test_a_process_that_has_ended_counts_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert usage_of_tree(process.pid) == ProcessUsage()
