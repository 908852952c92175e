"""Checks the options of a bundle: refuses what cannot work, and warns of what some clusters will
refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import join
from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.errors import InvalidFile, UsageError
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.options import KeyRef
from fleetctl.core.rendering import duplicate_objects, kustomization
from fleetctl.core.rendering.render import kustomize_folder
from fleetctl.core.scan.problems import (
    ScanProblem,
    shown_directory,
)


def check_storable(spec: BundleSpec) -> None:
    """Raises UsageError for options that JSON cannot hold, such as half of a surrogate pair."""
    try:
        msgspec.json.encode(spec)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        summary = f"{shown_directory(spec.path)}: a value of its options cannot be stored: {error}"
        raise UsageError(
            summary[:300], next_step="Correct the value in fleet.yaml or in a values file."
        ) from error


def check_copies(spec: BundleSpec, file_name: str) -> None:
    """Raises UsageError for a downstream resource that is no Secret or ConfigMap, or has no
    name.
    """
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


def check_kustomizations(spec: BundleSpec, files: Mapping[str, File]) -> list[ScanProblem]:
    """Check that kustomize loads only files of the bundle.

    Raises InvalidFile for the bundle's own kustomization. If a customization names another
    kustomization, only the clusters that get it refuse it, and this returns warnings.
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


def duplicate_warnings(spec: BundleSpec, files: Mapping[str, File]) -> list[ScanProblem]:
    """Warn of objects that the manifests of a raw bundle state twice."""
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


def check_values_from(spec: BundleSpec, repo: RepoSpec, file_name: str) -> None:
    """Raises UsageError for a name that cannot exist in helm.valuesFrom, and for a namespace other
    than the GitRepo's targetNamespace: a bundle that may not write there may not read there.
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
