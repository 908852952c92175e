"""Computes the bundles of a commit from its tree. The scan is pure: the manager, the tests and a
preview get the same bundles from the same commit.

Rule: every directory that a GitRepo's `paths` name is one bundle if it holds a fleet.yaml or any
YAML file that belongs to no inner bundle, and so is every directory below it that holds a
fleet.yaml (fleet.yml when there is no fleet.yaml). `bundles` name directories and stop the search.
An error in one bundle is a problem beside the other bundles. A scan with problems is not complete,
and only a complete scan may remove bundles (I7).

Source: rancher/fleet `bundlereader` and `apply`, checked against the output of Fleet for its own
examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import msgspec

from fleetctl.core.charts.reference import (
    ChartRequest,
)
from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import Index, Tree
from fleetctl.core.formats.bundle_archive import archive_digest, pack
from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import ClusterId, ClusterName, CommitId, Workspace
from fleetctl.core.scan.bundle_checks import check_storable
from fleetctl.core.scan.bundle_directories import DirectoryPlace, find_places
from fleetctl.core.scan.draft import Draft, build_draft, fingerprint_of, note_warning
from fleetctl.core.scan.problems import (
    EMPTY,
    ScanProblem,
    internal_problem,
    problem_of,
    shown_directory,
)
from fleetctl.core.targeting.target import select

# A bundle whose targets cannot be judged for it is a problem here, before anything depends on it.
_ANY_CLUSTER = Cluster(workspace=Workspace(""), name=ClusterName("any"), id=ClusterId("any"))


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """`warnings` block nothing. `unread`: paths that the search does not enter although a bundle
    may have been there: links, submodules, folders with names that no bundle can hold.
    """

    drafts: list[Draft]
    problems: list[ScanProblem]
    warnings: list[ScanProblem] = []
    unread: list[str] = []


class ScannedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """`archive` is empty for a bundle of an earlier scan. `fingerprint`: as in Draft; "" if charts
    were fetched.
    """

    spec: BundleSpec
    archive: bytes
    fingerprint: str = ""


def scan(
    tree: Tree | Index,
    repo: RepoSpec,
    *,
    commit: CommitId,
    earlier_bundles: Mapping[str, BundleSpec] | None = None,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Scan:
    """The bundles of `repo` at `commit`, sorted by name, and the problems of other bundles.

    `earlier_bundles`: bundles of an earlier scan by their fingerprint; unchanged bundles are not
    read again.
    `guard`: surrounds the work on each bundle, and may raise a FleetError.
    """
    drafts: dict[str, Draft] = {}
    duplicate_names: set[str] = set()
    problems: list[ScanProblem] = []
    warnings = [note_warning("", f"GitRepo {repo.name}", note) for note in repo.notes]
    index = tree if isinstance(tree, Index) else Index(tree)
    for place in find_places(index, repo, problems, warnings):
        draft = _draft_or_problem(index, repo, place, commit, earlier_bundles, guard)
        if isinstance(draft, ScanProblem):
            problems.append(draft)
            continue
        warnings += draft.warnings
        if not draft.files and not draft.charts and not draft.is_made:
            warnings.append(_empty_warning(place.directory))
            continue
        first_draft = drafts.setdefault(draft.spec.name, draft)
        if first_draft is not draft:
            duplicate_names.add(draft.spec.name)
            problems.append(_duplicate_name_problem(first_draft, draft, place.directory))
    if not drafts and not problems:
        problems.append(_no_bundles_problem(repo))
    unique_drafts = [drafts[name] for name in sorted(drafts.keys() - duplicate_names)]
    return Scan(drafts=unique_drafts, problems=problems, warnings=warnings, unread=index.unread())


def _draft_or_problem(
    index: Index,
    repo: RepoSpec,
    place: DirectoryPlace,
    commit: CommitId,
    earlier_bundles: Mapping[str, BundleSpec] | None,
    guard: Callable[[], AbstractContextManager[None]],
) -> Draft | ScanProblem:
    try:
        with guard():
            draft = _find_unchanged(index, repo, place, commit, earlier_bundles)
            draft = draft or build_draft(index, repo, place, commit)
            any_cluster = msgspec.structs.replace(_ANY_CLUSTER, workspace=draft.spec.workspace)
            select(draft.spec, [any_cluster], [])
            check_storable(draft.spec)
            return draft
    except FleetError as error:
        return problem_of(place.directory, error)
    except (Exception, MemoryError) as error:
        return internal_problem(place.directory, error)


def _empty_warning(directory: str) -> ScanProblem:
    summary = f"{shown_directory(directory)} holds no file to deploy"
    return ScanProblem(path=directory, code=EMPTY, summary=summary, warning=True)


def _duplicate_name_problem(first_draft: Draft, draft: Draft, directory: str) -> ScanProblem:
    directories = f"{shown_directory(first_draft.spec.path)} and {shown_directory(directory)}"
    return ScanProblem(
        path=directory,
        code="name-twice",
        summary=f"{directories} are both named {draft.spec.name}; none of them is deployed",
        next_step="Give one of them a `name:`.",
    )


def _no_bundles_problem(repo: RepoSpec) -> ScanProblem:
    path_names = ", ".join(repr(p) for p in repo.spec.paths) or "the repository"
    return ScanProblem(
        path="",
        code="no-bundles",
        summary=f"nothing to deploy was found in {path_names}",
        next_step="Name other `paths`, or add a fleet.yaml.",
    )


def finish(draft: Draft, charts: Mapping[ChartRequest, Mapping[str, File]]) -> ScannedBundle:
    """Pack the draft with its fetched charts. The files of a chart are in the folder of its
    request.
    """
    files = dict(draft.files)
    for request in draft.charts:
        files |= {f"{request.folder}/{path}": file for path, file in charts[request].items()}
    archive = pack(files)
    spec = msgspec.structs.replace(
        draft.spec, archive=archive_digest(archive), size=len(archive), files=len(files)
    )
    return ScannedBundle(
        spec=spec, archive=archive, fingerprint="" if draft.charts else draft.fingerprint
    )


def _find_unchanged(
    tree: Index,
    repo: RepoSpec,
    place: DirectoryPlace,
    commit: CommitId,
    earlier_bundles: Mapping[str, BundleSpec] | None,
) -> Draft | None:
    if not earlier_bundles:
        return None
    fingerprint = fingerprint_of(tree, repo, place)
    spec = earlier_bundles.get(fingerprint) if fingerprint else None
    return (
        Draft(spec=msgspec.structs.replace(spec, commit=commit), files={}, fingerprint=fingerprint)
        if spec
        else None
    )
