"""The rules of the house that can be counted."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from fleetctl.cli.command_table import COMMANDS
from tests.house.names import ROOT, SOURCES, every_name, files, share

_MOST_MODULES = 15
_MOST_COLUMNS = 100
# Folders that hold one module for each step of a history or each file of a format.
_LARGE_FOLDERS = {"manager/store/migrations/versions"}
# Class names that two programs need with the same meaning; at most 10.
_SHARED_CLASS_NAMES: set[str] = set()
# What is written in one module only.
_ONE_PLACE = {
    "meta.helm.sh/release-name": "fleetctl/tools/helm_marks.py",
    "helm.sh/resource-policy": "fleetctl/tools/helm_marks.py",
    "application/apply-patch+yaml": "agent/kube/client.py",
    "PR_SET_PDEATHSIG": "fleetctl/tools/process.py",
}
_ENVIRONMENT = {
    "agent/config.py",
    "fleetctl/cli/config.py",
    "fleetctl/tools/process.py",
    "manager/config.py",
}


@cache
def trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in files()}


def test_names_are_nouns_and_functions_are_verbs() -> None:
    """`python -m tests.house.names` lists what is counted."""
    bare, participles = share(every_name())
    assert bare <= 0.01
    assert participles <= 0.03


def test_class_names_are_unique() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(path)
    repeated = {name: paths for name, paths in modules.items() if len(paths) > 1}
    assert {n: p for n, p in repeated.items() if n not in _SHARED_CLASS_NAMES} == {}
    assert len(_SHARED_CLASS_NAMES) <= 10


def test_lines_have_at_most_100_columns() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files((*SOURCES, "tests"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > _MOST_COLUMNS and "noqa: E501" not in line
    ]
    assert long == []


def test_a_folder_has_at_most_15_modules() -> None:
    counts: dict[str, int] = defaultdict(int)
    for path in files((*SOURCES, "tests")):
        if path.name != "__init__.py":
            counts[str(path.parent.relative_to(ROOT))] += 1
    large = {folder: count for folder, count in counts.items() if count > _MOST_MODULES}
    assert large.keys() - _LARGE_FOLDERS == set()


def test_a_command_is_in_the_file_of_its_name() -> None:
    """`fleetctl cluster label` is in …/cluster/label.py, …/cluster.py or …/cluster/group.py."""
    commands = ROOT / "fleetctl/cli/commands"
    names = {
        path.relative_to(commands).with_suffix("").as_posix().replace("_", "-")
        for path in commands.rglob("*.py")
    }
    for name, *_ in COMMANDS:
        endings = [name, f"{name}/group"]
        found = [n for n in names if any(n == end or n.endswith(f"/{end}") for end in endings)]
        assert found, name


@pytest.mark.parametrize(("text", "module"), _ONE_PLACE.items())
def test_a_fixed_text_has_one_place(text: str, module: str) -> None:
    holders = {
        path
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value == text)
        or (isinstance(node, ast.Name) and node.id.strip("_") == text)
    }
    assert holders == {module}


def test_the_environment_is_read_in_the_configuration() -> None:
    readers = {
        path
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers <= _ENVIRONMENT


def test_no_decision_reads_the_text_of_an_error() -> None:
    """Errors are told apart by class, status and reason. helm gives text only: one module has it."""
    places = {
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
        if path != "fleetctl/tools/helm_errors.py"
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for node in _text_tests(handler)
    }
    assert places == set()


def test_rows_are_typed_and_any_is_rare() -> None:
    rows, in_agent = [], 0
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.arg) and node.arg == "row" and _is_any(node.annotation):
                rows.append(f"{path}:{node.lineno}")
        if path.startswith("agent/"):
            in_agent += sum(_is_any(node) for node in ast.walk(tree))
    assert rows == []
    assert in_agent < 60


def _is_any(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def _text_tests(handler: ast.ExceptHandler) -> Iterator[ast.Compare]:
    """Comparisons of a text with the error's text: `"x" in str(error)`, `in error.summary`."""
    pattern = re.compile(rf"^(str\({handler.name}\)|{handler.name}\.(summary|args.*|message))$")
    for node in ast.walk(handler):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            if any(pattern.match(ast.unparse(side)) for side in (node.left, *node.comparators)):
                yield node
