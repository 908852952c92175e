"""Checks that a kustomization loads files of its bundle and nothing else.

Rule: an allow-list. Every string that kustomize would load must be a file of the bundle, or a
folder of it with a kustomization. Only kustomizations that the chosen folder reaches are checked.
Keys are compared without case because kustomize decodes them with Go's encoding/json, which ignores
case.

kustomize takes some strings for an address before it looks for a file
(`api/internal/git/repospec.go`, `api/internal/loader/fileloader.go`), so a string that has the form
of an address is refused even when the bundle has a file of that name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fleetctl.core.documents.convert import Path
from fleetctl.core.formats.redact import redacted, redacted_login
from fleetctl.core.formats.yaml import load, load_all, places
from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile

CHART_OUTPUT = "fleet-manifests.yaml"  # the file that kustomize gets a chart's objects in
_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_ADDRESS = re.compile(r"[:?@\\]|\s*(?:www\.)?github\.com|(?:\.git|_git)(?:/|\Z)", re.IGNORECASE)
_FOLDERS = ("resources", "bases", "components")
_FILES = ("crds", "configurations")
_PLUGINS = ("generators", "transformers", "validators")
_GENERATORS = ("configmapgenerator", "secretgenerator")
_WITH_PATH = ("patches", "patchesjson6902", "replacements")
_HELM = ("helmcharts", "helmglobals", "helmchartinflationgenerator")
# In a folder of plugin documents, so that nothing can change a document after it was checked.
_PLUGIN_FOLDER_KEYS = frozenset({"apiversion", "kind", "metadata", "resources", "bases"})
# The built-in plugins of kustomize (`api/internal/plugins/builtinhelpers`), except the one for
# charts.
_BUILTIN = frozenset(
    {
        "AnnotationsTransformer",
        "ConfigMapGenerator",
        "HashTransformer",
        "IAMPolicyGenerator",
        "ImageTagTransformer",
        "LabelTransformer",
        "LegacyOrderTransformer",
        "NamespaceTransformer",
        "PatchJson6902Transformer",
        "PatchStrategicMergeTransformer",
        "PatchTransformer",
        "PrefixSuffixTransformer",
        "PrefixTransformer",
        "ReplacementTransformer",
        "ReplicaCountTransformer",
        "SecretGenerator",
        "SortOrderTransformer",
        "SuffixTransformer",
        "ValueAddTransformer",
    }
)
_COPY = "Copy it into the bundle's folder and name the copy."


class _Visit(NamedTuple):
    """A folder to check. `plugin_root`: of a folder with plugin documents the folder that their
    paths are relative to; None for an ordinary kustomization.
    """

    folder: str
    plugin_root: str | None = None


def check(files: Mapping[str, File], folder: str, *, with_chart: bool = False) -> None:
    """Raises InvalidFile for the first problem of the kustomization in `folder`."""
    for problem in problems(files, folder, with_chart=with_chart):
        raise problem


def problems(
    files: Mapping[str, File], folder: str, *, with_chart: bool = False
) -> Iterator[InvalidFile]:
    """Each thing that the kustomization in `folder`, or one that it reaches, loads from outside the
    bundle, with file, line and field. `with_chart`: kustomize gets a chart's objects, too.
    """
    yield from _KustomizationWalk(files, folder, with_chart).problems()


class _KustomizationWalk:
    def __init__(self, files: Mapping[str, File], folder: str, with_chart: bool) -> None:
        self._files = files
        self._start = _Visit(folder)
        self._with_chart = with_chart
        self._todo = [self._start]
        self._visited_folders = {self._start}

    def problems(self) -> Iterator[InvalidFile]:
        while self._todo:
            visit = self._todo.pop(0)
            for name in KUSTOMIZATIONS:
                path = posixpath.join(visit.folder, name)
                if path in self._files:
                    yield from _Kustomization(self, path, visit).problems()

    def follow(self, visit: _Visit) -> None:
        if visit not in self._visited_folders:
            self._visited_folders.add(visit)
            self._todo.append(visit)

    def resolve(self, folder: str, value: str) -> str | None:
        """The path of `value` within the bundle, "" being its root; None for one that leaves it."""
        if not value or value.startswith("/") or "\0" in value:
            return None
        path = posixpath.normpath(posixpath.join(folder or ".", value))
        if path == ".." or path.startswith("../"):
            return None
        return "" if path == "." else path

    def has_file(self, path: str) -> bool:
        return path in self._files

    def data(self, path: str) -> bytes:
        return self._files[path].data

    def has_kustomization(self, folder: str) -> bool:
        return any(posixpath.join(folder, name) in self._files for name in KUSTOMIZATIONS)

    def is_chart_output(self, path: str) -> bool:
        return self._with_chart and path == posixpath.join(self._start.folder, CHART_OUTPUT)


class _Kustomization:
    """One file, with the walk that it belongs to."""

    def __init__(self, walk: _KustomizationWalk, path: str, visit: _Visit) -> None:
        self._walk, self._path, self._visit = walk, path, visit
        self._text = walk.data(path)
        self._lines: dict[Path, int] | None = None

    def problems(self) -> Iterator[InvalidFile]:
        try:
            document = load(self._text, file=self._path)
        except InvalidFile as error:
            yield error
            return
        if document is None:
            return  # kustomize refuses an empty one itself
        if not isinstance(document, dict):
            yield self._problem((), "is not a map", "Write `key: value` lines.")
            return
        for key, value in document.items():
            if value is None:
                continue
            if self._visit.plugin_root is not None and key.casefold() not in _PLUGIN_FOLDER_KEYS:
                step = "Keep only `resources` there."
                yield self._problem(
                    (key,), f"{key}: a folder of plugin documents cannot change them", step
                )
            else:
                yield from self._field((key,), key.casefold(), value)

    def _field(self, at: Path, key: str, value: Any) -> Iterator[InvalidFile]:
        if key in _HELM:
            summary = (
                f"{at[0]}: kustomize would fetch or render a chart; Fleet does not enable that"
            )
            yield self._problem(at, summary, "Use `helm.chart` in fleet.yaml.")
        elif key in _FOLDERS:
            yield from self._check_each(at, value, self._resource)
        elif key in _FILES:
            yield from self._check_each(at, value, self._file)
        elif key in _PLUGINS:
            yield from self._check_each(at, value, self._plugin)
        elif key == "patchesstrategicmerge":
            yield from self._check_each(at, value, self._patch)
        elif key in _WITH_PATH:
            yield from self._check_each(at, value, self._with_path)
        elif key in _GENERATORS:
            yield from self._check_each(at, value, self._generator)
        elif key == "openapi":
            yield from self._with_path(at, value)

    def _check_each(self, at: Path, value: Any, check: Any) -> Iterator[InvalidFile]:
        if not isinstance(value, list):
            yield self._problem(at, f"{_field_text(at)}: must be a list", "Write a list.")
            return
        for index, item in enumerate(value):
            yield from check((*at, index), item)

    def _resource(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        path = self._inner(value, _ADDRESS, self._visit.folder)
        if path is None:
            yield self._outside(at, value)
        elif self._walk.has_file(path):
            if self._visit.plugin_root is not None:
                yield from self._plugin_documents(at, path)
        elif self._walk.has_kustomization(path):
            self._walk.follow(_Visit(path, self._visit.plugin_root))
        elif not self._walk.is_chart_output(path):
            yield self._outside(at, value)

    def _file(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        path = self._inner(value, _SCHEME, self._root)
        if path is None or not self._walk.has_file(path):
            yield self._outside(at, value)

    def _patch(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        """A file, or the patch itself."""
        if _inline(value) is None or _is_http(value):
            yield from self._file(at, value)

    def _with_path(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        """An item with `path`, or a text as old kustomizations have in `patches`."""
        if isinstance(value, str):
            yield from self._patch(at, value)
            return
        for key, path in value.items() if isinstance(value, dict) else ():
            if key.casefold() == "path" and path not in (None, ""):
                yield from self._file((*at, key), path)

    def _generator(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        """The fields of a ConfigMap or Secret generator that load files."""
        for key, generators in value.items() if isinstance(value, dict) else ():
            lower_key = key.casefold()
            if generators in (None, ""):
                continue
            if lower_key == "env":
                yield from self._file((*at, key), generators)
            elif lower_key == "envs":
                yield from self._check_each((*at, key), generators, self._file)
            elif lower_key == "files":
                yield from self._check_each((*at, key), generators, self._named_file)

    def _named_file(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        """`PATH` or `KEY=PATH`."""
        yield from self._file(at, value.rpartition("=")[2] if isinstance(value, str) else value)

    def _plugin(self, at: Path, value: Any) -> Iterator[InvalidFile]:
        """kustomize takes the text for the documents themselves when it can, else for a path."""
        documents = _inline(value)
        if documents is not None and not _is_http(value):
            yield from self._documents(at, documents, "")
            return
        path = self._inner(value, _ADDRESS, self._visit.folder)
        if path is not None and self._walk.has_file(path):
            yield from self._plugin_documents(at, path)
        elif path is not None and self._walk.has_kustomization(path):
            self._walk.follow(_Visit(path, self._root))
        else:
            yield self._outside(at, value)

    def _plugin_documents(self, at: Path, path: str) -> Iterator[InvalidFile]:
        try:
            documents = load_all(self._walk.data(path), file=path)
        except InvalidFile as error:
            yield error
            return
        yield from self._documents(at, documents, f"{path}: ")

    def _documents(self, at: Path, documents: list[Any], file_name: str) -> Iterator[InvalidFile]:
        for document in documents:
            if isinstance(document, dict):
                yield from self._document(at, document, file_name)

    def _document(
        self, at: Path, document: dict[str, Any], file_name: str
    ) -> Iterator[InvalidFile]:
        """A generator, transformer or validator: built into kustomize, and with files of the
        bundle.
        """
        if isinstance(document.get("items"), list):
            yield from self._documents(at, document["items"], file_name)
            return
        kind, version = document.get("kind"), document.get("apiVersion")
        if version != "builtin" or kind not in _BUILTIN or _is_function(document):
            summary = (
                f"{_field_text(at)}: {file_name}{str(kind)[:80]} of {str(version)[:80]} does not"
                " run here"
            )
            yield self._problem(at, summary, "Use the built-in generators and transformers only.")
            return
        lower_keys = {key.casefold(): value for key, value in document.items() if value is not None}
        for key in ("files", "envs", "env"):
            yield from self._generator(at, {key: lower_keys.get(key)})
        if lower_keys.get("path"):
            yield from self._file((*at, "path"), lower_keys["path"])
        for key, check in (("paths", self._patch), ("replacements", self._with_path)):
            if key in lower_keys:
                yield from self._check_each((*at, key), lower_keys[key], check)

    @property
    def _root(self) -> str:
        """The folder that paths in plugin documents are relative to."""
        return self._visit.folder if self._visit.plugin_root is None else self._visit.plugin_root

    def _inner(self, value: Any, address: re.Pattern[str], folder: str) -> str | None:
        """The path in the bundle; None for an address, a path that leaves the bundle, or no
        text.
        """
        if not isinstance(value, str) or address.search(value) or _is_http(value):
            return None
        return self._walk.resolve(folder, value)

    def _outside(self, at: Path, value: Any) -> InvalidFile:
        address = redacted(redacted_login(str(value)))[:200]
        return self._problem(
            at, f"{_field_text(at)} names {address}, which is not in the bundle", _COPY
        )

    def _problem(self, at: Path, summary: str, step: str) -> InvalidFile:
        return InvalidFile(summary, file=self._path, line=self._line(at), next_step=step)

    def _line(self, at: Path) -> int:
        """The line of the field, or of the closest one around it; 0 when it is not known."""
        if self._lines is None:
            try:
                self._lines = {path: place.line for path, place in places(self._text).items()}
            except InvalidFile:
                self._lines = {}
        return next(
            (self._lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self._lines), 0
        )


def _field_text(at: Path) -> str:
    """`patches[0].path`"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
    return "".join(parts).removeprefix(".")


def _inline(value: Any) -> list[Any] | None:
    """The documents that a text holds, or None when it is no document."""
    if not isinstance(value, str):
        return None
    try:
        documents = [document for document in load_all(value) if document is not None]
    except InvalidFile:
        return None
    return documents if documents and all(isinstance(d, dict) for d in documents) else None


def _is_http(value: Any) -> bool:
    return isinstance(value, str) and bool(re.match(r"\s*https?:", value, re.IGNORECASE))


def _is_function(document: dict[str, Any]) -> bool:
    """Whether kustomize would take the document for a container or exec function."""
    meta = document.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    return isinstance(notes, dict) and any(str(key).startswith("config.k") for key in notes)
