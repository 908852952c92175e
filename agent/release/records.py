"""helm's own records of a release, read without a helm run: one Secret for each revision, which
holds what that revision applied.

Source: helm.sh/helm/v4 `pkg/storage/driver/secrets.go` (gzip and base64 of JSON, in the Secret's
own base64). Records are read and deleted here; agent/deploy/removed_apis.py rewrites those that
state kinds which are not served any more.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.formats.yaml_stream import flatten
from fleetctl.core.model.errors import NotFound
from fleetctl.tools.helm import Release

from ..kube.client import Kube

_KEEP = "helm.sh/resource-policy"
_GZIP = 31
_NUMBER = re.compile(r"[0-9]{1,15}")
_MOST_JSON = 64 * 1024 * 1024


class ObjectRef(NamedTuple):
    """One object that a release states. `keep`: an uninstall leaves it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    keep: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class ReleaseRecord(NamedTuple):
    """One revision. `status` is helm's word; `bundle`: whose it is by its labels, "" for nobody's
    of this program.
    """

    number: int
    status: str
    bundle: str
    refs: tuple[ObjectRef, ...] = ()


class _Content(msgspec.Struct):
    manifest: str = ""


def secrets_path(release: Release) -> str:
    return in_namespace(
        release.namespace, "secrets", labelSelector=f"owner=helm,name={release.name}"
    )


async def read(kube: Kube, release: Release) -> list[ReleaseRecord]:
    """Every record with the objects that it states, hooks left out; oldest first. Raises
    ClusterUnreachable, ToolFailed.
    """
    answer = await kube.call("GET", secrets_path(release))
    release_records = [
        _record(item, _refs(item, release.namespace)) for item in answer.get("items") or []
    ]
    return sorted(release_records, key=lambda record: record.number)


async def list_headers(kube: Kube, release: Release) -> list[ReleaseRecord]:
    """The same without the objects: a call of a few hundred bytes."""
    kind = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    answer = await kube.call("GET", secrets_path(release), headers=kind)
    return sorted(
        (_record(item, ()) for item in answer.get("items") or []), key=lambda record: record.number
    )


async def delete_all(kube: Kube, release: Release) -> None:
    """Delete every record, and nothing that it states: one by one, oldest first, because that is
    the right that helm needs too.
    """
    for record in await list_headers(kube, release):
        try:
            await kube.call(
                "DELETE",
                in_namespace(
                    release.namespace,
                    "secrets",
                    f"sh.helm.release.v1.{release.name}.v{record.number}",
                ),
            )
        except NotFound:
            continue


def _record(item: dict[str, Any], refs: tuple[ObjectRef, ...]) -> ReleaseRecord:
    labels = item["metadata"].get("labels") or {}
    number = str(labels.get("version", "0"))
    return ReleaseRecord(
        int(number) if _NUMBER.fullmatch(number) else 0,
        str(labels.get("status", "")),
        str(labels.get("fleetctl-bundle", "")),
        refs,
    )


def _refs(item: dict[str, Any], namespace: str) -> tuple[ObjectRef, ...]:
    """What cannot be read states nothing: an object that nobody names is left where it is."""
    try:
        compressed = base64.b64decode(base64.b64decode(item["data"]["release"]))
        content = msgspec.json.decode(
            zlib.decompressobj(_GZIP).decompress(compressed, _MOST_JSON), type=_Content
        )
    except (KeyError, ValueError, zlib.error):
        return ()
    return refs_of(load_all(content.manifest, file="manifest"), namespace)


def refs_of(documents: Iterable[Any], namespace: str) -> tuple[ObjectRef, ...]:
    """The objects in `documents`, Lists opened; `namespace` where one states none."""
    refs: dict[ObjectRef, None] = {}
    for document in documents:
        for item in flatten(document):
            meta = item.get("metadata") or {}
            keep = str((meta.get("annotations") or {}).get(_KEEP, "")).strip().lower() == "keep"
            object_namespace = str(meta.get("namespace") or namespace)
            refs[
                ObjectRef(
                    str(item.get("apiVersion")),
                    str(item["kind"]),
                    object_namespace,
                    str(meta.get("name")),
                    keep,
                )
            ] = None
    return tuple(refs)
