"""Progress: lines in a log, a bar or a view in place on a terminal."""

from __future__ import annotations

import pytest

from fleetctl.cli.display.progress import open_count, open_wait
from tests.support.cli.terminal import drawing


def test_a_log_gets_a_line_for_each_hundred(capsys: pytest.CaptureFixture[str]) -> None:
    with open_count(250, "applied") as count:
        for done in range(1, 251):
            count(done)
    assert capsys.readouterr().err == "applied 100 of 250\napplied 200 of 250\n"


def test_a_terminal_gets_a_bar() -> None:
    with drawing() as terminal, open_count(250, "applied") as count:
        count(250)
    assert "applied" in terminal.getvalue()
    assert "250/250" in terminal.getvalue()


def test_few_items_are_not_counted() -> None:
    with drawing() as terminal, open_count(99, "applied") as count:
        count(99)
    assert terminal.getvalue() == ""


def test_a_log_gets_a_line_when_what_is_missing_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without causes, which the error at the end states."""
    with open_wait(is_live=False) as show:
        show(["Bundle web is ErrApplied: no image", "Bundle db is NotReady"])
        show(["Bundle web is ErrApplied: other text", "Bundle db is NotReady"])
        show(["Bundle db is NotReady"])
    assert capsys.readouterr().err == (
        "waiting: Bundle web is ErrApplied (and 1 more)\nwaiting: Bundle db is NotReady\n"
    )


def test_a_terminal_gets_what_is_missing_and_the_time() -> None:
    with drawing(columns=60) as terminal, open_wait(is_live=True) as show:
        show([f"Bundle b{at} is NotReady: \x1b]0;x\x07[red]{'why ' * 30}" for at in range(7)])
    text = terminal.getvalue()
    assert "waiting for 0s" in text
    assert "Bundle b4 is NotReady" in text
    assert "Bundle b5" not in text
    assert "… and 2 more" in text
    assert "\x1b]0;" not in text
