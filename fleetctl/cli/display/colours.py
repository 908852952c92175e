"""Colours of states and differences on a terminal."""

from __future__ import annotations

from typing import TextIO

from fleetctl.cli import config

RED, GREEN, YELLOW, MAGENTA = "red", "green", "yellow", "magenta"
_CODES = {RED: "31", GREEN: "32", YELLOW: "33", MAGENTA: "35"}
_STATES = {
    "Ready": GREEN,
    "ErrApplied": RED,
    "Stalled": RED,
    "Held": YELLOW,
    "Modified": YELLOW,
    "NotReady": YELLOW,
    "OutOfSync": YELLOW,
    "WaitCheckIn": YELLOW,
    "Offline": MAGENTA,
    "Failed": RED,
    "Aborted": RED,
    "Paused": YELLOW,
    "Completed": GREEN,
}


def state_colour(cell: str) -> str:
    """The colour of a cell such as `Ready (paused)`; "" for text that is no state."""
    return _STATES.get(cell.strip().partition(" (")[0], "")


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour, where `stream` is a terminal that may have colours."""
    if not colour or not stream.isatty() or not config.colour():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"
