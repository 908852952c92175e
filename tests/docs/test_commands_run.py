"""The shell blocks of README.md and docs run, in order, against real programs and services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.agent.agent_file import build
from tests.support.fleet import Fleet
from tests.support.pages.runs import changing, rollouts, starting
from tests.support.pages.shell import page_names, shell_commands
from tests.support.pages.stage import PageRun
from tests.support.pages.workplace import Workplace, running_fleet, workplace

pytestmark = pytest.mark.cluster

# Commands that do not run here, each with its reason.
SKIPPED = {
    # They set up a checkout, or run for minutes. `make agent` has tests of its own, and its file
    # lies where the page expects it.
    "make demo": "minutes",
    "make test": "minutes",
    "make agent": "built once for all pages",
    # They install from the network.
    "pipx install .": "network",
    "pipx install '.[manager]'": "network",
    "make dev": "network",
    "make tools": "network",
    "make check": "minutes",
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


def test_rollouts(place: Workplace, fleet: Fleet) -> None:
    check(rollouts.rollouts(place, fleet))


def test_plans(place: Workplace, fleet: Fleet) -> None:
    check(changing.plan(place, fleet))


def test_safety(place: Workplace, fleet: Fleet) -> None:
    check(changing.safety(place, fleet))


def test_the_way_from_rancher_fleet(place: Workplace, fleet: Fleet, kube: LocalKube) -> None:
    check(changing.migrate(place, fleet, str(kube["dev"].kubeconfig)))


@pytest.mark.usefixtures("fleet")
def test_the_agent_as_a_pod(place: Workplace) -> None:
    check(changing.agent_chart(place))


def test_only_commands_of_the_pages_are_skipped() -> None:
    texts = {command.text for page in page_names() for command in shell_commands(page)}
    assert set(SKIPPED) <= texts
