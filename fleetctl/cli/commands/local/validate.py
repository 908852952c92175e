"""`fleetctl validate`: checks the fleet.yaml files of a folder or a commit, or one file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.preview.request import text_of
from fleetctl.core.filetree.tree import Index, Tree
from fleetctl.core.lint.codes import RULES
from fleetctl.core.lint.duplicate_objects import lint_duplicates
from fleetctl.core.lint.engine import (
    Finding,
    Severity,
    is_manifest,
    lint,
    lint_ignore,
    lint_manifest,
)
from fleetctl.core.lint.kustomizations import lint_kustomizations
from fleetctl.core.lint.scan_refusals import refusals
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile, NotFound, UsageError
from fleetctl.zones import zone_of

_NAMES = ("fleet.yaml", "fleet.yml")
FINDINGS_STATUS = 1


class ReportFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def validate(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help=(
                "Folder, file, CLONE@REVISION, or - for standard input. The default is the "
                "present folder."
            ),
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    output: Annotated[
        ReportFormat, typer.Option("-o", "--output", help="Output format.")
    ] = ReportFormat.TEXT,
) -> int:
    """Check fleet.yaml files, .fleetignore files, and manifests of the kinds that `fleetctl apply`
    takes.

    The exit status is 1 if there are errors.
    """
    files = 0
    findings: list[Finding] = []
    for path in paths or ["."]:
        for _, file_findings in _check_path(path):
            files += 1
            findings += file_findings
    errors = sum(f.severity is Severity.ERROR for f in findings)
    if output is ReportFormat.TEXT:
        for finding in findings:
            _line(finding)
    else:
        out.document(
            sarif(findings) if output is ReportFormat.SARIF else [_plain(f) for f in findings],
            out.Format.JSON,
        )
    if not files:
        return _scan_folders(paths or ["."], strict=strict)
    out.say(
        f"{format_count(files, 'file')}, {format_count(errors, 'error')},"
        f" {format_count(len(findings) - errors, 'warning')}"
    )
    return FINDINGS_STATUS if errors or (strict and findings) else 0


def _scan_folders(paths: list[str], *, strict: bool) -> int:
    """Checks folders without any fleet.yaml, since manifests and charts alone make bundles too.
    Returns the exit status.
    """
    from fleetctl.cli.preview.request import preview_request
    from fleetctl.cli.preview.scan import report_problems, scan_drafts

    bundles, has_problems = 0, False
    for path in paths:
        drafts, problems, warnings = scan_drafts(
            path, preview_request(path, "", "", [], None, None)
        )
        if not drafts:
            continue
        bundles += len(drafts)
        duplicates = [warning for warning in warnings if warning.code == "duplicate-object"]
        status = report_problems(problems, duplicates)
        has_problems = has_problems or bool(status) or (strict and bool(duplicates))
    if not bundles:
        step = "Name another folder, or a file."
        raise NotFound(
            "no fleet.yaml was found, and no manifest or chart",
            subject=", ".join(paths),
            next_step=step,
        )
    out.say(f"no fleet.yaml; {format_count(bundles, 'bundle')} of manifests or charts")
    return FINDINGS_STATUS if has_problems else 0


def _check_path(path: str) -> Iterator[tuple[str, list[Finding]]]:
    """(file, findings) of each file below `path`. Raises UsageError when there is no such path."""
    from fleetctl.sources.local_tree import open_local

    if path == "-" or Path(path).is_file():
        yield path, _one_file(path)
        return
    try:
        tree = open_local(path)
    except NotFound as error:
        raise UsageError(error.summary, subject=error.subject, next_step=error.next_step) from error
    root = (
        ""
        if path in {".", "./"}
        else path.rstrip("/") + ("/" if "@" not in path or Path(path).is_dir() else ":")
    )
    index = Index(tree)
    for file in sorted([*tree.paths(), *tree.links()], key=str.encode):
        folder, _, name = file.rpartition("/")
        start = f"{folder}/" if folder else ""
        if name in _NAMES or name == ".fleetignore":
            files = [
                p.removeprefix(start)
                for p in (*index.below(folder), *index.links_in(folder))
                if p != file
            ]
            try:
                data = index.read(file).data
            except InvalidFile:
                yield file, refusals(index, file, file_name=root + file)
                continue
            if name == ".fleetignore":
                yield file, lint_ignore(data, file=root + file, files=files)
            else:
                yield (
                    file,
                    _with_scan(
                        lint(data, file=root + file, files=files), tree, index, file, root + file
                    ),
                )


def _with_scan(
    findings: list[Finding], tree: Tree, index: Index, file: str, display_name: str
) -> list[Finding]:
    """The findings of the fleet.yaml, of its kustomizations and manifests, and what a scan of the
    bundle refuses.
    """
    folder = file[: file.rfind("/") + 1]
    text, files = index.read(file).data, _Files(tree, folder)
    display_folder = display_name.removesuffix(file) + folder
    findings = [
        *findings,
        *lint_kustomizations(text, files=files, folder=display_folder),
        *lint_duplicates(text, tree=index, directory=folder.rstrip("/"), folder=display_folder),
    ]
    if any(f.severity is Severity.ERROR or f.code == "both-fleet-files" for f in findings):
        return findings
    return [*refusals(index, file, file_name=display_name), *findings]


def _one_file(path: str) -> list[Finding]:
    text = text_of(Path(path))
    display_name = "fleet.yaml" if path == "-" else path
    if Path(path).name not in _NAMES and is_manifest(text):
        findings = lint_manifest(text, file=display_name, check_zone=zone_of)
        if findings is None:
            out.say(f"{display_name}: not an object for `fleetctl apply`, not checked")
        return findings or []
    if path == "-":
        return lint(text, file=display_name)
    findings = lint(text, file=display_name, files=_beside(Path(path)))
    if Path(path).name not in _NAMES:
        return findings
    from fleetctl.sources.local_tree import open_local

    tree = open_local(str(Path(path).parent))
    if tree.links():
        return findings  # they may lead to other folders of the repository, which is not known here
    return _with_scan(findings, tree, Index(tree), Path(path).name, display_name)


def _beside(path: Path) -> Collection[str]:
    folder = path.parent
    return [
        f.relative_to(folder).as_posix()
        for f in folder.rglob("*")
        if f.is_file() and f != path and ".git" not in f.parts
    ]


class _Files(Mapping[str, File]):
    """The files of `tree` below the folder `start` (with its last slash); each is read when it is
    needed.
    """

    def __init__(self, tree: Tree, start: str) -> None:
        self._tree, self._start = tree, start
        self._names = {path.removeprefix(start) for path in tree.paths() if path.startswith(start)}

    def __getitem__(self, name: str) -> File:
        if name not in self._names:
            raise KeyError(name)
        return self._tree.read(self._start + name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _line(finding: Finding) -> None:
    place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
    out.line(f"{place}: {finding.severity}: {finding.summary} [{finding.code}]")
    if finding.next_step:
        out.line(f"  {finding.next_step}")


def _plain(finding: Finding) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(finding)
    return document


def sarif(findings: list[Finding]) -> dict[str, Any]:
    """SARIF 2.1.0 (OASIS), as code scanning takes it."""
    rules = [
        {
            "id": r.code,
            "shortDescription": {"text": r.text},
            "defaultConfiguration": {"level": r.severity.value},
        }
        for r in RULES.values()
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
        for f in findings
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
