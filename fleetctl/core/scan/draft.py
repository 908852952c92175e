"""Builds the draft of one bundle from its directory and its fleet.yaml.

As in Fleet, hidden files are left out, a bundle also carries the files of the bundles inside it
(they are not deployed with it), and values files are read at the scan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from fleetctl.core.charts.dependencies import LocalDependencies, own_charts, without_missing
from fleetctl.core.charts.reference import (
    ChartRequest,
    with_one_form,
)
from fleetctl.core.documents.convert import Note
from fleetctl.core.documents.fleet_yaml import FleetYaml, parse
from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import Index, contents
from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec, File, Target
from fleetctl.core.model.ids import BundleName, CommitId
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.scan.bundle_charts import charts_to_fetch
from fleetctl.core.scan.bundle_checks import (
    check_copies,
    check_kustomizations,
    check_values_from,
    duplicate_warnings,
)
from fleetctl.core.scan.bundle_directories import DirectoryPlace, fleet_file, name_of
from fleetctl.core.scan.bundle_names import clean
from fleetctl.core.scan.problems import (
    LEFT_OUT,
    ScanProblem,
    shown_directory,
)
from fleetctl.core.scan.values_files import ValuesFiles


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle whose charts may not be fetched yet.

    `fingerprint`: equal for equal inputs; "" if the inputs cannot be compared. A draft of an
    earlier scan with the same inputs has the digest of its archive already, and no files.
    """

    spec: BundleSpec
    files: dict[str, File]
    charts: list[ChartRequest] = []
    warnings: list[ScanProblem] = []
    fingerprint: str = ""

    @property
    def is_made(self) -> bool:
        return bool(self.spec.archive)


def fingerprint_of(tree: Index, repo: RepoSpec, place: DirectoryPlace) -> str:
    """A digest of all inputs of a draft, except files above its directory. "" if links add
    files.
    """
    real = tree.real(place.directory)
    if real != place.directory or tree.links_in(real) or tree.unusable_in(real):
        return ""
    files = [*tree.below(real), *([place.options] if place.options else [])]
    identities = [tree.identity(path) for path in files]
    if not all(identities):
        return ""
    return hashlib.sha256(msgspec.json.encode([repo, place, files, identities])).hexdigest()


def build_draft(tree: Index, repo: RepoSpec, place: DirectoryPlace, commit: CommitId) -> Draft:
    """Build the draft of the bundle at `place`. Raises FleetError."""
    directory = place.directory
    options_file = place.options or fleet_file(tree, directory)
    file_name = options_file or shown_directory(directory)
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
    bundle_contents = contents(tree, directory, omitted_paths)
    files = bundle_contents.files
    reader = ValuesFiles(tree, directory, options_file)
    spec = _bundle_spec(repo, place, commit, fleet, options, customizations)
    spec = _with_values_files(spec, reader)
    check_values_from(spec, repo, file_name)
    check_copies(spec, file_name)
    warnings = [note_warning(directory, options_file, note) for note in fleet.notes]
    warnings += [
        ScanProblem(path=directory, code=LEFT_OUT, summary=text, warning=True)
        for text in bundle_contents.left_out
    ]
    warnings += check_kustomizations(spec, files)
    warnings += duplicate_warnings(spec, files)
    charts = charts_to_fetch(spec, files, file_name)
    local = LocalDependencies(tree, directory)
    all_files = files | _local_dependencies(spec, files, local)
    # Without a fingerprint the next scan builds the draft again: for warnings, which each scan must
    # report, and for files above the directory.
    again = bool(warnings) or reader.left_directory or local.left_directory
    fingerprint = "" if again else fingerprint_of(tree, repo, place)
    return Draft(
        spec=spec, files=all_files, charts=charts, warnings=warnings, fingerprint=fingerprint
    )


def _bundle_spec(
    repo: RepoSpec,
    place: DirectoryPlace,
    commit: CommitId,
    fleet: FleetYaml,
    options: Options,
    customizations: list[Target],
) -> BundleSpec:
    return BundleSpec(
        workspace=repo.workspace,
        name=clean(fleet.name) if fleet.name else name_of(repo, place),
        repo=repo.name,
        path=place.directory,
        commit=commit,
        labels=repo.labels | fleet.labels,
        options=options,
        targets=_targets(fleet, repo),
        customizations=customizations,
        customization_mode=fleet.customization_mode,
        depends_on=fleet.depends_on,
        paused=fleet.paused,  # the reconciler adds a pause of the GitRepo
        rollout_strategy=fleet.rollout_strategy,
        overrides_targets=fleet.override_targets is not None,
        moved_from=BundleName(fleet.moved_from),
    )


def _with_values_files(spec: BundleSpec, reader: ValuesFiles) -> BundleSpec:
    """The spec with the content of its values files.

    As in Fleet, a bundle's own values files count only beside `helm.chart` or `helm.repo`; those of
    a customization always count.
    """
    helm = spec.options.helm
    has_chart = helm is not None and bool(helm.chart or helm.repo)
    return msgspec.structs.replace(
        spec,
        options=reader.merged(spec.options) if has_chart else spec.options,
        customizations=[
            msgspec.structs.replace(t, options=reader.merged(t.options))
            for t in spec.customizations
        ],
    )


def _local_dependencies(
    spec: BundleSpec, files: Mapping[str, File], local: LocalDependencies
) -> dict[str, File]:
    """Charts of the repository that the bundle's own charts depend on, at the paths where helm
    looks for them.

    Without dependency updates: Chart.yaml files without the missing dependencies.
    """
    helms = [spec.options.helm, *(t.options.helm for t in spec.customizations)]
    is_disabled = any(helm and helm.disable_dependency_update for helm in helms)
    new_files: dict[str, File] = {}
    for folder in own_charts(helms, files):
        new_files |= without_missing(files, folder) if is_disabled else local.of(files, folder)
    return new_files


def note_warning(directory: str, file_name: str, note: Note) -> ScanProblem:
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
    """The customization with the bundle's chart, repo and version where it states helm options
    without them.
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
    """`options` with the options that a GitRepo sets for all of its bundles."""
    drift = repo.spec.correct_drift
    repo_options = Options(
        namespace=repo.spec.target_namespace or None,
        target_namespace=repo.spec.target_namespace or None,
        service_account=repo.spec.service_account or None,
        keep_resources=repo.spec.keep_resources or None,
        delete_namespace=repo.spec.delete_namespace or None,
        correct_drift=drift if drift and drift.enabled else None,
    )
    # The GitRepo's number always wins, as in Fleet: people increase it by hand.
    return msgspec.structs.replace(
        opts.merge(options, repo_options),
        force_sync_generation=repo.spec.force_sync_generation or None,
    )


def _narrow(target: Target, repo: RepoSpec) -> Target:
    """The customization without the account and namespace that the GitRepo sets. An administrator
    sets them, and no customization in the repository changes them, as in Fleet.
    """
    options = target.options
    if repo.spec.service_account:
        options = msgspec.structs.replace(options, service_account=None)
    if repo.spec.target_namespace:
        options = msgspec.structs.replace(options, namespace=None)
    return msgspec.structs.replace(target, options=options)


def _values_files(options: Options, customizations: Sequence[Target]) -> set[str]:
    """The values files of the bundle. The scan reads them, and the archive does not hold them."""
    return {
        name
        for o in (options, *(t.options for t in customizations))
        if o.helm
        for name in o.helm.values_files or []
    }
