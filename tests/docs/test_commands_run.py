"""The shell blocks of README.md and docs run, in order, against real programs and services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.agent.agent_file import build
from tests.support.fleet import Fleet
from tests.support.pages.runs import changing, operating, rollouts, starting
from tests.support.pages.shell import (
    inline_commands,
    missing_lines,
    page_names,
    shell_commands,
)
from tests.support.pages.stage import PageRun
from tests.support.pages.workplace import Workplace, running_fleet, workplace

pytestmark = pytest.mark.cluster

# Commands that do not run here, each with its reason.
SKIPPED = {
    "make demo": "runs for minutes, and has tests of its own",
    "make test": "runs for minutes: it runs this test",
    "make check": "runs for minutes; CI runs it",
    "make agent": "writes into the checkout; a fixture builds the file",
    "make dev": "installs from the network",
    "make tools": "installs from the network",
    "pipx install .": "installs from the network",
    "sudo PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install '.[manager]'": (
        "installs from the network"
    ),
}

PAGES = {
    "README.md",
    "docs/migrate-from-fleet.md",
    "docs/plan.md",
    "docs/quickstart.md",
    "docs/rollouts.md",
    "docs/safety.md",
    "examples/agent-chart/README.md",
}


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("agent") / "fleet-agent.pyz")


@pytest.fixture
def place(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Workplace]:
    with workplace(tmp_path, tool_env) as running:
        yield running


@pytest.fixture
def fleet(place: Workplace, tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Fleet]:
    with running_fleet(place, tmp_path, tool_env) as running:
        yield running


def check(page: PageRun) -> None:
    assert page.run(list(SKIPPED)) == []


def test_the_readme(place: Workplace) -> None:
    check(starting.readme(place))


def test_the_quickstart(place: Workplace, kube: LocalKube, agent_file: Path) -> None:
    check(starting.quickstart(place, kube["dev"].kubeconfig, agent_file))


@pytest.mark.full
def test_rollouts(place: Workplace, fleet: Fleet) -> None:
    check(rollouts.rollouts(place, fleet))


def test_plans(place: Workplace, fleet: Fleet) -> None:
    check(changing.plan(place, fleet))


def test_safety(place: Workplace, fleet: Fleet) -> None:
    check(changing.safety(place, fleet))


def test_the_way_from_rancher_fleet(place: Workplace, fleet: Fleet, kube: LocalKube) -> None:
    check(changing.migrate(place, fleet, str(kube["dev"].kubeconfig)))


def test_operations(place: Workplace, fleet: Fleet, agent_file: Path) -> None:
    """The page shows its commands inside sentences."""
    assert set(operating.COMMANDS) <= set(inline_commands("docs/operations.md"))
    administrator = operating.Administrator(place, fleet, agent_file)
    administrator.run_all()
    administrator.lose_secret_key()


@pytest.mark.usefixtures("fleet")
def test_the_agent_as_a_pod(place: Workplace) -> None:
    check(changing.agent_chart(place))


def test_only_commands_of_the_pages_are_skipped() -> None:
    texts = {command.text for page in page_names() for command in shell_commands(page)}
    assert set(SKIPPED) <= texts


def test_every_page_with_a_shell_block_runs() -> None:
    commands = [command for page in page_names() for command in shell_commands(page)]
    assert {c.page for c in commands if c.text not in SKIPPED} == PAGES


def test_output_that_differs_from_the_page_is_reported() -> None:
    """Ages, digests and blanks may differ; words and their order may not."""
    page = "NAME   STATE   AGE\nweb    Ready   5m\n…\ndb     Ready   2h\n"
    output = "NAME      STATE   AGE\nweb       Ready   12s\ncache Ready 1s\ndb Ready 3d\n"
    assert missing_lines(page, output) == []
    assert missing_lines(page, output.replace("db Ready", "db Held")) == ["db     Ready   2h"]
    digests = "at 0123456789abcdef by ada", "at fedcba9876543210 by bob"
    assert missing_lines(*digests) == [digests[0]]
    assert missing_lines(digests[0].replace("ada", "..."), digests[1]) == []
