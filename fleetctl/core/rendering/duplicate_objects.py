"""Finds objects that the manifests of a raw bundle state twice.

Helm stores one manifest per object: of two documents for the same object only one can take effect.
Two documents are the same object if API group, kind, namespace and name are equal. A missing
namespace is the namespace of the release. Templates are not judged: only helm knows their objects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fleetctl.core.charts.reference import remote_chart
from fleetctl.core.formats.yaml import SourcePlace, read
from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS, flatten, is_object
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.overlays import lay
from fleetctl.core.rendering.render import chart_of, kustomize_folder, manifest_files

CODE = "duplicate-object"
NEXT_STEP = "Remove one of the two documents, or give one object another name."
_SEPARATOR = re.compile(rb"(?m)^---(?=\s|$)[^\n]*\n?")
_KIND = re.compile(rb"(?m)^kind:[ \t]+[\"']?([A-Za-z0-9]+)[\"']?[ \t\r]*(?:#.*)?$")
_METADATA = re.compile(rb"(?m)^metadata:[ \t\r]*(?:#[^\n]*)?\n((?:[ \t#\r][^\n]*\n|\n)*)")
_NAME = re.compile(rb"(?m)^[ \t]+name:[ \t]+[\"']?([A-Za-z0-9.:_-]+)[\"']?[ \t\r]*(?:#.*)?$")
_NAME_KEY = re.compile(rb"name[\"']?[ \t]*:")

_Identity = tuple[str, str, str, str]  # API group, kind, namespace, name


class DuplicateObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that `file` states at `place`, after `first_file` stated it at `first_place`.

    `namespace` is what the second document states, or "".
    """

    kind: str
    namespace: str
    name: str
    first_file: str
    first_place: SourcePlace
    file: str
    place: SourcePlace

    def describe(self, folder: str) -> str:
        """The sentence for a warning at `file` and `place`. `folder`: of the bundle, as text before
        the path of a file.
        """
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        first = f"{folder}{self.first_file}:{self.first_place.line}"
        return f"{self.kind} {name} is already in {first}; only one of the two can take effect"


def find_duplicates(files: Mapping[str, File], options: Options) -> list[DuplicateObject]:
    """The objects that a raw bundle states again, in the order of its files. Never raises.

    A bundle that helm or kustomize renders has none. Overlays are not laid over the files. A file
    that is not valid YAML is skipped: the cluster's render plan refuses it.
    """
    if not _is_raw(files, options):
        return []
    base_files = lay(files, [])
    manifests = {path: base_files[path].data for path in manifest_files(base_files)}
    forced_namespace = options.target_namespace or options.namespace or ""
    release_namespace = forced_namespace or options.default_namespace or ""
    first_places: dict[_Identity, tuple[str, SourcePlace]] = {}
    duplicates: list[DuplicateObject] = []
    for path in _files_to_parse(manifests):
        for value, place in _objects(manifests[path], path):
            identity = _identity_of(value, forced_namespace, release_namespace)
            if identity is None:
                continue
            if identity in first_places:
                duplicates.append(_duplicate(value, first_places[identity], (path, place)))
            else:
                first_places[identity] = (path, place)
    return duplicates


def _duplicate(
    value: Mapping[str, Any], first: tuple[str, SourcePlace], second: tuple[str, SourcePlace]
) -> DuplicateObject:
    metadata = value["metadata"]
    return DuplicateObject(
        kind=value["kind"],
        namespace=_text(metadata.get("namespace")),
        name=metadata["name"],
        first_file=first[0],
        first_place=first[1],
        file=second[0],
        place=second[1],
    )


def _is_raw(files: Mapping[str, File], options: Options) -> bool:
    helm = options.helm or HelmOptions()
    if remote_chart(helm) is not None or chart_of(files, helm) is not None:
        return False
    folder = kustomize_folder(options)
    if folder is None:
        return True
    prefix = f"{folder}/" if folder else ""
    return not any(prefix + name in files for name in KUSTOMIZATIONS)


def _files_to_parse(manifests: Mapping[str, bytes]) -> list[str]:
    """The files that may state an object twice. A scan of a whole fleet parses no others.

    The text alone shows kind and name of the usual block style. A file in another style is parsed.
    """
    labels = {path: _labels(data) for path, data in manifests.items()}
    counts = Counter(label for file_labels in labels.values() for label in file_labels or ())
    has_unusual_file = any(file_labels is None for file_labels in labels.values())
    return [
        path
        for path, file_labels in labels.items()
        if file_labels is None
        or (has_unusual_file and file_labels)
        or any(counts[label] > 1 for label in file_labels)
    ]


def _labels(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """(kind, name) of each document, with every `name:` below `metadata:`; None if the
    text alone does not show them.
    """
    if b"apiVersion" not in data or b"kind" not in data:
        return []
    labels: list[tuple[bytes, bytes]] = []
    for text in _SEPARATOR.split(data + b"\n"):
        if b"apiVersion" not in text:
            continue
        kinds, blocks = _KIND.findall(text), _METADATA.findall(text)
        if len(kinds) != 1 or len(blocks) != 1 or kinds[0].endswith(b"List"):
            return None
        names = _NAME.findall(blocks[0])
        if not names or len(names) != len(_NAME_KEY.findall(blocks[0])):
            return None
        labels += [(kinds[0], name) for name in set(names)]
    return labels


def _objects(data: bytes, path: str) -> Iterator[tuple[dict[str, Any], SourcePlace]]:
    """Each object of a file with the place of its `kind`; the items of a List have its place."""
    try:
        documents = read(data, file=path, places=True)
    except InvalidFile:
        return
    for document in documents:
        if is_object(document.value):
            place = document.places.get(("kind",), document.place)
            for value in flatten(document.value):
                yield value, place


def _identity_of(
    value: Mapping[str, Any], forced_namespace: str, release_namespace: str
) -> _Identity | None:
    metadata = value.get("metadata")
    name = _text(metadata.get("name")) if isinstance(metadata, dict) else ""
    if not isinstance(metadata, dict) or not name:
        return None
    namespace = forced_namespace or _text(metadata.get("namespace")) or release_namespace
    group = _text(value.get("apiVersion")).rpartition("/")[0]
    return group, str(value["kind"]), namespace, name


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
