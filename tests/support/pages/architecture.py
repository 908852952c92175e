"""docs/architecture.md, written from the docstrings of the packages and the import contracts:
`python -m tests.support.pages.architecture`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from importlinter.api import read_configuration

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "architecture.md"
PROGRAMS = ("fleetctl", "manager", "agent")
_HEAD = """# Architecture

This page is written by `python -m tests.support.pages.architecture` from the docstrings of the
packages and from `.importlinter`; tests compare it with both.
[life-of-a-commit.md](life-of-a-commit.md) follows one commit through these packages.

fleetctl is three programs over one core:

```
  CLI: fleetctl           manager                    agent, one on each cluster
     |    HTTPS API  --->   |   <---  HTTPS, polls     |
     v                      v                          v
  fleetctl.cli           manager.*                  agent.*
     \\                      |                         /
      `---> fleetctl.client, fleetctl.sources, fleetctl.tools
                            |        (HTTP; Git and charts; helm and kustomize)
                            v
                      fleetctl.core  (pure: no clock, disk, network, process)
```

The manager scans a commit into bundles, decides which cluster gets which bundle and when, and signs
one desired-state document for each cluster. The agent polls for that document, renders each bundle
for its cluster, calls helm, and reports health and drift. Programs never import each other.
"""


def packages(program: str) -> Iterator[Path]:
    """The folders of packages below `program`, in order."""
    yield from sorted(path.parent for path in (ROOT / program).rglob("__init__.py"))


def describe(package: Path) -> str:
    """The docstring of a package as one paragraph. Raises ValueError when there is none."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    if not text:
        raise ValueError(f"{package.relative_to(ROOT)}/__init__.py has no docstring")
    return " ".join(text.split())


def layers() -> Iterator[tuple[str, list[str]]]:
    """Each layered container with its layers from top to bottom."""
    for options in read_configuration(str(ROOT / ".importlinter"))["contracts_options"]:
        if options["type"] == "layers":
            yield _lines(options["containers"])[0], _lines(options["layers"])


def page() -> str:
    parts = [_HEAD]
    for program in PROGRAMS:
        parts.append(f"\n## {program}\n\n| package | what it holds |\n| --- | --- |\n")
        parts += [
            f"| `{path.relative_to(ROOT)}` | {describe(path)} |\n" for path in packages(program)
        ]
    parts.append(
        "\n## Layers\n\nA package imports only from the lines below its own; packages on one"
        " line do not import each other.\nThe lists are complete: a new package needs its line in"
        " `.importlinter`.\n"
    )
    for container, lines in layers():
        parts.append(f"\n### {container}\n\n```\n" + "\n".join(lines) + "\n```\n")
    return "".join(parts)


def _lines(value: object) -> list[str]:
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return [str(line) for line in value] if isinstance(value, list) else []


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
