"""The one door to the terminal: answers on stdout, progress and errors on stderr.

Text from repositories, clusters and the manager is made harmless before it is printed.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TextIO

from fleetctl.cli import config
from fleetctl.cli.display.cells import GAP, cut_text
from fleetctl.cli.display.colours import GREEN, MAGENTA, RED, paint, state_colour
from fleetctl.cli.display.safe_text import escape_controls, is_harmless, single_line


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def prepare() -> None:
    """A terminal without UTF-8 shows `?` for what it does not know, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")


def line(text: object = "") -> None:
    """One line of the answer."""
    print(single_line(text), flush=True)


def say(text: object) -> None:
    """Progress: never on stdout."""
    print(single_line(text), file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """What a person types; "" at the end of input."""
    print(single_line(question), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def error(summary: str, *details: str) -> None:
    word = paint("error:", RED, sys.stderr)
    print(
        "\n  ".join(
            [f"{word} {single_line(summary)}", *(single_line(text) for text in details if text)]
        ),
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
        text = "".join(c if is_harmless(c) else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)


def print_for_scripts(value: Any, form: Format, names: Iterable[object]) -> bool:
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


def raw(text: str) -> None:
    """YAML as it is, down to the last byte, unless it would steer a terminal: then every such
    character is written as an escape.
    """
    print(escape_controls(text), end="", flush=True)


def diff(text: str) -> None:
    """A unified diff, its lines coloured on a terminal."""
    for row in text.splitlines():
        colour = {"+": GREEN, "-": RED, "@": MAGENTA}.get(row[:1], "")
        print(paint(escape_controls(row), colour, sys.stdout))


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


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which text can be replaced."""
    return stream.isatty() and config.moves_cursor()


def redraws() -> bool:
    """Whether a watch may draw over its last answer."""
    return is_terminal(sys.stdout)


def columns() -> int:
    """How wide the terminal is; 80 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def lines() -> int:
    """How high the terminal is; 24 where there is none."""
    return shutil.get_terminal_size().lines if sys.stdout.isatty() else 24


def print_cut_line(text: str) -> None:
    """One line, cut to the terminal's width; the whole line into a file."""
    plain = single_line(text)
    print(cut_text(plain, columns()) if sys.stdout.isatty() else plain, flush=True)


def entry(state: str, width: int, text: str, *, wide: bool) -> None:
    """A state, coloured on a terminal, and a line beside it that is cut to the terminal's width."""
    head, plain = single_line(state).ljust(width), single_line(text)
    if sys.stdout.isatty() and not wide:
        plain = cut_text(plain, columns() - width - GAP)
    colour = state_colour(state)
    print(f"{paint(head, colour, sys.stdout)}{' ' * GAP}{plain}".rstrip(), flush=True)
