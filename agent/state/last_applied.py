"""What was applied of each bundle, on this disk: what live objects are compared with.

Rule: nothing of it stays in memory. One object of a thousand is found without decoding the others.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from fleetctl.core.formats.yaml import load
from fleetctl.core.formats.yaml_stream import documents_of, flatten
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.durable import write_whole
from fleetctl.tools.helm_marks import add_marks

from .secret_masking import Hiding


class ObjectKey(NamedTuple):
    """An object by what names it; `namespace` is "" for kinds without."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class AppliedObjects(msgspec.Struct, kw_only=True):
    """The objects of one bundle as helm applied them, its marks on each."""

    objects: list[JsonObject]


class _Raw(msgspec.Struct):
    objects: list[msgspec.Raw]


class _Names(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Head(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    metadata: _Names = msgspec.field(default_factory=_Names)


class LastApplied:
    """`STATE_DIR/objects/BUNDLE.json`, without the values of Secrets
    (agent/state/secret_masking.py); beside it `BUNDLE.accepted` once it has been looked at: what
    differed right after it was applied.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.hiding = folder, Hiding(folder.parent)
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(
        self,
        bundle: BundleName,
        manifest: str,
        namespace: str,
        release: str = "",
        *,
        more: bool = False,
    ) -> None:
        """The objects of helm's manifest, each with the namespace and the marks that helm gave it.
        `more`: another part of the same bundle, in a release of its own.
        """
        before = self.get(bundle) if more else None
        resources = [
            o
            for part in documents_of(manifest.encode())
            for o in flatten(load(part, file="manifest"))
        ]
        for item in resources:
            _place(item, namespace)
            if release:
                add_marks(item["metadata"], release, namespace)
        # Of an object that is stated twice the last one counts, as in helm. One without a name
        # cannot be looked up.
        objects = {_place_in(item): item for item in resources if item["metadata"]["name"]}.values()
        self.put(
            bundle,
            AppliedObjects(
                objects=[*(before.objects if before else ()), *map(self.hiding.hide, objects)]
            ),
        )

    def put(self, bundle: BundleName, content: AppliedObjects) -> None:
        """Nobody has looked at them since they were applied."""
        self._acceptance_path(bundle).unlink(missing_ok=True)
        write_whole(self._path(bundle), msgspec.json.encode(content))

    def get(self, bundle: BundleName) -> AppliedObjects | None:
        """All of it, decoded; None for a bundle that nothing is known of."""
        try:
            return msgspec.json.decode(self._path(bundle).read_bytes(), type=AppliedObjects)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def each(self, bundle: BundleName) -> list[tuple[ObjectKey, msgspec.Raw]] | None:
        """Each object by its place, as stated (kinds without namespaces have one here), undecoded.
        None as for `get`.
        """
        try:
            return [
                (_place_of(raw), raw)
                for raw in msgspec.json.decode(self._path(bundle).read_bytes(), type=_Raw).objects
            ]
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def accepted(self, bundle: BundleName) -> dict[str, list[str]] | None:
        """Pointers by place that differed right after it was applied; None when nobody has looked
        since.
        """
        try:
            return msgspec.json.decode(
                self._acceptance_path(bundle).read_bytes(), type=dict[str, list[str]]
            )
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def accept(self, bundle: BundleName, fields: dict[str, list[str]]) -> None:
        """A full disk stops changes, not the look at what runs."""
        with contextlib.suppress(OSError):
            write_whole(self._acceptance_path(bundle), msgspec.json.encode(fields))

    def drop(self, bundle: BundleName) -> None:
        self._path(bundle).unlink(missing_ok=True)
        self._acceptance_path(bundle).unlink(missing_ok=True)

    def _path(self, bundle: BundleName) -> Path:
        return self._folder / f"{bundle}.json"

    def _acceptance_path(self, bundle: BundleName) -> Path:
        return self._folder / f"{bundle}.accepted"


def _place(item: JsonObject, namespace: str) -> None:
    if not isinstance(item.get("metadata"), dict):
        item["metadata"] = {}
    meta = item["metadata"]
    meta["namespace"] = str(meta.get("namespace") or namespace)
    meta["name"] = str(meta.get("name", ""))
    item["apiVersion"], item["kind"] = str(item.get("apiVersion", "")), str(item["kind"])


def _place_in(item: JsonObject) -> ObjectKey:
    return ObjectKey(
        item["apiVersion"], item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]
    )


def _place_of(raw: msgspec.Raw) -> ObjectKey:
    head = msgspec.json.decode(raw, type=_Head)
    return ObjectKey(head.api_version, head.kind, head.metadata.namespace, head.metadata.name)
