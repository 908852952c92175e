"""Redraws the answer of a watch in place."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import Protocol


class Screen(Protocol):
    """Where a watch draws."""

    def draw(self, show: Callable[[], None]) -> None:
        """`show` prints to stdout; what it prints replaces the last drawing on a terminal."""


class _TerminalBuffer(io.StringIO):
    """Collects output that is meant for the terminal."""

    def isatty(self) -> bool:
        return True


class PlainScreen:
    """Prints each drawing below the last one, into a file or a pipe."""

    def draw(self, show: Callable[[], None]) -> None:
        show()


class LiveScreen:
    """Draws over the last drawing, cut to the height of the terminal."""

    def __init__(self, refresh: Callable[[str], None]) -> None:
        self._refresh = refresh

    def draw(self, show: Callable[[], None]) -> None:
        buffer = _TerminalBuffer()
        with contextlib.redirect_stdout(buffer):
            show()
        self._refresh(buffer.getvalue())


@contextlib.contextmanager
def open_screen(*, is_live: bool) -> Iterator[Screen]:
    """A screen for one watch. The last drawing stays on the terminal at the end."""
    if not is_live:
        yield PlainScreen()
        return
    # rich costs 60 ms, and only a watch on a terminal needs it
    from rich.live import Live
    from rich.text import Text

    from fleetctl.cli.display.terminal.console import new_console

    with Live(
        console=new_console(sys.stdout),
        auto_refresh=False,
        vertical_overflow="crop",
        redirect_stdout=False,
        redirect_stderr=sys.stderr.isatty(),
    ) as live:

        def refresh(text: str) -> None:
            live.update(Text.from_ansi(text.rstrip("\n"), no_wrap=True), refresh=True)

        yield LiveScreen(refresh)
