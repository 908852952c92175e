"""The CLI's entry."""

from __future__ import annotations

import io
import sys

import pytest
import typer

from fleetctl.cli import loader
from fleetctl.cli.app import INTERRUPTED, main


class Stderr(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(("terminal", "text"), [(True, "\n"), (False, "")])
def test_after_ctrl_c_the_prompt_begins_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, text: str
) -> None:
    app = typer.Typer()

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loader, "command", lambda name: typer.main.get_command(app))
    stderr = Stderr(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["status"]) == INTERRUPTED
    assert stderr.getvalue() == text
