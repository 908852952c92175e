"""What a chart depends on, what of it is below `charts/`, and dependencies in the repository
itself.

Rule (as `helm dependency update`, which Fleet runs for a chart whose `charts/` lacks something):
a dependency with `repository: file://PATH` is the chart at PATH from the depending chart's folder,
anywhere in the same repository. It is copied below `charts/` at the scan, with its own ones.
Unlike helm, the dependencies of subcharts are completed too, and a Chart.lock that still fits wins.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fleetctl.core.charts.reference import local_folder, remote_chart
from fleetctl.core.filetree.tree import Index, contents, join, within
from fleetctl.core.formats.semver import best, parse
from fleetctl.core.formats.yaml import json_for_yaml, load
from fleetctl.core.model.bundle import DEFAULT_LIMITS, File
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.options import HelmOptions

_FILE = "file://"
_DEPTH = 8
_DESCRIPTIONS = ("Chart.yaml", "requirements.yaml")


class ChartDependency(NamedTuple):
    """`version`: a range, or the version of the lock where that fits the range."""

    name: str
    version: str
    repository: str


def vendored_charts(files: Mapping[str, File]) -> set[str]:
    """The names of the charts below `charts/`, as folders or as archives."""
    names: set[str] = set()
    for path, file in files.items():
        parts = path.split("/")
        if parts[0] != "charts":
            continue
        if len(parts) == 3 and parts[2] == "Chart.yaml":
            meta = load(file.data, file=path)
            names.add(str(meta.get("name") if isinstance(meta, dict) else parts[1]))
        elif len(parts) == 2 and path.endswith(".tgz"):
            dashes = [match.start() for match in re.finditer("-", parts[1])]
            names |= {parts[1][:at] for at in dashes if parse(parts[1][at + 1 : -4])}
    return names


def subcharts(files: Mapping[str, File]) -> list[str]:
    """The folders `charts/NAME/` that hold a chart."""
    paths = (path.split("/") for path in files)
    return sorted(
        f"charts/{parts[1]}/"
        for parts in paths
        if len(parts) == 3 and parts[0] == "charts" and parts[2] == "Chart.yaml"
    )


def inside_folder(files: Mapping[str, File], folder: str) -> dict[str, File]:
    """The files below `folder` ("" or ending in a slash), by their path there."""
    return {path[len(folder) :]: file for path, file in files.items() if path.startswith(folder)}


def dependencies_of(files: Mapping[str, File], name: str) -> list[ChartDependency]:
    """The dependencies in Chart.yaml, or in requirements.yaml of older charts, each once.

    `name` is for errors. Raises UsageError for a repository that only one machine's helm knows.
    """
    entries = _mapping(files, "Chart.yaml").get("dependencies")
    if entries is None:
        entries = _mapping(files, "requirements.yaml").get("dependencies")
    lock = _mapping(files, "Chart.lock") or _mapping(files, "requirements.lock")
    versions = {
        (str(entry.get("name")), str(entry.get("repository") or "")): str(entry.get("version"))
        for entry in _mappings(lock.get("dependencies"))
    }
    dependencies: dict[ChartDependency, None] = {}
    for entry in _mappings(entries):
        chart, repository, version = (
            str(entry.get(key) or "") for key in ("name", "repository", "version")
        )
        if repository.startswith(("@", "alias:")):
            summary = (
                f"{name} depends on {chart} of {repository}, a name that only one machine's helm"
                " knows"
            )
            step = "Write the repository's address in Chart.yaml."
            raise UsageError(summary, subject=name, next_step=step)
        lock_version = versions.get((chart, repository), "")
        is_locked = bool(lock_version) and best(version, [lock_version]) is not None
        dependencies[ChartDependency(chart, lock_version if is_locked else version, repository)] = (
            None
        )
    return list(dependencies)


def own_charts(helms: Iterable[HelmOptions | None], files: Mapping[str, File]) -> list[str]:
    """Folders ("" or ending in /) of the charts in the bundle that its options install."""
    roots = {local_folder(helm) for helm in helms if helm and remote_chart(helm) is None} | {""}
    folders = [f"{name}/" if name else "" for name in sorted(roots)]
    return [folder for folder in folders if f"{folder}Chart.yaml" in files]


def without_missing(files: Mapping[str, File], folder: str = "") -> dict[str, File]:
    """The descriptions of the chart in `folder` without dependencies that are not below `charts/`.

    Fleet installs such a chart with `disableDependencyUpdate: true`; the helm command refuses it.
    """
    chart = inside_folder(files, folder)
    present = vendored_charts(chart)
    new_files: dict[str, File] = {}
    for path in _DESCRIPTIONS:
        document = _mapping(chart, path)
        entries = _mappings(document.get("dependencies"))
        kept_entries = [entry for entry in entries if str(entry.get("name")) in present]
        if len(kept_entries) < len(entries):
            new_files[folder + path] = File(
                json_for_yaml(document | {"dependencies": kept_entries})
            )
    return new_files


class LocalDependencies:
    """Copies charts of the same repository to where charts of one bundle need them."""

    def __init__(self, tree: Index, directory: str) -> None:
        self._tree, self._directory = tree, tree.real(directory)
        self._bytes, self._files = DEFAULT_LIMITS.total_bytes, DEFAULT_LIMITS.files
        self.left_directory = False

    def of(self, files: Mapping[str, File], folder: str) -> dict[str, File]:
        """What the chart in `folder` of the bundle lacks, by path in the bundle.

        Raises UsageError, InvalidFile.
        """
        place = posixpath.normpath(join(self._directory, folder or "."))
        new_files = self._missing("" if place == "." else place, inside_folder(files, folder), ())
        return {folder + path: file for path, file in new_files.items()}

    def _missing(
        self, place: str, files: Mapping[str, File], outer: tuple[str, ...]
    ) -> dict[str, File]:
        """`place`: the chart's folder in the repository. `outer`: those that led here."""
        new_files: dict[str, File] = {}
        present = vendored_charts(files)
        for dependency in dependencies_of(files, f"the chart in {place or 'the root'}"):
            if dependency.name in present or not dependency.repository.startswith(_FILE):
                continue
            target = self._target(place, dependency, outer)
            chart = self._chart(place, target, dependency)
            chart |= self._missing(target, chart, (*outer, place))
            new_files |= {f"charts/{dependency.name}/{path}": file for path, file in chart.items()}
            present.add(dependency.name)
        for folder in subcharts(files):
            inner = join(place, folder.rstrip("/"))
            inner_files = self._missing(inner, inside_folder(files, folder), (*outer, place))
            new_files |= {folder + path: file for path, file in inner_files.items()}
        return new_files

    def _target(self, place: str, dependency: ChartDependency, outer: tuple[str, ...]) -> str:
        """The folder that the dependency names."""
        path = dependency.repository.removeprefix(_FILE)
        target = posixpath.normpath(join(place, path))
        if path.startswith("/") or target == ".." or target.startswith("../"):
            step = "Put the chart into the repository, or name its chart repository."
            raise _error(place, dependency, "is outside of the repository", step)
        target = self._tree.real("" if target == "." else target)
        if within(place, target) or target in outer or len(outer) >= _DEPTH:
            raise _error(place, dependency, "leads back to this chart", "Remove the cycle.")
        return target

    def _chart(self, place: str, target: str, dependency: ChartDependency) -> dict[str, File]:
        files = contents(self._tree, target, set()).files
        meta = _mapping(files, "Chart.yaml")
        if not meta:
            raise _error(place, dependency, "holds no Chart.yaml", "Correct its repository.")
        name, version = str(meta.get("name")), str(meta.get("version"))
        if name != dependency.name:
            raise _error(place, dependency, f"is the chart {name}", "Correct its name.")
        if best(dependency.version, [version]) is None:
            summary = f"is version {version}, which {dependency.version or '*'} does not allow"
            raise _error(place, dependency, summary, "Correct the version in Chart.yaml.")
        self._files -= len(files)
        self._bytes -= sum(len(file.data) for file in files.values())
        if self._files < 0 or self._bytes < 0:
            step = "Vendor fewer, or publish them in a chart repository."
            raise _error(place, dependency, "makes the bundle too large", step)
        self.left_directory |= not within(target, self._directory)
        return files


def _error(place: str, dependency: ChartDependency, summary: str, step: str) -> UsageError:
    path = join(place, "Chart.yaml")
    text = f"{path}: dependency {dependency.name} ({dependency.repository}) {summary}"
    return UsageError(text, subject=path, next_step=step)


def _mapping(files: Mapping[str, File], path: str) -> dict[str, Any]:
    document = load(files[path].data, file=path) if path in files else None
    return document if isinstance(document, dict) else {}


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
