"""`fleetctl validate`: everything that is wrong, or hardly meant, in the fleet.yaml files of a folder, a commit or one file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import counted
from fleetctl.cli.offline import text_of
from fleetctl.core.errors import NotFound
from fleetctl.core.lint import Finding, Severity, kind_of, lint, lint_ignore, lint_manifest
from fleetctl.core.lintcodes import RULES

_NAMES = ("fleet.yaml", "fleet.yml")
FOUND = 1


class Report(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def validate(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Folder, file, CLONE@REVISION, or - for standard input; else this folder."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    output: Annotated[Report, typer.Option("-o", "--output", help="Form of the answer.")] = Report.TEXT,
) -> int:
    """Check fleet.yaml files, .fleetignore lines, and GitRepo, Cluster, ClusterGroup and Schedule manifests; exit status 1 for errors."""
    files = 0
    found: list[Finding] = []
    for path in paths or ["."]:
        for _, findings in _checked(path):
            files += 1
            found += findings
    errors = sum(f.severity is Severity.ERROR for f in found)
    if output is Report.TEXT:
        for finding in found:
            _line(finding)
    else:
        out.document(sarif(found) if output is Report.SARIF else [_plain(f) for f in found], out.Format.JSON)
    if not files:
        raise NotFound("no fleet.yaml was found", subject=", ".join(paths or ["."]), next_step="Name another folder, or a file.")
    out.say(f"{counted(files, 'file')}, {counted(errors, 'error')}, {counted(len(found) - errors, 'warning')}")
    return FOUND if errors or (strict and found) else 0


def _checked(path: str) -> Iterator[tuple[str, list[Finding]]]:
    """(file, findings) of each file below `path`."""
    from fleetctl.sources.local import open_local

    if path == "-" or Path(path).is_file():
        yield path, _one_file(path)
        return
    tree = open_local(path)
    root = "" if path in {".", "./"} else path.rstrip("/") + ("/" if "@" not in path or Path(path).is_dir() else ":")
    for file in tree.paths():
        folder, _, name = file.rpartition("/")
        start = f"{folder}/" if folder else ""
        if name in _NAMES or name == ".fleetignore":
            mine = [p.removeprefix(start) for p in tree.paths() if p.startswith(start) and p != file]
            check = lint_ignore if name == ".fleetignore" else lint
            yield file, check(tree.read(file).data, file=root + file, files=mine)


def _one_file(path: str) -> list[Finding]:
    text = text_of(Path(path))
    shown = "fleet.yaml" if path == "-" else path
    if kind_of(text) != "fleet.yaml":
        return lint_manifest(text, file=shown)
    return lint(text, file=shown, files=None if path == "-" else _beside(Path(path)))


def _beside(path: Path) -> Collection[str]:
    folder = path.parent
    return [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and f != path and ".git" not in f.parts]


def _line(finding: Finding) -> None:
    place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
    out.line(f"{place}: {finding.severity}: {finding.summary} [{finding.code}]")
    if finding.next_step:
        out.line(f"  {finding.next_step}")


def _plain(finding: Finding) -> dict[str, Any]:
    import msgspec

    made: dict[str, Any] = msgspec.to_builtins(finding)
    return made


def sarif(found: list[Finding]) -> dict[str, Any]:
    """SARIF 2.1.0 (OASIS), as code scanning takes it."""
    rules = [
        {"id": r.code, "shortDescription": {"text": r.text}, "defaultConfiguration": {"level": r.severity.value}} for r in RULES.values()
    ]
    index = {rule["id"]: at for at, rule in enumerate(rules)}
    results = [
        {
            "ruleId": f.code,
            "ruleIndex": index[f.code],
            "level": f.severity.value,
            "message": {"text": f"{f.summary}. {f.next_step}".rstrip()},
            "locations": [_location(f)],
        }
        for f in found
    ]
    driver = {"name": "fleetctl", "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _location(finding: Finding) -> dict[str, Any]:
    from urllib.parse import quote

    place: dict[str, Any] = {"artifactLocation": {"uri": quote(finding.file.removeprefix("./"))}}
    if finding.line:
        place["region"] = {"startLine": finding.line, "startColumn": max(1, finding.column)}
    return {"physicalLocation": place}
