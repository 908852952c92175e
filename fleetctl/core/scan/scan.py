"""From a tree of files to bundles: pure, so that the manager, the tests and a preview make the same
of the same commit.

Rule: every directory that a GitRepo's `paths` name is one bundle if it holds a fleet.yaml or any
YAML file that belongs to no inner bundle, and so is every directory below it that holds a
fleet.yaml (fleet.yml when there is no fleet.yaml). `bundles` name directories and stop the search.
What is wrong with one bundle is a Problem beside the others; a scan with problems is not complete,
and only a complete scan may remove anything (I7).

Source: rancher/fleet `bundlereader` and `apply`, checked against what Fleet prints for its own
examples. As there, hidden files are left out, a bundle also carries the files of the bundles inside
it (they are not deployed with it), and values files are read at the scan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec

from fleetctl.core.charts.dependencies import LocalDependencies, own_charts, without_missing
from fleetctl.core.charts.reference import (
    ChartRequest,
    describe_unsupported,
    local_folder,
    remote_chart,
    with_one_form,
)
from fleetctl.core.documents.convert import Note
from fleetctl.core.documents.fleet_yaml import FleetYaml, parse
from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import Index, Tree, contents, join
from fleetctl.core.formats.bundle_archive import archive_digest, pack
from fleetctl.core.formats.redact import refuse_login
from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec, File, Target
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import FleetError, InvalidFile, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName, CommitId, Workspace, is_name
from fleetctl.core.model.options import HelmOptions, KeyRef, Options
from fleetctl.core.rendering import duplicate_objects, kustomization
from fleetctl.core.rendering.render import kustomize_folder
from fleetctl.core.scan.bundle_directories import DirectoryPlace, find_places, fleet_file, name_of
from fleetctl.core.scan.bundle_names import clean
from fleetctl.core.scan.problems import (
    EMPTY,
    LEFT_OUT,
    ScanProblem,
    internal_problem,
    problem_of,
    shown_directory,
)
from fleetctl.core.scan.values_files import ValuesFiles
from fleetctl.core.targeting.target import select

# A bundle whose targets cannot be judged for it is a problem here, before anything depends on it.
_ANY_CLUSTER = Cluster(workspace=Workspace(""), name=ClusterName("any"), id=ClusterId("any"))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that may still wait for its charts. `fingerprint` is equal for equal inputs, ""
    where that cannot be told; a draft that was made before from the same inputs has its archive's
    digest already, and no files.
    """

    spec: BundleSpec
    files: dict[str, File]
    charts: list[ChartRequest] = []
    warnings: list[ScanProblem] = []
    fingerprint: str = ""

    @property
    def is_made(self) -> bool:
        return bool(self.spec.archive)


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """`warnings` stand in nobody's way. `unread`: paths that no search enters though a folder may
    have been there: links, submodules, folders with names that no bundle can hold.
    """

    drafts: list[Draft]
    problems: list[ScanProblem]
    warnings: list[ScanProblem] = []
    unread: list[str] = []


class ScannedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """`archive` is empty for a bundle that was made before; `fingerprint` as in Draft, "" when
    something was fetched for it.
    """

    spec: BundleSpec
    archive: bytes
    fingerprint: str = ""


def scan(
    tree: Tree | Index,
    repo: RepoSpec,
    *,
    commit: CommitId,
    known: Mapping[str, BundleSpec] | None = None,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Scan:
    """The bundles of `repo` at `commit`, sorted by name, and what stands in the way of others.

    `known`: bundles of an earlier scan by their fingerprint; what has not changed since is not read
    again. `guard`: surrounds the work on each bundle, and may raise a FleetError into it.
    """
    drafts: dict[str, Draft] = {}
    problems: list[ScanProblem] = []
    warnings: list[ScanProblem] = [
        _warning("", f"GitRepo {repo.name}", note) for note in repo.notes
    ]
    twins: set[str] = set()
    index = tree if isinstance(tree, Index) else Index(tree)
    for place in find_places(index, repo, problems, warnings):
        try:
            with guard():
                draft = _find_unchanged(index, repo, place, commit, known) or _draft(
                    index, repo, place, commit
                )
                select(
                    draft.spec,
                    [msgspec.structs.replace(_ANY_CLUSTER, workspace=draft.spec.workspace)],
                    [],
                )
                _check_storable(draft.spec)
        except FleetError as error:
            problems.append(problem_of(place.directory, error))
            continue
        except (Exception, MemoryError) as error:
            problems.append(internal_problem(place.directory, error))
            continue
        warnings += draft.warnings
        if not draft.files and not draft.charts and not draft.is_made:
            summary = f"{shown_directory(place.directory)} holds no file to deploy"
            warnings.append(
                ScanProblem(path=place.directory, code=EMPTY, summary=summary, warning=True)
            )
            continue
        twin = drafts.setdefault(draft.spec.name, draft)
        if twin is not draft:
            twins.add(draft.spec.name)
            directories = (
                f"{shown_directory(twin.spec.path)} and {shown_directory(place.directory)}"
            )
            summary = f"{directories} are both named {draft.spec.name}; none of them is deployed"
            problems.append(
                ScanProblem(
                    path=place.directory,
                    code="name-twice",
                    summary=summary,
                    next_step="Give one of them a `name:`.",
                )
            )
    if not drafts and not problems:
        path_names = ", ".join(repr(p) for p in repo.spec.paths) or "the repository"
        step = "Name other `paths`, or add a fleet.yaml."
        problems.append(
            ScanProblem(
                path="",
                code="no-bundles",
                summary=f"nothing to deploy was found in {path_names}",
                next_step=step,
            )
        )
    complete = [drafts[name] for name in sorted(drafts.keys() - twins)]
    return Scan(drafts=complete, problems=problems, warnings=warnings, unread=index.unread())


def _check_storable(spec: BundleSpec) -> None:
    """Raises UsageError for options that no document can hold, such as half of a surrogate pair."""
    try:
        msgspec.json.encode(spec)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        summary = f"{shown_directory(spec.path)}: a value of its options cannot be stored: {error}"
        raise UsageError(
            summary[:300], next_step="Correct the value in fleet.yaml or in a values file."
        ) from error


def finish(draft: Draft, charts: Mapping[ChartRequest, Mapping[str, File]]) -> ScannedBundle:
    """The draft with its fetched charts inside, packed. A chart's files stand in the folder of its
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


def _fingerprint(tree: Index, repo: RepoSpec, place: DirectoryPlace) -> str:
    """Over everything that a draft is made of, except files above its directory; "" when links add
    to it.
    """
    real = tree.real(place.directory)
    if real != place.directory or tree.links_in(real) or tree.unusable_in(real):
        return ""
    files = [*tree.below(real), *([place.options] if place.options else [])]
    identities = [tree.identity(path) for path in files]
    if not all(identities):
        return ""
    return hashlib.sha256(msgspec.json.encode([repo, place, files, identities])).hexdigest()


def _find_unchanged(
    tree: Index,
    repo: RepoSpec,
    place: DirectoryPlace,
    commit: CommitId,
    known: Mapping[str, BundleSpec] | None,
) -> Draft | None:
    if not known:
        return None
    fingerprint = _fingerprint(tree, repo, place)
    spec = known.get(fingerprint) if fingerprint else None
    return (
        Draft(spec=msgspec.structs.replace(spec, commit=commit), files={}, fingerprint=fingerprint)
        if spec
        else None
    )


def _draft(tree: Index, repo: RepoSpec, place: DirectoryPlace, commit: CommitId) -> Draft:
    directory = place.directory
    options_file = place.options or fleet_file(tree, directory)
    fleet = (
        parse(tree.read(options_file).data, file=options_file, strict=repo.spec.strict)
        if options_file
        else FleetYaml()
    )
    options = _of_one_form(_from_repo(fleet.options, repo))
    customizations = [
        _narrow(_inheriting(t, options.helm, at), repo)
        for at, t in enumerate([*fleet.targets, *fleet.customizations])
    ]
    omitted_paths = {
        "fleet.yaml",
        place.options.removeprefix(f"{directory}/"),
        *_values_files(options, customizations),
    }
    found_contents = contents(tree, directory, omitted_paths)
    reader = ValuesFiles(tree, directory, options_file)
    # As in Fleet, a bundle's own values files count only beside `helm.chart` or `helm.repo`; a
    # customization's always.
    read = (
        reader.merged(options)
        if options.helm and (options.helm.chart or options.helm.repo)
        else options
    )
    customizations = [
        msgspec.structs.replace(t, options=reader.merged(t.options)) for t in customizations
    ]
    spec = BundleSpec(
        workspace=repo.workspace,
        name=clean(fleet.name) if fleet.name else name_of(repo, place),
        repo=repo.name,
        path=directory,
        commit=commit,
        labels=repo.labels | fleet.labels,
        options=read,
        targets=_targets(fleet, repo),
        customizations=customizations,
        customization_mode=fleet.customization_mode,
        depends_on=fleet.depends_on,
        paused=fleet.paused,  # a pause of the GitRepo is no content: whoever deploys adds it
        rollout_strategy=fleet.rollout_strategy,
        overrides_targets=fleet.override_targets is not None,
        moved_from=BundleName(fleet.moved_from),
    )
    _check_values_from(spec, repo, options_file or shown_directory(directory))
    _check_copies(spec, options_file or shown_directory(directory))
    warnings = [_warning(directory, options_file, note) for note in fleet.notes]
    warnings += [
        ScanProblem(path=directory, code=LEFT_OUT, summary=text, warning=True)
        for text in found_contents.left_out
    ]
    warnings += _check_kustomizations(spec, found_contents.files)
    warnings += _duplicate_warnings(spec, found_contents.files)
    charts = _charts(spec, found_contents.files, options_file or shown_directory(directory))
    local = LocalDependencies(tree, directory)
    files = found_contents.files | _local_dependencies(spec, found_contents.files, local)
    # What is read above the directory, and what warns each time, is looked at each time.
    again = bool(warnings) or reader.left_directory or local.left_directory
    fingerprint = "" if again else _fingerprint(tree, repo, place)
    return Draft(spec=spec, files=files, charts=charts, warnings=warnings, fingerprint=fingerprint)


def _local_dependencies(
    spec: BundleSpec, files: Mapping[str, File], local: LocalDependencies
) -> dict[str, File]:
    """Charts of the repository that the bundle's own charts depend on, where helm looks for them.

    Without dependency updates: descriptions of charts without the dependencies that are not there.
    """
    helms = [spec.options.helm, *(t.options.helm for t in spec.customizations)]
    is_disabled = any(helm and helm.disable_dependency_update for helm in helms)
    new_files: dict[str, File] = {}
    for folder in own_charts(helms, files):
        new_files |= without_missing(files, folder) if is_disabled else local.of(files, folder)
    return new_files


def _warning(directory: str, file_name: str, note: Note) -> ScanProblem:
    place = f":{note.place.line}:{note.place.column}" if note.place.line else ""
    return ScanProblem(
        path=directory,
        code=note.code,
        summary=f"{file_name}{place}: {note.summary}",
        next_step=note.next_step,
        warning=True,
    )


def _targets(fleet: FleetYaml, repo: RepoSpec) -> list[Target]:
    return [
        t.target()
        for t in (
            repo.spec.targets or [] if fleet.override_targets is None else fleet.override_targets
        )
    ]


def _of_one_form(options: Options) -> Options:
    if options.helm is None:
        return options
    return msgspec.structs.replace(options, helm=with_one_form(options.helm))


def _inheriting(target: Target, helm: HelmOptions | None, at: int) -> Target:
    """A customization that says something of the chart says it of the bundle's chart, unless it
    names another.
    """
    options = _of_one_form(target.options)
    own_helm = options.helm
    if helm is not None and own_helm is not None:
        inherited_fields = {
            key: getattr(own_helm, key) or getattr(helm, key)
            for key in ("chart", "repo", "version")
        }
        options = _of_one_form(
            msgspec.structs.replace(
                options, helm=msgspec.structs.replace(own_helm, **inherited_fields)
            )
        )
    return msgspec.structs.replace(target, name=target.name or f"target{at:03d}", options=options)


def _from_repo(options: Options, repo: RepoSpec) -> Options:
    """What a GitRepo says for all of its bundles."""
    drift = repo.spec.correct_drift
    repo_options = Options(
        namespace=repo.spec.target_namespace or None,
        target_namespace=repo.spec.target_namespace or None,
        service_account=repo.spec.service_account or None,
        keep_resources=repo.spec.keep_resources or None,
        delete_namespace=repo.spec.delete_namespace or None,
        correct_drift=drift if drift and drift.enabled else None,
    )
    # The GitRepo's number always wins, as in Fleet: it is there to be counted up by hand.
    return msgspec.structs.replace(
        opts.merge(options, repo_options),
        force_sync_generation=repo.spec.force_sync_generation or None,
    )


def _narrow(target: Target, repo: RepoSpec) -> Target:
    """A GitRepo's account and namespace are its administrator's word: no customization in the
    repository changes them, as in Fleet.
    """
    options = target.options
    if repo.spec.service_account:
        options = msgspec.structs.replace(options, service_account=None)
    if repo.spec.target_namespace:
        options = msgspec.structs.replace(options, namespace=None)
    return msgspec.structs.replace(target, options=options)


def _check_copies(spec: BundleSpec, file_name: str) -> None:
    """Raises UsageError for something that is neither a Secret nor a ConfigMap, or has no name."""
    for options in (spec.options, *(t.options for t in spec.customizations)):
        for resource in opts.downstream_of(options):
            if resource.kind not in {"Secret", "ConfigMap"} or not is_name(resource.name):
                summary = (
                    f"{file_name}: downstreamResources: {resource.kind[:40]!r}"
                    f" {resource.name[:80]!r} is no Secret or ConfigMap with a name"
                )
                raise UsageError(
                    summary,
                    subject=file_name,
                    next_step="Write `kind: Secret` or `kind: ConfigMap`, and `name:`.",
                )


def _check_kustomizations(spec: BundleSpec, files: Mapping[str, File]) -> list[ScanProblem]:
    """What kustomize would load from outside the bundle. The bundle's own kustomization is refused
    with InvalidFile, unless a customization names another one: then only the clusters that get it
    refuse it, and the scan warns.
    """
    folders = {
        kustomize_folder(t.options)
        for t in spec.customizations
        if t.options.kustomize and t.options.kustomize.dir
    }
    own_folder = kustomize_folder(spec.options)
    if own_folder is not None and not folders:
        kustomization.check(files, own_folder, with_chart=True)
    named_folders = (
        sorted(folder for folder in {own_folder, *folders} if folder is not None) if folders else []
    )
    problems = [
        next(kustomization.problems(files, folder, with_chart=True), None)
        for folder in named_folders
    ]
    return [_kustomize_warning(spec.path, problem) for problem in problems if problem]


def _kustomize_warning(directory: str, problem: InvalidFile) -> ScanProblem:
    summary = f"{problem.summary}; clusters that build it refuse it"
    return ScanProblem(
        path=directory,
        code="kustomize-outside",
        summary=summary,
        next_step=problem.next_step,
        warning=True,
    )


def _duplicate_warnings(spec: BundleSpec, files: Mapping[str, File]) -> list[ScanProblem]:
    folder = join(spec.path, "")
    return [
        ScanProblem(
            path=spec.path,
            code=duplicate_objects.CODE,
            summary=(
                f"{folder}{duplicate.file}:{duplicate.place.line}: {duplicate.describe(folder)}"
            ),
            next_step=duplicate_objects.NEXT_STEP,
            warning=True,
        )
        for duplicate in duplicate_objects.find_duplicates(files, spec.options)
    ]


def _check_values_from(spec: BundleSpec, repo: RepoSpec, file_name: str) -> None:
    """Names that can exist; and a bundle that may not write outside one namespace may not read
    there either. Raises UsageError.
    """
    target = repo.spec.target_namespace
    for ref in _value_refs(spec):
        if not is_name(ref.name) or not (ref.namespace == "" or is_name(ref.namespace, limit=63)):
            place = f"{ref.namespace[:80]}/{ref.name[:80]}".removeprefix("/")
            summary = (
                f"{file_name}: helm.valuesFrom: {place!r} cannot be the name of a Secret or"
                " ConfigMap"
            )
            raise UsageError(
                summary, subject=file_name, next_step="Correct `name` and `namespace`."
            )
        if target and ref.namespace not in {"", target}:
            summary = (
                f"{file_name}: helm.valuesFrom names {ref.name} of namespace {ref.namespace}, and"
                f" the GitRepo's targetNamespace is {target}"
            )
            raise UsageError(
                summary, subject=file_name, next_step=f"Read it from namespace {target}."
            )


def _value_refs(spec: BundleSpec) -> Iterator[KeyRef]:
    for options in (spec.options, *(t.options for t in spec.customizations)):
        for entry in (options.helm.values_from if options.helm else None) or []:
            yield from (
                ref for ref in (entry.config_map_key_ref, entry.secret_key_ref) if ref is not None
            )


def _values_files(options: Options, customizations: Sequence[Target]) -> set[str]:
    """They are read at the scan and do not travel."""
    return {
        name
        for o in (options, *(t.options for t in customizations))
        if o.helm
        for name in o.helm.values_files or []
    }


def _charts(spec: BundleSpec, files: Mapping[str, File], file_name: str) -> list[ChartRequest]:
    """The charts that are not in the repository, of the bundle and its customizations, each
    once.
    """
    requests: dict[ChartRequest, None] = {}
    for helm in (spec.options.helm, *(t.options.helm for t in spec.customizations)):
        if helm is None or not (helm.chart or helm.repo):
            continue
        for key, address in (("helm.repo", helm.repo or ""), ("helm.chart", helm.chart or "")):
            step = (
                "Take it out, put it into a Secret, and name that in helmSecretName of the GitRepo,"
                " with helmRepoURLRegex."
            )
            refuse_login(address, f"{file_name}: {key}", step)
        request = remote_chart(helm)
        if request is not None and not request.chart:
            summary = "helm.repo without helm.chart names no chart"
            raise InvalidFile(
                summary, file=file_name, next_step="Write the chart's name in `helm.chart`."
            )
        if request is None or not request.repo:
            _check_address(helm, files, file_name)
        if request is not None:
            requests[request] = None
    return list(requests)


def _check_address(helm: HelmOptions, files: Mapping[str, File], file_name: str) -> None:
    """Raises InvalidFile for a chart that is neither in the bundle nor at an address that is
    fetched.
    """
    chart = helm.chart or ""
    folder = local_folder(helm)
    if join(folder, "Chart.yaml") in files:
        return
    problem = describe_unsupported(chart)
    if problem:
        raise InvalidFile(
            f"helm.chart: {chart}: {problem[0]}", file=file_name, next_step=problem[1]
        )
    if remote_chart(helm) is not None:
        return
    if folder.startswith(".."):
        summary = f"helm.chart: {chart} leaves the bundle's directory"
        raise InvalidFile(
            summary,
            file=file_name,
            next_step="Put the fleet.yaml above the chart, or the chart below the fleet.yaml.",
        )
    raise InvalidFile(
        f"helm.chart: {chart} holds no Chart.yaml",
        file=file_name,
        next_step="Correct the path, or add `helm.repo`.",
    )
