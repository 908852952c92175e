"""Imports inside functions of the agent: a short list, each with what it saves.

An agent runs for years and keeps every module that it has imported. Measured in CPU time of a
start of `fleet-agent run` up to its loops (the least of eight runs on two busy cores): httpx takes
17 %, its loops and what they drive 25 %, asyncio 10 %, helm and rendering 12 %, templates 4 %.
"""

from __future__ import annotations

import ast
from pathlib import Path

AGENT = Path(__file__).parents[2] / "agent"
# file, function: why it imports there
ALLOWED = {
    # Each command imports only what it needs: `version` and `status` take half of the CPU of
    # `run`; what `check` imports beyond `run` is 32 ms and 0.4 MiB.
    ("app.py", "_run_command"),
    ("app.py", "_run_agent"),
    # Most agents never enrol in `run`: 9 ms.
    ("run.py", "_load_or_enrol"),
    # cryptography.x509: 42 ms and 0.9 MiB.
    ("controlplane/pinned_ca.py", "fetch_ca"),
    # Only agents with sealed values use X25519 and ChaCha20: 8 ms and 0.1 MiB.
    ("controlplane/sealed.py", "open_sealed"),
}


def imports_in_functions() -> set[tuple[str, str]]:
    places = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                isinstance(part, ast.Import | ast.ImportFrom) for part in ast.walk(node)
            ):
                places.add((str(path.relative_to(AGENT)), node.name))
    return places


def test_imports_inside_functions_are_on_the_list() -> None:
    assert imports_in_functions() - ALLOWED == set()
