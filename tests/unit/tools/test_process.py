"""Children are bounded in time, output and life."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetctl.core.model.errors import DeadlineError, ToolFailed, ToolMissing
from fleetctl.tools import process
from fleetctl.tools.process import Command, ProcessLimits, run


@pytest.fixture(autouse=True, params=["setpriv", "python"])
def leash(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wrappers keep all that is promised."""
    wrapper = (
        [sys.executable, "-I", "-S", "-c", process._leash()]
        if request.param == "python"
        else process._wrapper()
    )
    monkeypatch.setattr(process, "_wrapper", lambda: wrapper)


ENV = {"PATH": os.environ["PATH"]}


def go(*argv, deadline=20.0, **more):
    return asyncio.run(run(Command(argv, env=ENV, **more), deadline=deadline))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    """Wait for the level, at most five seconds."""
    end = time.monotonic() + 5
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_input_output_and_code_pass_through():
    """What goes in by stdin comes out, with the program's own exit code."""
    got = go("sh", "-c", "cat; echo no >&2; exit 3", stdin=b"hello")
    assert (got.returncode, got.stdout, got.stderr) == (3, b"hello", b"no\n")


def test_limits_hold_to_the_end_and_say_nothing():
    """The hard limit of CPU time too, so that a child cannot raise it; a limit is no line on
    stderr.
    """
    got = go(
        "sh",
        "-c",
        "ulimit -St; ulimit -Ht; ulimit -d; cat /proc/self/oom_score_adj",
        limits=ProcessLimits(cpu=7, memory=64 << 20),
    )
    assert (got.stdout.split(), got.stderr) == ([b"7", b"12", b"65536", b"800"], b"")


def test_a_program_that_is_not_there_is_named():
    """With what to do."""
    with pytest.raises(ToolMissing, match="no-such-tool is not on this machine"):
        go("no-such-tool")


def test_the_deadline_kills_the_whole_group(tmp_path):
    """Also the grandchild that ignores its terminal."""
    file = tmp_path / "pid"
    with pytest.raises(DeadlineError, match="sh did not end within 1 s"):
        go("sh", "-c", f"sleep 60 & echo $! > {file}; wait", deadline=1)
    assert gone(int(file.read_text()))


def test_too_much_output_is_cut():
    """A flood ends the child, not us."""
    with pytest.raises(ToolFailed, match="more than 1000 bytes"):
        go("yes", limits=ProcessLimits(output=1000))


def test_a_child_dies_with_its_parent(tmp_path):
    """kill -9 of the parent leaves nothing running."""
    file = tmp_path / "pid"
    code = (
        "import asyncio,os\nfrom fleetctl.tools.process import Command,"
        f" run\nasyncio.run(run(Command(['sh','-c','echo $$ > {file}; exec sleep 60'],"
        " env=dict(os.environ)), deadline=60))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    end = time.monotonic() + 10
    while (not file.exists() or not file.read_text().strip()) and time.monotonic() < end:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(int(file.read_text()))


def test_limits_reach_the_child():
    """CPU seconds as the child itself sees them."""
    got = go("sh", "-c", "ulimit -t", limits=ProcessLimits(cpu=7))
    assert got.stdout.strip() == b"7"
