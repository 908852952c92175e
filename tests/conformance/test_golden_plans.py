"""Plans that a person can read: a fleet, a change in Git, and the whole text of what would happen.

One folder a scenario. `python -m tests.support.pages.plans` writes the texts again; read what
it changes before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli.person import surroundings
from tests.support.pages.plans import outcome, scenarios


@pytest.mark.parametrize("folder", scenarios(), ids=lambda folder: folder.name)
def test_a_plan_says_what_it_said(folder: Path, tool_env: dict[str, str]) -> None:
    """Every text of the scenario, to the letter, rendered by the real helm and kustomize."""
    with surroundings(PATH=tool_env["PATH"]):
        found = outcome(folder)
    assert {name: (folder / name).read_text("utf-8") for name in found} == found


def test_there_are_scenarios_and_each_has_its_texts() -> None:
    """A folder without its text, or a text that nobody makes, is a mistake."""
    assert len(scenarios()) >= 16
    for folder in scenarios():
        assert {path.name for path in folder.iterdir()} - {"plan.md"} == {
            "scenario.yaml",
            "plan.txt",
        }
