"""Tables: whole in a file, fitted on a terminal."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fleetctl.cli.display.cells import cut_text
from fleetctl.cli.display.table import Column, fit_widths, print_table
from tests.support.cli.terminal import drawing

BUNDLES = [
    Column("NAME", lambda row: row["name"]),
    Column("STATUS", lambda row: row["state"]),
    Column("LABELS", lambda row: row.get("labels", ""), flexible=True),
    Column("MESSAGE", lambda row: row.get("message", ""), flexible=True),
]
ROWS = [
    {"name": "web", "state": "Ready"},
    {
        "name": "a-bundle-with-quite-a-long-name",
        "state": "ErrApplied",
        "labels": "env=prod,region=europe",
        "message": "[bold]no[/] such image :boom: \x1b[31m" + "again " * 20,
    },
]


def test_table_is_aligned_by_cells(capsys: pytest.CaptureFixture[str]):
    """A character of double width counts twice; nothing is a dash; without a terminal nothing is
    cut or coloured.
    """
    columns = [
        Column("A", lambda row: row["a"]),
        Column("B", lambda row: row["b"], flexible=True),
        Column("C", lambda row: "", wide=True),
    ]
    print_table(
        columns, [{"a": "漢字", "b": "Ready"}, {"a": "x", "b": "y" * 200}, {"a": "", "b": "z"}]
    )
    assert capsys.readouterr().out.split("\n") == [
        "A      B",
        "漢字   Ready",
        "x      " + "y" * 200,
        "-      z",
        "",
    ]
    print_table(columns, [{"a": "1", "b": "2"}], headers=False, wide=True)
    assert capsys.readouterr().out == "1   2   -\n"


def test_flexible_columns_are_cut_last_first():
    """Names never; each flexible one keeps ten cells or its title."""
    columns = [
        Column("N", str),
        Column("LABELS", str, flexible=True),
        Column("MESSAGE", str, flexible=True),
    ]
    assert fit_widths(columns, [30, 40, 50], 100) == [30, 40, 24]
    assert fit_widths(columns, [30, 40, 50], 80) == [30, 34, 10]
    assert fit_widths(columns, [90, 40, 50], 80) == [90, 10, 10]
    assert fit_widths(columns, [10, 10, 10], 80) == [10, 10, 10]


def test_a_cut_cell_ends_with_a_mark():
    """And is exactly as wide as it may be, also when a wide character stands at the cut."""
    assert cut_text("abcdef", 4) == "abc…"
    assert cut_text("漢字漢字", 4) == "漢 …"


def test_a_terminal_gets_the_same_columns_fitted_to_80() -> None:
    """Names stay whole, text in brackets is no markup, and no line ends with spaces."""
    with drawing() as terminal:
        print_table(BUNDLES, ROWS)
    assert re.sub(r"\x1b\[\d*m", "", terminal.getvalue()) == (
        "NAME                              STATUS       LABELS                 MESSAGE\n"
        "web                               Ready        -                      -\n"
        "a-bundle-with-quite-a-long-name   ErrApplied   env=prod,region=eur…   [bold]no[…\n"
    )


def test_states_have_colours_and_titles_are_bold() -> None:
    with drawing() as terminal:
        print_table(BUNDLES, ROWS)
    text = terminal.getvalue()
    assert "\x1b[32mReady" in text
    assert "\x1b[31mErrApplied\x1b[0m" in text
    assert text.startswith("\x1b[1mNAME")
    assert set(re.findall(r"\x1b\[(\d*)m", text)) == {"0", "1", "31", "32"}


def test_without_colours_a_terminal_gets_no_escape() -> None:
    with drawing(NO_COLOR="1") as terminal:
        print_table(BUNDLES, ROWS, wide=True)
    assert "\x1b" not in terminal.getvalue()
    assert "again again" in terminal.getvalue()


def test_a_table_that_cannot_fit_is_not_cut_further() -> None:
    rows = [{"name": "n" * 120, "state": "Ready"}]
    with drawing() as terminal:
        print_table(BUNDLES, rows, headers=False)
    assert "n" * 120 in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


def test_a_limited_table_counts_the_rest() -> None:
    with drawing() as terminal:
        print_table(BUNDLES, [ROWS[0]] * 10, limit=5)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[-1] == "… and 7 more"


def test_a_table_in_a_file_loads_no_rich() -> None:
    """rich costs 60 ms at each start."""
    code = (
        "import sys; from fleetctl.cli.display.table import Column, print_table;"
        "print_table([Column('A', str)], [{}]);"
        "print(sorted(name for name in sys.modules if 'rich' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
