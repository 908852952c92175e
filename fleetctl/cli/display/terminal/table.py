"""Draws a table on a terminal with rich. Loaded only where stdout is a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleetctl.cli.display.cells import GAP
from fleetctl.cli.display.colours import state_colour
from fleetctl.cli.display.terminal.console import new_console

_TRAILING = re.compile(r" +((?:\x1b\[0m)?)(?=\n)")


def draw_table(titles: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    """`widths` are final: a table that is wider than the terminal wraps there, and is not cut."""
    table = Table(
        box=None,
        show_header=bool(titles),
        pad_edge=False,
        padding=(0, GAP, 0, 0),
        header_style="",
    )
    for at, width in enumerate(widths):
        title = Text(titles[at], style="bold") if titles else ""
        table.add_column(title, no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=state_colour(cell)) for cell in row))
    console = new_console(sys.stdout, width=sum(widths) + GAP * len(widths))
    sys.stdout.write(_TRAILING.sub(r"\1", _render(console, table)))
    sys.stdout.flush()


def _render(console: Console, table: Table) -> str:
    with console.capture() as capture:
        console.print(table, crop=False)
    return capture.get()
