"""Fixtures for tests that need a repository, or a whole fleet: a Git server, a clone that pushes to
it, and a manager to which agents are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "git").mkdir()
    with GitServer(tmp_path / "git") as running:
        yield running


@pytest.fixture
def clone(server: GitServer, tmp_path: Path) -> Clone:
    """Of the repository `apps`."""
    return Clone(server, "apps", tmp_path / "clone")


@pytest.fixture
def fleet(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Fleet]:
    """A manager that looks at its repositories every second, without agents yet."""
    running = Fleet(tmp_path / "fleet", tool_env)
    try:
        yield running
    finally:
        running.stop()
