"""Findings for the kustomizations that a fleet.yaml names: what they load from outside the
bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetctl.core.filetree.tree import inside
from fleetctl.core.formats.yaml import load
from fleetctl.core.lint.codes import Severity
from fleetctl.core.lint.context import as_map, as_str, layers
from fleetctl.core.lint.engine import Finding
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.rendering import kustomization

CODE = "kustomize-outside"


def lint_kustomizations(
    text: bytes, *, files: Mapping[str, File], folder: str = ""
) -> list[Finding]:
    """The findings of the bundle whose fleet.yaml is `text`. Never raises.

    files: the bundle's files by their path in it; folder: what goes before such a path in a
    finding, with its last slash.
    """
    try:
        document = load(text)
    except InvalidFile:
        return []  # `lint` reports it
    folders = sorted(set(_folders(document if isinstance(document, dict) else {})))
    problems = (p for name in folders for p in kustomization.problems(files, name, with_chart=True))
    return list(dict.fromkeys(_finding(problem, folder) for problem in problems))


def _folders(document: dict[str, Any]) -> Iterator[str]:
    for layer in layers(document, None):
        name = inside(as_str(as_map(layer.all.get("kustomize")).get("dir")) or ".")
        if name is not None:
            yield name


def _finding(problem: InvalidFile, folder: str) -> Finding:
    place = problem.file + "".join(f":{n}" for n in (problem.line, problem.column) if n)
    return Finding(
        severity=Severity.ERROR,
        code=CODE,
        file=folder + problem.file,
        line=problem.line or 1,
        column=problem.column or 1,
        path="",
        summary=problem.summary.removeprefix(f"{place}: "),
        next_step=problem.next_step,
    )
