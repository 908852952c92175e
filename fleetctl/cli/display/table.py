"""Tables: aligned plain text into a file or a pipe, drawn by rich on a terminal.

On a terminal flexible columns (messages, labels, addresses) are cut so that a row fits, and states
have colours unless NO_COLOR is set. Names are never cut, because people copy them. A file or a pipe
gets the whole text without colours.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fleetctl.cli.display.cells import GAP, cell_width
from fleetctl.cli.display.humanize import format_times
from fleetctl.cli.display.safe_text import single_line
from fleetctl.core.text.listing import count_hidden

_LEAST = 10  # cells of a column that is cut


class Column(NamedTuple):
    """`wide`: only with -o wide; `flexible`: may be cut; `moving`: changes without an event, as an
    age does.
    """

    title: str
    cell: Callable[[dict[str, Any]], str]
    wide: bool = False
    flexible: bool = False
    moving: bool = False


def key_column(title: str, key: str, *, wide: bool = False, flexible: bool = False) -> Column:
    """A column that shows the value of one key."""
    return Column(title, lambda row: str(row[key]), wide=wide, flexible=flexible)


def print_table(
    columns: Sequence[Column],
    items: Sequence[dict[str, Any]],
    *,
    headers: bool = True,
    wide: bool = False,
    limit: int | None = None,
    widths: Sequence[int] = (),
) -> Sequence[int]:
    """Print one row for each item. With `limit`, print at most so many lines; the last one counts
    the rest. `widths`: the least widths of the columns. Returns the widths.
    """
    if limit is not None and len(items) + headers > limit:
        visible = max(1, limit - headers - 1)
        widths = print_table(columns, items[:visible], headers=headers, wide=wide, widths=widths)
        print(count_hidden(len(items) - visible), flush=True)
        return widths
    visible_columns = [c for c in columns if wide or not c.wide]
    rows = [[_cell_text(column, item) for column in visible_columns] for item in items]
    titles = [c.title for c in visible_columns]
    natural_widths = _natural_widths([titles, *rows] if headers else rows, len(titles))
    widths = [max(pair) for pair in zip(natural_widths, widths or natural_widths, strict=True)]
    if not sys.stdout.isatty():
        _print_plain([titles, *rows] if headers else rows, widths)
        return widths
    # rich costs 60 ms, and only a terminal needs it
    from fleetctl.cli.display.terminal.table import draw_table

    if not wide:
        widths = fit_widths(visible_columns, widths, shutil.get_terminal_size().columns)
    draw_table(titles if headers else [], rows, widths)
    return widths


def _cell_text(column: Column, item: dict[str, Any]) -> str:
    text = column.cell(item)
    return single_line(format_times(text) if column.flexible else text) or "-"


def _natural_widths(lines: Sequence[Sequence[str]], amount: int) -> list[int]:
    return [max((cell_width(line[at]) for line in lines), default=0) for at in range(amount)]


def _print_plain(lines: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    for line in lines:
        cells = (
            text + " " * (width - cell_width(text))
            for text, width in zip(line, widths, strict=True)
        )
        print((" " * GAP).join(cells).rstrip())
    sys.stdout.flush()


def fit_widths(columns: Sequence[Column], widths: Sequence[int], limit: int) -> list[int]:
    """Cut flexible columns, the last one first, to their title or 10 cells at least."""
    result = list(widths)
    excess = sum(result) + GAP * (len(result) - 1) - limit
    for at in reversed(range(len(result))):
        if columns[at].flexible and excess > 0:
            excess_cells = min(excess, max(0, result[at] - max(_LEAST, len(columns[at].title))))
            result[at] -= excess_cells
            excess -= excess_cells
    return result
