"""The tree of errors: one file, drawn in its docstring, the same in every program."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetctl.core.model import errors
from fleetctl.core.model.errors import FleetError, InvalidFile, ToolFailed, error_of, every_error

ROOT = Path(__file__).parents[4]
_LINE = re.compile(r"^(?P<branches>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +exit +(?P<status>\d+))?(?: |$)")


def drawn() -> Iterator[tuple[str, str, int]]:
    """(class, parent, exit status) of each line of the drawing; the status of the parent where the
    line has none.
    """
    parents: list[tuple[str, int]] = []
    for line in str(errors.__doc__).partition("\n\n")[2].partition("\n\n")[0].splitlines():
        match = _LINE.match(line)
        assert match, line
        depth = len(match["branches"]) // 4
        parent, inherited = parents[depth - 1] if depth else ("", 0)
        status = int(match["status"] or inherited)
        parents[depth:] = [(match["name"], status)]
        yield match["name"], parent, status


def test_the_drawing_shows_every_class() -> None:
    """With its parent and its exit status."""
    assert sorted(drawn()) == sorted(
        (kind.__name__, "" if kind is FleetError else kind.__bases__[0].__name__, kind.exit_status)
        for kind in every_error()
    )


def test_no_error_is_declared_elsewhere() -> None:
    """A class outside the file would be unknown to a program that does not import it."""
    names = {kind.__name__ for kind in every_error()}
    elsewhere = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in ("fleetctl", "manager", "agent")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(errors.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).rpartition(".")[2] in names for base in node.bases)
    ]
    assert elsewhere == []


def test_the_tree_does_not_depend_on_imports() -> None:
    """A process that imports nothing else knows every class."""
    code = (
        "from fleetctl.core.model.errors import every_error;"
        " print(*(kind.__name__ for kind in every_error()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == [kind.__name__ for kind in every_error()]


@pytest.mark.parametrize("kind", every_error())
def test_each_class_is_made_from_the_fields_on_the_wire(kind: type[FleetError]) -> None:
    made = kind("a summary", subject="an object", next_step="Do it.")
    assert (made.summary, made.subject, made.next_step) == ("a summary", "an object", "Do it.")
    assert made.status == kind.exit_status


def test_a_code_becomes_the_class_nearest_to_the_root() -> None:
    assert type(error_of("tool-failed", "s")) is ToolFailed
    assert type(error_of("invalid-file", "a.yaml:1: s")) is InvalidFile
    assert type(error_of("of-a-later-version", "s", default=ToolFailed)) is ToolFailed
