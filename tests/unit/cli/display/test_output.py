"""Documents and errors."""

from __future__ import annotations

import json

import pytest

from fleetctl.cli.display import output
from fleetctl.cli.display.output import Format
from fleetctl.core.formats.yaml import load


@pytest.mark.parametrize("form", [Format.JSON, Format.YAML])
def test_documents_are_escaped_and_whole(form: Format, capsys: pytest.CaptureFixture[str]):
    """Harmful text is escaped and reads back as it was."""
    value = {"a": "\x1b]0;x\x07\u202e\U000e0001", "b": "ü"}
    output.document(value, form)
    said = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in said)
    assert (json.loads(said) if form is Format.JSON else load(said)) == value


def test_errors_are_three_lines_at_most(capsys: pytest.CaptureFixture[str]):
    """Summary, subject and next step, each one line, on stderr."""
    output.error("it broke\nbadly", "", "Mend it.")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: it broke badly\n  Mend it.\n")
