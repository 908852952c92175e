"""The one door to the terminal: answers on stdout, progress and errors on stderr. What comes from elsewhere is made harmless."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleetctl.core.yamldoc import dump_all


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Column = tuple[str, Callable[[dict[str, Any]], str], bool]  # title, cell, only in wide

_COLOURS = {
    "Ready": "green",
    "ErrApplied": "red",
    "Stalled": "red",
    "Held": "yellow",
    "Modified": "yellow",
    "NotReady": "yellow",
    "Offline": "magenta",
}


def clean(text: object) -> str:
    """One line without control characters: remote text must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def show(items: Sequence[dict[str, Any]], columns: Sequence[Column], form: Format, *, headers: bool = True, single: bool = False) -> None:
    """Print objects in the form that was asked for."""
    if form is Format.JSON:
        answer: Any = items[0] if single and items else {"kind": "List", "apiVersion": "v1", "items": list(items)}
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif form is Format.YAML:
        sys.stdout.write(dump_all(list(items)))
    elif form is Format.NAME:
        for item in items:
            print(f"{item['kind'].lower()}/{clean(item['metadata']['name'])}")
    else:
        used = [c for c in columns if form is Format.WIDE or not c[2]]
        table([c[0] for c in used], [[clean(c[1](item)) for c in used] for item in items], headers=headers)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, headers: bool = True) -> None:
    """Columns as wide as their text; on a terminal the last one is cut to fit. Without a terminal nothing is cut or coloured."""
    widths = [max(len(t) if headers else 0, *(len(row[at]) for row in rows)) if rows else len(t) for at, t in enumerate(titles)]
    if sys.stdout.isatty():
        _rich_table(titles, rows, headers=headers)
        return
    for row in [titles, *rows] if headers else rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, headers: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_header=headers, header_style="bold", padding=(0, 2, 0, 0))
    for at, title in enumerate(titles):
        made.add_column(title, no_wrap=at < len(titles) - 1, overflow="ellipsis" if at else "fold", min_width=min(len(title), 8))
    for row in rows:
        made.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console(highlight=False).print(made)


def clear() -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[2J")


def say(text: str) -> None:
    """Progress and questions: never on stdout."""
    print(clean(text), file=sys.stderr, flush=True)


def error(summary: str, *more: str) -> None:
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    word = "\x1b[31merror:\x1b[0m" if coloured else "error:"
    print("\n  ".join([f"{word} {clean(summary)}", *(clean(line) for line in more if line)]), file=sys.stderr)


def age(text: str, now: float | None = None) -> str:
    """Like kubectl: 45s, 5m, 3h, 12d; - for never."""
    if not text:
        return "-"
    seconds = int((now or time.time()) - datetime.fromisoformat(text).timestamp())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"
