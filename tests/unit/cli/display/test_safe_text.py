"""Text from elsewhere does not steer a terminal."""

from __future__ import annotations

from fleetctl.cli.display.safe_text import escape_controls, single_line


def test_a_single_line_is_printable():
    """Control characters, line ends, right-to-left marks and terminal escapes become spaces."""
    assert single_line("a\x1b[31m\r\nb\u202e\x9bc\tü") == "a [31m  b  c ü"


def test_escapes_keep_lines_and_tabs() -> None:
    assert escape_controls("a\tb\nc\x1b[0m\u202e") == "a\tb\nc\\u001b[0m\\u202e"
