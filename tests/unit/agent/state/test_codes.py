"""Every word that an agent reports has a hint, and every hint of the agent's is for a word that it
can report.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from agent.state import attempts
from agent.state.conditions import DISK
from fleetctl.core.model.cause_codes import AGENT, BUNDLE, CODES, MANAGER, hint_of
from fleetctl.core.model.errors import (
    RangeError,
    SessionEnded,
    SlowRequest,
    TemplateError,
    TooBusy,
    WrongClock,
    WrongMethod,
    every_error,
)

ROOT = Path(__file__).parents[4]
SOURCES = [
    *sorted((ROOT / "agent").rglob("*.py")),
    *sorted((ROOT / "fleetctl" / "tools").rglob("*.py")),
]
# Raised by the manager alone, or before an agent gets the bundle; an agent never reports them.
OF_MANAGER = {
    RangeError,
    SessionEnded,
    SlowRequest,
    TemplateError,
    TooBusy,
    WrongClock,
    WrongMethod,
}


def of_errors() -> set[str]:
    """Return the code of each error that an agent can report."""
    return {kind.code for kind in every_error() if kind not in OF_MANAGER}


def written(tree: ast.Module) -> Iterator[str]:
    """`at.say("code", …)` with a literal or a constant of the module, `failure_of("code", …)`,
    `code="code"`, and what `describe_error` returns.
    """
    constants = {
        target.id: value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target, value in _pairs(node)
        if isinstance(target, ast.Name)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"say", "stop"}
            and node.args
        ):
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
            elif isinstance(first, ast.Name) and first.id in constants:
                yield constants[first.id]
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "code"
            and isinstance(node.value, ast.Constant)
        ):
            yield str(node.value.value)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "failure_of"
            and node.args
        ):
            yield from (
                str(first.value) for first in node.args[:1] if isinstance(first, ast.Constant)
            )
        elif isinstance(node, ast.FunctionDef) and node.name == "describe_error":
            for part in ast.walk(node):
                if (
                    isinstance(part, ast.Return)
                    and isinstance(part.value, ast.Tuple)
                    and isinstance(part.value.elts[0], ast.Constant)
                ):
                    yield str(part.value.elts[0].value)


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def codes() -> set[str]:
    found = of_errors() | set(DISK) | {attempts.CODE}
    for path in SOURCES:
        found |= set(written(ast.parse(path.read_text())))
    return {code for code in found if code}


def test_every_code_has_a_hint_and_no_other() -> None:
    """Whatever an agent can report has a row in core/codes.py, and every row of the agent's is a
    word that it can report.
    """
    rows = [*AGENT, *BUNDLE]
    known = {row.code for row in rows}
    assert codes() - known == set()
    assert known - codes() == set()
    assert len(CODES) == len(rows) + len(MANAGER), "a word stands twice"
    assert all(row.meaning and row.hint for row in CODES.values())


def test_the_page_says_what_the_table_says() -> None:
    """A row each in docs/agent-codes.md: what it means, and what to do, word for word."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (.+) \| (.+) \|$",
        (ROOT / "docs" / "agent-codes.md").read_text(),
        re.MULTILINE,
    )
    assert rows == [tuple(row) for row in (*AGENT, *BUNDLE, *MANAGER)]


def test_a_hint_names_what_is_at_hand() -> None:
    """The names stand in the command, so that it can be pasted."""
    assert hint_of("held", cluster="paris", bundle="web") == "`fleetctl why paris web`"
    assert hint_of("modified", bundle="web").startswith("`fleetctl bundle diff web`")
    assert hint_of("of-a-later-agent") == ""


def test_every_thing_that_check_looks_at_is_documented() -> None:
    """The table of docs/operations.md names each finding's word."""
    words: set[str] = set()
    for path in (ROOT / "agent" / "diagnostics").glob("check*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"CheckFinding", "failure", "attempt"}
            ):
                words |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith(
                ("subject", "(subject")
            ):
                first = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                words |= {first.value} if isinstance(first, ast.Constant) else set()
    table = (
        (ROOT / "docs" / "operations.md")
        .read_text()
        .partition("| what `check` looks at |")[2]
        .partition("\n\n")[0]
    )
    shown = {
        word.strip()
        for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
        for word in row.split(",")
    }
    assert len(words) > 15
    assert words - shown == set()


def test_the_reader_finds_what_is_there() -> None:
    """A test that finds nothing would be content with everything."""
    assert {
        "clock-skew",
        "document-expired",
        "dependency",
        "behind",
        "bug",
        "disk-full",
        "duplicate-agent",
        "helm-alive",
    } <= codes()
