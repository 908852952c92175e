"""Random numbers that spread work over time."""

from __future__ import annotations

import ast
from pathlib import Path

from fleetctl import jitter

ROOT = Path(__file__).parents[2]
PROGRAMS = ("fleetctl", "manager", "agent")


def test_numbers_are_in_their_range() -> None:
    assert all(0 <= jitter.fraction() < 1 for _ in range(100))
    assert all(2 <= jitter.between(2, 3) <= 3 for _ in range(100))


def test_no_other_module_imports_random() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for program in PROGRAMS
        for path in (ROOT / program).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names)
    }
    assert importers == {"fleetctl/jitter.py"}
