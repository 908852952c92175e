"""The rich console of a stream. Loaded only where the stream is a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console

from fleetctl.cli import config


def new_console(stream: TextIO, width: int | None = None) -> Console:
    """A console that takes every text as it is: no markup, no emoji names, no highlighting.

    Without colours (NO_COLOR, TERM=dumb) it writes no escape sequence for a style.
    """
    return Console(
        file=stream,
        width=width,
        force_terminal=True,
        color_system="standard" if config.colour() else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
