"""Programs that start in forks: the whole program, with its own arguments, environment, log and
exit status.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.processes.prefork import PreforkedProcess


def started(folder: Path, *words: str, **env: str) -> PreforkedProcess:
    argv = [sys.executable, "-m", "agent", *words]
    process = PreforkedProcess("agent", argv, {"PATH": os.environ["PATH"], **env}, folder / "log")
    process.start()
    return process


def test_a_forked_program_has_its_own_words_environment_log_and_status(tmp_path: Path) -> None:
    process = started(tmp_path, "status", FLEET_AGENT_STATE_DIR=str(tmp_path / "nothing"))
    assert process._popen is not None
    assert process._popen.wait(60) == 2
    assert not process.alive()
    assert str(tmp_path / "nothing") in process.log.read_text()
    process.argv = [sys.executable, "-m", "agent", "--version"]
    process.start()
    assert process._popen.wait(60) == 0
    assert process.log.read_text().splitlines()[-1].startswith("fleet-agent ")


def test_a_forked_program_is_killed_and_stopped_like_any_other(tmp_path: Path) -> None:
    process = started(
        tmp_path, "enrol", "https://127.0.0.1:1", "--token-stdin", "--state-dir", str(tmp_path)
    )
    assert Path(f"/proc/{process.pid}").exists()
    assert os.getsid(process.pid) == process.pid
    process.kill()
    assert process._popen is not None
    assert process._popen.poll() == -9
    process.stop()
