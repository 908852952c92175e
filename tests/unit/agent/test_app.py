"""The agent's entry point: every error ends with its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import app
from agent.config import AgentConfig
from agent.upgrade.trial_run import reason


def test_a_defect_prints_a_traceback_and_ends_with_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(config: AgentConfig) -> int:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(app, "_run_command", broken)
    assert app.main(["status", "--state-dir", str(tmp_path)]) == app.BUG
    first, *middle, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "RuntimeError: no such thing" in middle
    assert last == "error: internal error; please report the traceback above."


def test_the_reason_of_a_defect_is_the_exception_not_the_request_to_report_it() -> None:
    """The parent of a version on trial reports why it ended."""
    lines = [
        "Traceback (most recent call last):",
        "RuntimeError: no such thing",
        "error: internal error; please report the traceback above.",
    ]
    assert reason(lines) == "RuntimeError: no such thing"
    assert reason(["error: not enrolled", "Enrol first."]) == "error: not enrolled"


def test_a_number_in_the_environment_that_cannot_be_read_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEET_AGENT_HELM_SECONDS", "soon")
    assert app.main(["version"]) == 2
    assert capsys.readouterr().err.startswith("error: FLEET_AGENT_HELM_SECONDS: 'soon' is not")
