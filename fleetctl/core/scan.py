"""From a tree of files to bundles: pure, so that the manager, the tests and a preview make the same of the same commit.

Rule: every directory that a GitRepo's `paths` name is one bundle, and so is every directory below it that holds a fleet.yaml (fleet.yml
when there is no fleet.yaml). What is wrong with one bundle is a Problem beside the others; a scan with problems is not complete, and only
a complete scan may remove anything (I7).

Source: rancher/fleet `pkg/bundlereader`, checked against what Fleet prints for its own examples. As there, a bundle without a fleet.yaml
of its own also carries the files of the bundles inside it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fleetctl.core import options as opts
from fleetctl.core.bundle import BundleSpec, File, Target, archive_digest, pack
from fleetctl.core.errors import FleetError, InvalidFile, UsageError
from fleetctl.core.fleetyaml import FleetYaml, parse
from fleetctl.core.gitrepo import RepoSpec
from fleetctl.core.ids import CommitId
from fleetctl.core.naming import bundle_name, clean
from fleetctl.core.options import HelmOptions, Options
from fleetctl.core.yamldoc import load

FLEET_FILES = ("fleet.yaml", "fleet.yml")


class Tree(Protocol):
    """The regular files of one commit. Links and submodules are not among them."""

    def paths(self) -> Sequence[str]:
        """Every path, sorted by bytes."""
        ...

    def read(self, path: str) -> File: ...


class ChartRequest(msgspec.Struct, frozen=True):
    """A chart that must be fetched: `repo` and a name, an `oci://` address, or the URL of a tarball."""

    chart: str
    repo: str = ""
    version: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why the bundle at `path` could not be made."""

    path: str
    code: str
    summary: str
    next_step: str = ""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that may still wait for its charts."""

    spec: BundleSpec
    files: dict[str, File]
    charts: list[ChartRequest] = []


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    drafts: list[Draft]
    problems: list[Problem]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    spec: BundleSpec
    archive: bytes


class _Index:
    """What the scan asks of a tree again and again, made once: ten thousand files are walked a few times, not once a bundle."""

    def __init__(self, tree: Tree) -> None:
        self.read = tree.read
        self.paths = tree.paths()
        self.folders: dict[str, list[str]] = {}  # every file below a folder, the root being ""
        for path in self.paths:
            self.folders.setdefault("", []).append(path)
            for at, char in enumerate(path):
                if char == "/":
                    self.folders.setdefault(path[:at], []).append(path)
        self.fleet = {p.rpartition("/")[0] for p in self.paths if p.rpartition("/")[2] in FLEET_FILES}
        self.ignores = [p for p in self.paths if p.rpartition("/")[2] == ".fleetignore"]

    def below(self, directory: str) -> list[str]:
        return self.folders.get(directory, [])

    def owner(self, path: str, root: str) -> str | None:
        """The innermost bundle directory strictly below `root` that holds `path`, or None."""
        folder = path.rpartition("/")[0]
        while folder != root and folder:
            if folder in self.fleet:
                return folder
            folder = folder.rpartition("/")[0]
        return None


def scan(tree: Tree, repo: RepoSpec, *, commit: CommitId) -> Scan:
    """The bundles of `repo` at `commit`, sorted by name, and what stands in the way of others."""
    drafts: dict[str, Draft] = {}
    problems: list[Problem] = []
    index = _Index(tree)
    for directory in _directories(index, repo, problems):
        try:
            draft = _draft(index, repo, directory, commit)
        except FleetError as why:
            problems.append(_problem(directory, why))
            continue
        twin = drafts.get(draft.spec.name)
        if twin is None:
            drafts[draft.spec.name] = draft
        elif twin.spec.path != directory:
            summary = f"{_shown(twin.spec.path)} and {_shown(directory)} are both named {draft.spec.name}"
            problems.append(Problem(path=directory, code="name-twice", summary=summary, next_step="Give one of them a `name:`."))
    return Scan(drafts=[drafts[name] for name in sorted(drafts)], problems=problems)


def finish(draft: Draft, charts: Mapping[ChartRequest, Mapping[str, File]]) -> Built:
    """The draft with its fetched charts inside, packed. A chart's files stand under `.charts/N/` in the order of `draft.charts`."""
    files = dict(draft.files)
    for at, request in enumerate(draft.charts):
        files |= {f".charts/{at}/{path}": file for path, file in charts[request].items()}
    archive = pack(files)
    spec = msgspec.structs.replace(draft.spec, archive=archive_digest(archive), size=len(archive), files=len(files))
    return Built(spec=spec, archive=archive)


def _directories(tree: _Index, repo: RepoSpec, problems: list[Problem]) -> list[str]:
    """The directories that are bundles, each once, "" being the root."""
    found: dict[str, None] = {}
    for wanted in repo.spec.paths or [""]:
        roots = _match(tree, wanted.strip("/").removeprefix("./").rstrip("/"))
        if not roots:
            summary = f"path {wanted!r} holds no file at {repo.spec.revision or repo.spec.branch or 'the default branch'}"
            problems.append(Problem(path=wanted, code="no-such-path", summary=summary, next_step="Correct the GitRepo's `paths`."))
        for root in roots:
            owners = {tree.owner(p, root) for p in tree.below(root)}
            if root in tree.fleet or None in owners:
                found[root] = None
            found |= dict.fromkeys(sorted(d for d in tree.fleet if d != root and _within(d, root)))
    return list(found)


def _match(tree: _Index, wanted: str) -> list[str]:
    wanted = "" if wanted == "." else wanted
    if any(c in wanted for c in "*?["):
        level = wanted.count("/")
        return sorted(f for f in tree.folders if f and f.count("/") == level and fnmatch.fnmatchcase(f, wanted))
    return [wanted] if wanted in tree.folders else []


def _within(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def _draft(tree: _Index, repo: RepoSpec, directory: str, commit: CommitId) -> Draft:
    fleet_file = _fleet_file(tree, directory)
    shown = _join(directory, fleet_file) if fleet_file else _shown(directory)
    fleet = parse(tree.read(shown).data, file=shown) if fleet_file else FleetYaml()
    files = _files(tree, directory, nested=fleet_file is None)
    options = _with_values(_from_repo(fleet.options, repo), files, shown)
    customizations = [msgspec.structs.replace(t, options=_with_values(t.options, files, shown)) for t in fleet.customizations]
    spec = BundleSpec(
        workspace=repo.workspace,
        name=clean(fleet.name) if fleet.name else bundle_name(repo.name, directory),
        repo=repo.name,
        path=directory,
        commit=commit,
        labels=repo.labels | fleet.labels,
        options=options,
        targets=_targets(fleet, repo),
        customizations=customizations,
        customization_mode=fleet.customization_mode,
        depends_on=fleet.depends_on,
        paused=fleet.paused or repo.spec.paused,
        rollout_strategy=fleet.rollout_strategy,
    )
    return Draft(spec=spec, files=files, charts=_charts(spec, files, shown))


def _fleet_file(tree: _Index, directory: str) -> str | None:
    """fleet.yaml wins over fleet.yml."""
    if directory not in tree.fleet:
        return None
    return next(f for f in FLEET_FILES if _join(directory, f) in tree.below(directory))


def _targets(fleet: FleetYaml, repo: RepoSpec) -> list[Target]:
    if fleet.override_targets is not None:
        return [t.target() for t in fleet.override_targets]
    return fleet.targets or [t.target() for t in repo.spec.targets or []]


def _from_repo(options: Options, repo: RepoSpec) -> Options:
    """What a GitRepo says for all of its bundles."""
    said = Options(
        namespace=repo.spec.target_namespace or None,
        service_account=repo.spec.service_account or None,
        keep_resources=repo.spec.keep_resources or None,
        delete_namespace=repo.spec.delete_namespace or None,
        correct_drift=repo.spec.correct_drift,
    )
    return opts.merge(options, said)


def _files(tree: _Index, directory: str, *, nested: bool) -> dict[str, File]:
    """The bundle's files by their path inside it, without fleet.yaml, without inner bundles and without what .fleetignore names."""
    start = len(directory) + 1 if directory else 0
    ignored = _ignored(tree, directory)
    found: dict[str, File] = {}
    for path in tree.below(directory):
        name = path[start:]
        if name in {*FLEET_FILES, ".fleetignore"} or (not nested and tree.owner(path, directory)):
            continue
        if not any(_ignores(rule, path) for rule in ignored):
            found[name] = tree.read(path)
    return found


def _ignored(tree: _Index, directory: str) -> list[tuple[str, str]]:
    """(directory of the .fleetignore, pattern) for each line that reaches into `directory`."""
    rules: list[tuple[str, str]] = []
    for path in tree.ignores:
        base = path.rpartition("/")[0]
        if _within(base, directory) or _within(directory, base):
            lines = tree.read(path).data.decode("utf-8", "replace").splitlines()
            rules += [(base, line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return rules


def _ignores(rule: tuple[str, str], path: str) -> bool:
    base, pattern = rule
    if not _within(path, base):
        return False
    parts = (path[len(base) + 1 :] if base else path).split("/")
    pattern = pattern.rstrip("/")
    if "/" in pattern.strip("/"):
        return any(fnmatch.fnmatchcase("/".join(parts[: n + 1]), pattern.strip("/")) for n in range(len(parts)))
    return any(fnmatch.fnmatchcase(part, pattern.strip("/")) for part in parts)


def _with_values(options: Options, files: Mapping[str, File], shown: str) -> Options:
    """`valuesFiles` read and merged over `values`, as Fleet does at the scan."""
    helm = options.helm
    if helm is None or not helm.values_files:
        return options
    values: dict[str, Any] = helm.values or {}
    for name in helm.values_files:
        path = name.removeprefix("./")
        if path not in files:
            raise InvalidFile(f"helm.valuesFiles: {name} is not in the bundle", file=shown, next_step="Correct the path.")
        more = load(files[path].data, file=path)
        if not isinstance(more, dict | None):
            raise InvalidFile("is no map of values", file=path, next_step="Write `key: value` lines.")
        values = opts.merge_values(values, more or {})
    return msgspec.structs.replace(options, helm=msgspec.structs.replace(helm, values=values, values_files=None))


def _charts(spec: BundleSpec, files: Mapping[str, File], shown: str) -> list[ChartRequest]:
    """The charts that are not in the repository, of the bundle and its customizations, each once."""
    found: dict[ChartRequest, None] = {}
    base = spec.options.helm or HelmOptions()
    for helm in (base, *(t.options.helm for t in spec.customizations)):
        chart = helm.chart or base.chart if helm else None
        if helm is None or not chart:
            continue
        repo, version = helm.repo or base.repo or "", helm.version or base.version or ""
        if repo or "://" in chart:
            found[ChartRequest(chart, repo, version)] = None
        elif _join(chart.removeprefix("./").rstrip("/"), "Chart.yaml").removeprefix("./") not in files:
            raise InvalidFile(f"helm.chart: {chart} holds no Chart.yaml", file=shown, next_step="Correct the path, or add `helm.repo`.")
    return list(found)


def _problem(directory: str, why: FleetError) -> Problem:
    kind = why.code if not isinstance(why, UsageError) else "invalid"
    return Problem(path=directory, code=kind, summary=why.summary, next_step=why.next_step)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and directory != "." else name


def _shown(directory: str) -> str:
    return directory or "the repository's root"
