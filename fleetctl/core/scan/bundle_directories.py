"""Which directories of a repository are bundles."""

from __future__ import annotations

import posixpath

import msgspec

from fleetctl.core.documents.gitrepo import DrivenBundle, RepoSpec
from fleetctl.core.filetree.globs import is_glob
from fleetctl.core.filetree.tree import FLEET_FILES, Index, join
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName
from fleetctl.core.scan.bundle_names import bundle_name
from fleetctl.core.scan.problems import LEFT_OUT, ScanProblem, problem_of


class DirectoryPlace(msgspec.Struct, frozen=True):
    """A directory that is a bundle; `options` is its fleet.yaml when that is named, by its path in
    the tree.
    """

    directory: str
    options: str = ""


def find_places(
    tree: Index, repo: RepoSpec, problems: list[ScanProblem], warnings: list[ScanProblem]
) -> list[DirectoryPlace]:
    """The directories that are bundles, each once, "" being the root."""
    if repo.spec.bundles:
        places = [
            place for entry in repo.spec.bundles if (place := _driven_place(tree, entry, problems))
        ]
        return list(dict.fromkeys(places))
    result: dict[DirectoryPlace, None] = {}
    for pattern in repo.spec.paths or [""]:
        try:
            roots, broken_links = _match(tree, pattern)
            result |= dict.fromkeys(place for root in roots for place in _places_below(tree, root))
        except UsageError as error:
            problems.append(problem_of(pattern, error))
            continue
        if not roots:
            summary = (
                f"path {pattern!r} holds no file at"
                f" {repo.spec.revision or repo.spec.branch or 'the default branch'}"
            )
            problems.append(
                ScanProblem(
                    path=pattern,
                    code="no-such-path",
                    summary=summary,
                    next_step="Correct the GitRepo's `paths`.",
                )
            )
        for link in broken_links:
            summary = (
                f"the symbolic link {link} -> {tree.links.targets.get(link, '')}, which {pattern!r}"
                " matches, leads nowhere"
            )
            warnings.append(ScanProblem(path=link, code=LEFT_OUT, summary=summary, warning=True))
    return list(result)


def _places_below(tree: Index, root: str) -> list[DirectoryPlace]:
    """`root` if it is a bundle, and those inside it. As in Fleet, a root that is itself a link has
    none inside.
    """
    real = tree.real(root)
    parent, _, name = root.rpartition("/")
    is_link = bool(root) and join(tree.real(parent), name) in tree.links.targets
    places = [DirectoryPlace(root)] if real in tree.fleet or tree.has_loose_yaml(real) else []
    inner = [] if is_link else tree.fleet_below(real)
    start = len(real) + 1 if real else 0
    return places + [DirectoryPlace(join(root, d[start:])) for d in inner]


def _driven_place(
    tree: Index, entry: DrivenBundle, problems: list[ScanProblem]
) -> DirectoryPlace | None:
    try:
        base = _clean(entry.base)
        options = _clean(join(base, entry.options)) if entry.options else ""
        missing = (
            entry.base
            if tree.real(base) not in tree.folders
            else options
            if options and not tree.has(options)
            else ""
        )
    except UsageError as error:
        problems.append(problem_of(entry.base, error))
        return None
    if missing:
        summary = f"spec.bundles: {missing!r} is not in the repository"
        problems.append(
            ScanProblem(
                path=entry.base,
                code="no-such-path",
                summary=summary,
                next_step="Correct the GitRepo's `bundles`.",
            )
        )
        return None
    return DirectoryPlace(base, options)


def _match(tree: Index, pattern: str) -> tuple[list[str], list[str]]:
    """The folders that a path or pattern names, and links among them that lead nowhere. Raises
    UsageError.
    """
    path = _clean(pattern)
    if is_glob(path):
        return tree.glob(path)
    real = tree.real(path)
    if real in tree.known:
        step = "Name the folder that it is in."
        raise UsageError(
            f"path {pattern!r} is a file, not a folder", subject=pattern, next_step=step
        )
    return [path] if real in tree.folders else [], []


def _clean(path: str) -> str:
    """A path of a GitRepo without `./`, `//` and slashes at its ends; "" is the root. Raises
    UsageError.
    """
    result = posixpath.normpath(path.strip("/") or ".")
    if result == ".." or result.startswith("../"):
        summary = f"path {path!r} leads out of the repository"
        raise UsageError(
            summary, subject=path, next_step="Correct the GitRepo's `paths` or `bundles`."
        )
    return "" if result == "." else result


def name_of(repo: RepoSpec, place: DirectoryPlace) -> BundleName:
    """The path makes the name; with a fleet.yaml of another name that name too, because one
    directory may then be several bundles.
    """
    own_name = (
        posixpath.splitext(place.options)[0].removeprefix(f"{place.directory}/")
        if place.options
        else ""
    )
    return bundle_name(repo.name, join(place.directory, own_name) if own_name else place.directory)


def fleet_file(tree: Index, directory: str) -> str:
    """The path of the directory's own, or ""; fleet.yaml wins over fleet.yml."""
    return next((path for f in FLEET_FILES if tree.has(path := join(directory, f))), "")
