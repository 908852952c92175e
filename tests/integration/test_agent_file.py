"""fleet-agent.pyz: the agent in one file, run by a Python that has nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pyz") / "fleet-agent.pyz"
    subprocess.run([sys.executable, "-m", "agent.build", str(target)], check=True, cwd=ROOT, capture_output=True)
    return target


def bare() -> str:
    """The Python below this virtual environment."""
    return str(Path(sys.base_prefix) / "bin" / "python3")


def test_it_runs_with_a_bare_python(built: Path, tmp_path: Path) -> None:
    """Isolated, without site-packages of its own: version, help, and a one-line error."""
    env = {"PATH": "/usr/bin:/bin", "SHIV_ROOT": str(tmp_path)}
    done = subprocess.run([bare(), "-I", str(built), "version"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fleet-agent ")
    wrong = subprocess.run(
        [bare(), "-I", str(built), "run", "--state-dir", str(tmp_path / "none")], env=env, capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, "is not enrolled" in wrong.stderr, "Traceback" in wrong.stderr) == (2, True, False)


def test_it_can_be_built_again_byte_for_byte(built: Path, tmp_path: Path) -> None:
    """The same checkout gives the same file."""
    again = tmp_path / "again.pyz"
    subprocess.run([sys.executable, "-m", "agent.build", str(again)], check=True, cwd=ROOT, capture_output=True)
    assert again.read_bytes() == built.read_bytes()
