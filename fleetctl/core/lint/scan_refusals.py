"""What the scan of one bundle refuses, as findings: `validate` and the manager must agree."""

from __future__ import annotations

import posixpath
import re

from fleetctl.core.documents.convert import Path, dotted_path, find_place
from fleetctl.core.documents.fleet_yaml import FleetYaml, parse_document
from fleetctl.core.documents.gitrepo import DrivenBundle, GitRepoSpec, RepoSpec
from fleetctl.core.filetree.tree import Index
from fleetctl.core.formats.yaml import YamlDocument, load_one
from fleetctl.core.lint.codes import Severity
from fleetctl.core.lint.engine import Finding
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import CommitId, RepoName, Workspace
from fleetctl.core.scan.scan import scan

_KEY = re.compile(r"((?:[A-Za-z]+\.)*[A-Za-z]+)[: ]")


def refusals(tree: Index, file: str, *, file_name: str) -> list[Finding]:
    """The problems of the bundle with the fleet.yaml `file` of `tree`, each at the key that it
    names. Never raises.

    A bundle whose values files are outside `tree` is not judged: they may be there in the
    repository.
    """
    folder, _, name = file.rpartition("/")
    try:
        document = load_one(tree.read(file).data, file=file, strict=True)
        if _reads_outside(parse_document(document, file=file), folder):
            return []
        spec = GitRepoSpec(repo=".", bundles=[DrivenBundle(base=folder or ".", options=name)])
        repo = RepoSpec(workspace=Workspace("fleet-default"), name=RepoName("repo"), spec=spec)
        result = scan(tree, repo, commit=CommitId(""))
    except FleetError as error:
        return [
            _finding(
                error.summary,
                error.next_step,
                YamlDocument(None, {}, find_place({}, ())),
                file,
                file_name,
            )
        ]
    return [
        _finding(problem.summary, problem.next_step, document, file, file_name)
        for problem in result.problems
        if problem.code != "no-bundles"
    ]


def _reads_outside(fleet: FleetYaml, folder: str) -> bool:
    options = (fleet.options, *(t.options for t in (*fleet.targets, *fleet.customizations)))
    names = [name for o in options if o.helm for name in o.helm.values_files or []]
    return any(posixpath.normpath(posixpath.join(folder, name)).startswith("..") for name in names)


def _finding(
    summary: str, next_step: str, document: YamlDocument, file: str, file_name: str
) -> Finding:
    text = re.sub(rf"^{re.escape(file)}(?::\d+)*: ", "", summary)
    key = _KEY.match(text)
    path: Path = (
        tuple(key[1].split(".")) if key and key[1].split(".")[0] in (document.value or {}) else ()
    )
    place = find_place(document.places, path)
    return Finding(
        severity=Severity.ERROR,
        code="refused",
        file=file_name,
        line=place.line or 1,
        column=place.column or 1,
        path=dotted_path(path),
        summary=text,
        next_step=next_step,
    )
