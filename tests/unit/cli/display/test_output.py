"""Ages, harmless text, and tables that fit."""

from __future__ import annotations

import json

import pytest

from fleetctl.cli.display import output
from fleetctl.cli.display.output import Column, Format
from fleetctl.core.formats.yaml import load


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (3 * 3600 + 1800, "3h30m"),
        (8 * 3600 + 1800, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (3000 * 86400, "8y"),
    ],
)
def test_ages_are_kubectls(seconds: int, text: str):
    """The table of apimachinery's HumanDuration."""
    assert output.duration(seconds) == text


def test_age_of_a_time():
    """Never is a dash, and what is no time does not stop a table."""
    assert output.age("2026-01-01T00:00:00Z", now=1767225600 + 300) == "5m"
    assert output.age("") == "-"
    assert output.age("soon") == "?"


def test_clean_leaves_one_printable_line():
    """Control characters, line ends, right-to-left marks and terminal escapes become spaces."""
    assert output.clean("a\x1b[31m\r\nb\u202e\x9bc\tü") == "a [31m  b  c ü"


@pytest.mark.parametrize("form", [Format.JSON, Format.YAML])
def test_documents_are_escaped_and_whole(form: Format, capsys: pytest.CaptureFixture[str]):
    """Harmful text is escaped and reads back as it was."""
    value = {"a": "\x1b]0;x\x07\u202e\U000e0001", "b": "ü"}
    output.document(value, form)
    said = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in said)
    assert (json.loads(said) if form is Format.JSON else load(said)) == value


def test_table_is_aligned_by_cells(capsys: pytest.CaptureFixture[str]):
    """A character of double width counts twice; nothing is a dash; without a terminal nothing is
    cut or coloured.
    """
    columns = [
        Column("A", lambda row: row["a"]),
        Column("B", lambda row: row["b"], flexible=True),
        Column("C", lambda row: "", wide=True),
    ]
    output.table(
        columns, [{"a": "漢字", "b": "Ready"}, {"a": "x", "b": "y" * 200}, {"a": "", "b": "z"}]
    )
    assert capsys.readouterr().out.split("\n") == [
        "A      B",
        "漢字   Ready",
        "x      " + "y" * 200,
        "-      z",
        "",
    ]
    output.table(columns, [{"a": "1", "b": "2"}], headers=False, wide=True)
    assert capsys.readouterr().out == "1   2   -\n"


def test_flexible_columns_are_cut_last_first():
    """Names never; each flexible one keeps ten cells or its title."""
    columns = [
        Column("N", str),
        Column("LABELS", str, flexible=True),
        Column("MESSAGE", str, flexible=True),
    ]
    assert output._fitted(columns, [30, 40, 50], 100) == [30, 40, 24]
    assert output._fitted(columns, [30, 40, 50], 80) == [30, 34, 10]
    assert output._fitted(columns, [90, 40, 50], 80) == [90, 10, 10]
    assert output._fitted(columns, [10, 10, 10], 80) == [10, 10, 10]


def test_a_cut_cell_ends_with_a_mark():
    """And is exactly as wide as it may be, also when a wide character stands at the cut."""
    assert output._cell("abcdef", 4) == "abc…"
    assert output._cell("漢字漢字", 4) == "漢 …"


def test_errors_are_three_lines_at_most(capsys: pytest.CaptureFixture[str]):
    """Summary, subject and next step, each one line, on stderr."""
    output.error("it broke\nbadly", "", "Mend it.")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: it broke badly\n  Mend it.\n")
