"""The CLI's entry."""

from __future__ import annotations

import io
import sys

import pytest
import typer

from fleetctl.cli import loader
from fleetctl.cli.app import INTERRUPT_STATUS, main


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
    assert main(["status"]) == INTERRUPT_STATUS
    assert stderr.getvalue() == text


@pytest.mark.parametrize(
    ("words", "summary", "step"),
    [
        (
            ["apply", "--dry-run=bogus", "-f", "x"],
            "option --dry-run takes no value",
            "Write --dry-run, --dry-run=client,",
        ),
        (
            ["status", "--watch=yes"],
            "option --watch takes no value",
            "Write it without `=`. See `fleetctl status --help`.",
        ),
    ],
)
def test_a_value_of_a_flag_is_refused_with_the_command(
    capsys: pytest.CaptureFixture[str], words: list[str], summary: str, step: str
) -> None:
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: {summary}"
    assert lines[1] == f"  fleetctl {words[0]}"
    assert lines[2].startswith(f"  {step}")
