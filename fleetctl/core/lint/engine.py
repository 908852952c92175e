"""What is wrong, or hardly meant, in a fleet.yaml: all of it at once, each with its place and what
to do.

Rule: an error is what fleetctl refuses, when it reads the file, when it scans the repository or on
a cluster; a warning is what it takes and what has no effect, or another one than it seems to have.
Whatever `fleetyaml.parse` refuses is an error here, and the reading goes on behind it. `# fleetctl:
ignore[CODE]` at the end of a line silences a warning there; an error cannot be silenced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fleetctl.core.documents import fields
from fleetctl.core.documents.convert import Path, dotted_path, find_place
from fleetctl.core.documents.fleet_yaml import IMAGE_SCANS_STEP, parse_document
from fleetctl.core.documents.json_schema import documents
from fleetctl.core.documents.manifests import is_fleets, objects
from fleetctl.core.formats.yaml import SourcePlace, YamlDocument, load_one, read
from fleetctl.core.formats.yaml_stream import is_object
from fleetctl.core.lint import rules_files, rules_general
from fleetctl.core.lint.codes import RULES, Severity
from fleetctl.core.lint.objects import check_manifest, is_data
from fleetctl.core.lint.types import (
    Checker,
    TypeFinding,
    canonical,
    manifest,
    no_criterion,
    states_criterion,
)
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.rollout.strategy import mistakes

__all__ = ["RULES", "Finding", "Severity", "is_manifest", "lint", "lint_ignore", "lint_manifest"]
_IGNORE = re.compile(r"#\s*fleetctl:\s*ignore\[([\w\s,-]*)\]")


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`line` and `column` count from 1; `path` is the key, `helm.valuesFiles[0]`, or "" for the
    whole file.
    """

    severity: Severity
    code: str
    file: str
    line: int
    column: int
    path: str
    summary: str
    next_step: str


def lint(
    text: bytes, *, file: str = "fleet.yaml", files: Collection[str] | None = None
) -> list[Finding]:
    """The findings in one fleet.yaml, in the order of its lines. Never raises.

    files: paths of the bundle's other files, relative to the folder of `file`; None when they are
    not known.
    """
    if file.rpartition("/")[2] == "fleet.yml" and "fleet.yaml" in (files or ()):
        finding = TypeFinding(
            "both-fleet-files",
            (),
            "is not read: fleet.yaml is in the same folder and wins",
            "Keep one of the two files.",
        )
        return _place_findings([finding], file, {}, text)
    try:
        document = load_one(text, file=file, strict=True)
    except InvalidFile as error:
        return [_of_error(error, "yaml", file)]
    if document.value is None:
        return []
    checker = Checker("fleet.yaml", fields.FLEET_YAML)
    root = documents()["fleet.yaml"].root
    type_findings = list(checker.mistakes(document.value, root, ()))
    if isinstance(document.value, dict):
        value = canonical(document.value, root)
        type_findings += _senseless(value)
        type_findings += [
            TypeFinding(*item)
            for item in rules_general.advice(value, None if files is None else frozenset(files))
        ]
    findings = _place_findings(type_findings, file, document.places, text)
    if not any(f.severity is Severity.ERROR for f in findings):
        findings = [*_findings_of_refusal(document, file), *findings]
    return findings


def lint_ignore(text: bytes, *, file: str, files: Collection[str]) -> list[Finding]:
    """The lines of a .fleetignore that match nothing. files: paths below its folder, relative to
    it.
    """
    findings = [
        TypeFinding("ignore-line", (at,), summary, step)
        for at, summary, step in rules_files.ignored_lines(text, files)
    ]
    return _place_findings(
        findings, file, {item.path: SourcePlace(int(item.path[0]), 1) for item in findings}, text
    )


def lint_manifest(
    text: bytes, *, file: str, check_zone: Callable[[str], object] = str
) -> list[Finding] | None:
    """The mistakes in all objects of a file that `fleetctl apply` takes, also those in a List; None
    when it has none. Never raises. `check_zone` raises UsageError for a time zone that does not
    exist.
    """
    try:
        parsed_documents = read(text, file=file, strict=True, places=True)
    except InvalidFile as error:
        return [_of_error(error, "yaml", file)]
    manifests = [
        (d, value, path)
        for d in parsed_documents
        for value, path in objects(d.value)
        if is_fleets(value) or is_data(value)
    ]
    if not manifests:
        return None
    findings: list[Finding] = []
    for document, value, path in manifests:
        mistakes = list(manifest(value, path)) if is_fleets(value) else []
        if not any(RULES[item.code].severity is Severity.ERROR for item in mistakes):
            mistakes += check_manifest(value, path, check_zone)
        findings += _place_findings(mistakes, file, document.places, text)
    return findings


def is_manifest(text: bytes) -> bool:
    """Whether a file holds Kubernetes objects, of any group; a fleet.yaml does not."""
    try:
        return any(
            is_object(value) for document in read(text) for value, _ in objects(document.value)
        )
    except InvalidFile:
        return False


def _senseless(document: Mapping[str, Any]) -> Iterator[TypeFinding]:
    """What every type allows and `parse` refuses all the same."""
    for key in ("targetCustomizations", "targets", "overrideTargets"):
        for at, item in enumerate(_list(document.get(key))):
            if isinstance(item, dict) and not states_criterion(item):
                yield no_criterion((key, at))
    for at, item in enumerate(_list(document.get("dependsOn"))):
        if isinstance(item, dict) and not item.get("name") and item.get("selector") is None:
            yield TypeFinding(
                "empty-dependency",
                ("dependsOn", at),
                "the entry names neither a bundle nor a selector",
                "Write `name:`.",
            )
    if document.get("imageScans"):
        yield TypeFinding(
            "refused",
            ("imageScans",),
            "`imageScans`: images are not updated in Git in this version",
            IMAGE_SCANS_STEP,
        )
    strategy = document.get("rolloutStrategy")
    for mistake in mistakes(strategy) if isinstance(strategy, dict) else ():
        if mistake.path in {("approval",), ("onFailure",)}:
            continue  # a word that is none of the key's choices is reported with its type
        yield TypeFinding(
            "invalid-value",
            ("rolloutStrategy", *mistake.path),
            f"`rolloutStrategy`: {mistake.summary}",
            mistake.next_step,
        )


def _findings_of_refusal(document: YamlDocument, file: str) -> list[Finding]:
    """The net below: what `parse_document` refuses and nothing above has seen."""
    try:
        parse_document(document, file=file)
    except InvalidFile as error:
        return [_of_error(error, "refused", file)]
    return []


def _of_error(error: InvalidFile, code: str, file: str) -> Finding:
    summary = error.summary.removeprefix(
        file
        + (f":{error.line}" if error.line else "")
        + (f":{error.column}" if error.line and error.column else "")
    )
    return Finding(
        severity=Severity.ERROR,
        code=code,
        file=file,
        line=error.line or 1,
        column=error.column or 1,
        path="",
        summary=summary.removeprefix(": "),
        next_step=error.next_step,
    )


def _place_findings(
    items: Iterable[TypeFinding], file: str, places: Mapping[Path, SourcePlace], text: bytes
) -> list[Finding]:
    silenced = silenced_codes(text)
    findings: list[Finding] = []
    for item in dict.fromkeys(items):
        place, severity = _place(places, item.path), RULES[item.code].severity
        if severity is Severity.WARNING and item.code in silenced.get(place.line, ()):
            continue
        findings.append(
            Finding(
                severity=severity,
                code=item.code,
                file=file,
                line=place.line,
                column=place.column,
                path=dotted_path(item.path),
                summary=item.summary,
                next_step=item.next_step,
            )
        )
    return sorted(findings, key=lambda f: (f.line, f.column, f.code))


def _place(places: Mapping[Path, SourcePlace], path: Path) -> SourcePlace:
    place = find_place(places, path)
    return place if place.line else SourcePlace(1, 1)


def silenced_codes(text: bytes) -> dict[int, set[str]]:
    """The codes that `# fleetctl: ignore[CODE]` silences, by line."""
    if b"fleetctl:" not in text:
        return {}
    codes_by_line: dict[int, set[str]] = {}
    for at, line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        codes = _IGNORE.search(line)
        if codes:
            codes_by_line[at] = {code.strip() for code in codes[1].split(",")}
    return codes_by_line


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
