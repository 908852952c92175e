"""The one door to the terminal: answers on stdout, progress and errors on stderr. What comes from
elsewhere is made harmless.

A table is plain text. On a terminal its flexible columns (messages, labels, addresses) are cut so
that a row fits, and states are coloured unless NO_COLOR is set; names are never cut, because people
copy them. Into a file or a pipe goes everything, without colours."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size

from fleetctl.cli import config


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Column(NamedTuple):
    """`wide`: only with -o wide; `flexible`: may be cut; `moving`: changes by itself, as an age
    does.
    """

    title: str
    cell: Callable[[dict[str, Any]], str]
    wide: bool = False
    flexible: bool = False
    moving: bool = False


_GAP, _LEAST = 3, 10
_RED, _GREEN, _YELLOW, _MAGENTA = "31", "32", "33", "35"
_COLOURS = {
    "Ready": _GREEN,
    "ErrApplied": _RED,
    "Stalled": _RED,
    "Held": _YELLOW,
    "Modified": _YELLOW,
    "NotReady": _YELLOW,
    "OutOfSync": _YELLOW,
    "WaitCheckIn": _YELLOW,
    "Offline": _MAGENTA,
    "Failed": _RED,
    "Aborted": _RED,
    "Paused": _YELLOW,
    "Completed": _GREEN,
}


def prepare() -> None:
    """A terminal without UTF-8 shows `?` for what it does not know, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")


def clean(text: object) -> str:
    """One line without control characters: remote text must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def line(text: object = "") -> None:
    """One line of the answer."""
    print(clean(text), flush=True)


def say(text: object) -> None:
    """Progress: never on stdout."""
    print(clean(text), file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """What a person types; "" at the end of input."""
    print(clean(question), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def error(summary: str, *more: str) -> None:
    word = _painted("error:", _RED, sys.stderr)
    print(
        "\n  ".join([f"{word} {clean(summary)}", *(clean(text) for text in more if text)]),
        file=sys.stderr,
        flush=True,
    )


def document(value: Any, form: Format) -> None:
    """Any value as JSON or YAML. Text that would steer a terminal is escaped, and reads back as it
    was.
    """
    if form is Format.YAML:
        from fleetctl.core.formats.yaml import dump

        text = dump(value).rstrip("\n")
    else:
        text = json.dumps(value, indent=2, ensure_ascii=False)
        text = "".join(c if _harmless(c) else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)


def answered(value: Any, form: Format, names: Iterable[object]) -> bool:
    """What scripts ask for: JSON, YAML, or the names, a line each. False when it is a table, which
    is the caller's.
    """
    if form is Format.NAME:
        for name in names:
            line(name)
    elif form in {Format.JSON, Format.YAML}:
        document(value, form)
    else:
        return False
    return True


def harmless(text: str) -> str:
    """`text` with whatever would steer a terminal, or hide what is written, as an escape; lines and
    tabs stay.
    """
    return "".join(c if _harmless(c) or c == "\t" else json.dumps(c)[1:-1] for c in text)


def raw(text: str) -> None:
    """YAML as it is, down to the last byte, unless it would steer a terminal: then every such
    character is written as an escape.
    """
    print(harmless(text), end="", flush=True)


def diff(text: str) -> None:
    """A unified diff, its lines coloured on a terminal."""
    for row in text.splitlines():
        colour = {"+": _GREEN, "-": _RED, "@": _MAGENTA}.get(row[:1], "")
        print(_painted(harmless(row), colour, sys.stdout))


def _harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def objects(items: Sequence[dict[str, Any]], form: Format, *, single: bool = False) -> None:
    """Objects as JSON, YAML or names."""
    if form is Format.NAME:
        for item in items:
            line(f"{item['kind'].lower()}/{item['metadata']['name']}")
    elif form is Format.JSON:
        document(
            items[0]
            if single and items
            else {"kind": "List", "apiVersion": "v1", "items": list(items)},
            form,
        )
    else:
        for at, item in enumerate(items):
            if at:
                print("---")
            document(item, form)


def table(
    columns: Sequence[Column],
    items: Sequence[dict[str, Any]],
    *,
    headers: bool = True,
    wide: bool = False,
    most: int | None = None,
) -> None:
    """One row for each item. `most`: at most so many lines, the last of which says how many rows
    are left out.
    """
    if most is not None and len(items) + headers > most:
        shown = max(1, most - headers - 1)
        table(columns, items[:shown], headers=headers, wide=wide)
        line(f"… and {len(items) - shown} more")
        return
    used = [c for c in columns if wide or not c.wide]
    rows = [
        [clean(ages(c.cell(item)) if c.flexible else c.cell(item)) or "-" for c in used]
        for item in items
    ]
    lines = ([[c.title for c in used]] if headers else []) + rows
    widths = [max((cell_len(row[at]) for row in lines), default=0) for at in range(len(used))]
    if sys.stdout.isatty() and not wide:
        widths = _fitted(used, widths, shutil.get_terminal_size().columns)
    for row in lines:
        cells = [_cell(text, width) for text, width in zip(row, widths, strict=True)]
        painted = [
            _painted(cell, _COLOURS.get(cell.strip().partition(" (")[0], ""), sys.stdout)
            for cell in cells
        ]
        print((" " * _GAP).join(painted).rstrip())
    sys.stdout.flush()


def _cell(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    return set_cell_size(text, width - 1) + "…"


def _fitted(columns: Sequence[Column], widths: Sequence[int], limit: int) -> list[int]:
    """Cut flexible columns, the last first, to 10 cells at least."""
    found = list(widths)
    over = sum(found) + _GAP * (len(found) - 1) - limit
    for at in reversed(range(len(found))):
        if columns[at].flexible and over > 0:
            cut = min(over, max(0, found[at] - max(_LEAST, len(columns[at].title))))
            found[at] -= cut
            over -= cut
    return found


def _painted(text: str, colour: str, stream: TextIO) -> str:
    return (
        f"\x1b[{colour}m{text}\x1b[0m" if colour and stream.isatty() and config.colour() else text
    )


def redraws() -> bool:
    """Whether a watch may draw over what it showed before."""
    return sys.stdout.isatty()


def clear() -> None:
    sys.stdout.write("\x1b[2J\x1b[H")


def age(text: str, now: float | None = None) -> str:
    """Like kubectl: 45s, 5m30s, 3h, 12d; - for never."""
    if not text:
        return "-"
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return "?"
    return duration(int((time.time() if now is None else now) - then.timestamp()))


_SINCE = re.compile(r"\bsince (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def ages(text: str, now: float | None = None) -> str:
    """Times in a sentence as a person reads them: `since TIME` is `for 3h`, one that is over `3h
    ago`, one to come `19:40 UTC (in 20m)`.
    """
    at = time.time() if now is None else now
    text = _SINCE.sub(lambda found: f"for {age(found[1], at)}", text)
    return _TIME.sub(lambda found: _moment(found[0], at), text)


def _moment(text: str, now: float) -> str:
    then = datetime.fromisoformat(text)
    left = int(then.timestamp() - now)
    if left <= 0:
        return f"{duration(-left)} ago"
    return (
        f"{then:%H:%M} UTC (in {duration(left)})"
        if left < 86400
        else f"{then:%Y-%m-%d %H:%M} UTC (in {duration(left)})"
    )


def columns() -> int:
    """How wide the terminal is; 80 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def lines() -> int:
    """How high the terminal is; 24 where there is none."""
    return shutil.get_terminal_size().lines if sys.stdout.isatty() else 24


def cut(text: str) -> None:
    """One line, cut to the terminal's width; whole into a file."""
    told, width = clean(text), columns()
    print(
        _cell(told, width) if sys.stdout.isatty() and cell_len(told) > width else told, flush=True
    )


def entry(state: str, width: int, text: str, *, wide: bool) -> None:
    """A state, coloured on a terminal, and a line beside it that is cut to the terminal's width."""
    head, told = clean(state).ljust(width), clean(text)
    room = columns() - width - _GAP
    if sys.stdout.isatty() and not wide and cell_len(told) > room:
        told = _cell(told, room)
    print(
        f"{_painted(head, _COLOURS.get(state, ''), sys.stdout)}{' ' * _GAP}{told}".rstrip(),
        flush=True,
    )


def duration(seconds: int) -> str:
    """apimachinery `duration.HumanDuration`: two units while the first is small."""
    left = max(0, seconds)
    minutes, hours, days = left // 60, left // 3600, left // 86400
    if left < 120:
        return f"{left}s"
    if left < 600:
        return f"{minutes}m" + (f"{left % 60}s" if left % 60 else "")
    if left < 3 * 3600:
        return f"{minutes}m"
    if left < 8 * 3600:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if left < 48 * 3600:
        return f"{hours}h"
    if left < 8 * 86400:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    return (
        f"{days}d"
        if days < 730
        else f"{days // 365}y" + (f"{days % 365}d" if days < 8 * 365 and days % 365 else "")
    )


def counted(amount: int, word: str) -> str:
    return f"{amount} {word}" + ("" if amount == 1 else "s")


def key_column(title: str, key: str, *, wide: bool = False, flexible: bool = False) -> Column:
    return Column(title, lambda i: str(i[key]), wide=wide, flexible=flexible)
