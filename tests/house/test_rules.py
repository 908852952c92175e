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
_PRAGMA = re.compile(r"\s+# (noqa|type:).*")
# Folders that hold one module for each step of a history or each file of a format.
_LARGE_FOLDERS = {"manager/store/migrations/versions"}
# Class names that two programs need with the same meaning; at most 10.
_SHARED_CLASS_NAMES: set[str] = set()
# What is written in one module only.
_ONE_PLACE = {
    "meta.helm.sh/release-name": "fleetctl/tools/helm_marks.py",
    "helm.sh/resource-policy": "fleetctl/tools/helm_marks.py",
    "application/apply-patch+yaml": "agent/kube/client.py",
    "PR_SET_PDEATHSIG": "fleetctl/tools/parent_death.py",
}
_ENVIRONMENT = {
    "agent/config.py",
    "agent/packaging/bootstrap.py",  # runs before the package of the agent can be imported
    "fleetctl/cli/config.py",
    "fleetctl/environment.py",
    "fleetctl/sources/git/child.py",  # sets the environment of a fork
    "manager/config.py",
}
# Modules that translate errors which have a text and nothing else: helm's, and dulwich's.
_TEXT_ONLY = {"fleetctl/sources/git/child.py", "fleetctl/tools/helm_errors.py"}


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
    """A long word, such as a regular expression or an address, may be longer."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(_PRAGMA.sub("", line)) > _MOST_COLUMNS
        if " " in line.strip() and "https://" not in line and "noqa: E501" not in line
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
        if not path.startswith("examples/")
    }
    assert readers == _ENVIRONMENT


def test_no_decision_reads_the_text_of_an_error() -> None:
    """Errors are told apart by class, status and reason."""
    places = {
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
        if path not in _TEXT_ONLY
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for node in _text_tests(handler)
    }
    assert places == set()


def test_rows_are_typed_and_any_is_rare() -> None:
    rows = [
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.arg == "row" and _is_any(node.annotation)
    ]
    assert rows == []
    agent = [tree for path, tree in trees().items() if path.startswith("agent/")]
    assert sum(_is_any(node) for tree in agent for node in ast.walk(tree)) < 60


def _is_any(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def _text_tests(handler: ast.ExceptHandler) -> Iterator[ast.Compare]:
    """Comparisons of a text with the error's text: `"x" in str(error)`, `in error.summary`."""
    pattern = re.compile(rf"^(str\({handler.name}\)|{handler.name}\.(summary|args.*|message))$")
    for node in ast.walk(handler):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.In | ast.NotIn):
            continue
        if any(pattern.match(ast.unparse(side)) for side in (node.left, *node.comparators)):
            yield node
