"""The Go module of fleetsim: its format, what `go vet` finds, and its tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.localkube.toolchain.go_build import go_environment, require_go
from tests.sim.binary import MODULE, source_files


def run_go(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the Go distribution in the module."""
    go = require_go()
    argv = [go if words[0] == "go" else str(Path(go).with_name(words[0])), *words[1:]]
    env = go_environment(folder)
    return subprocess.run(argv, cwd=MODULE, env=env, capture_output=True, text=True, check=False)


def test_the_source_is_formatted(tmp_path: Path) -> None:
    files = [str(path) for path in source_files() if path.suffix == ".go"]
    result = run_go(tmp_path, "gofmt", "-l", *files)
    assert (result.stdout, result.stderr) == ("", "")


def test_vet_finds_nothing(tmp_path: Path) -> None:
    result = run_go(tmp_path, "go", "vet", "./...")
    assert result.returncode == 0, result.stderr


def test_the_tests_of_the_module_pass(tmp_path: Path) -> None:
    result = run_go(tmp_path, "go", "test", "./...")
    assert result.returncode == 0, result.stdout + result.stderr


def test_lines_have_at_most_100_columns() -> None:
    """A tab counts as one column."""
    long = [
        f"{path.relative_to(MODULE)}:{number}"
        for path in source_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]
    assert long == []
