"""docs/architecture.md and docs/life-of-a-commit.md state what the code is."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.pages.architecture import PAGE, PROGRAMS, ROOT, describe, packages, page

LIFE = ROOT / "docs" / "life-of-a-commit.md"
# A step names its file and function: `manager/ingest/scanner.py` `Scanner.run`.
_STEP = re.compile(r"`([\w/]+\.py)`(?: (?:`(\w+(?:\.\w+)*)`))?")


def test_the_page_is_written_from_the_packages_and_the_contracts() -> None:
    assert PAGE.read_text("utf-8") == page()


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_package_says_what_it_holds(program: str) -> None:
    for package in packages(program):
        assert describe(package).endswith("."), package


def test_the_life_of_a_commit_names_files_and_functions_that_exist() -> None:
    steps = _STEP.findall(LIFE.read_text("utf-8"))
    assert len(steps) >= 25
    for file, name in steps:
        path = ROOT / file
        assert path.is_file(), file
        if name:
            assert name in _names(path.read_text("utf-8")), f"{file} {name}"


def _names(source: str) -> set[str]:
    """The functions, classes and methods of a module."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{child.name}"
                for child in node.body
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names
