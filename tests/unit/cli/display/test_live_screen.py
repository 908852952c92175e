"""A watch draws in place on a terminal, and below its last answer into a file."""

from __future__ import annotations

import sys

import pytest

from fleetctl.cli.display.live_screen import LiveScreen, open_screen
from tests.support.cli.terminal import drawing


def test_a_live_screen_hands_on_what_is_printed_for_a_terminal() -> None:
    drawings: list[str] = []

    def show() -> None:
        print("terminal" if sys.stdout.isatty() else "file")

    LiveScreen(drawings.append).draw(show)
    assert drawings == ["terminal\n"]


def test_a_plain_screen_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen(is_live=False) as screen:
        screen.draw(lambda: print("a"))
        screen.draw(lambda: print("b"))
    assert capsys.readouterr().out == "a\nb\n"


def test_the_last_drawing_stays_and_earlier_ones_are_replaced() -> None:
    """While the watch goes on, no drawing is higher than the terminal."""
    with drawing(columns=20, rows=5) as terminal, open_screen(is_live=True) as screen:
        screen.draw(lambda: print("first"))
        screen.draw(lambda: print("\n".join(["[red]second", *map(str, range(10))])))
        text = terminal.getvalue()
        assert "[red]second" in text
        assert "\x1b[2K" in text  # the line of the first drawing is erased
        assert "9" not in text
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is visible again
