"""helm's release records: one Secret for each revision of a release.

This is the only module that lists, decodes, rewrites and deletes them. The labels of a record are
enough for most questions; a record itself holds up to a megabyte.

Source: helm.sh/helm/v4 `pkg/storage/driver/secrets.go` (gzip and base64 of JSON, in the Secret's
own base64).
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.formats.url_path import below, core_path, in_namespace
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.formats.yaml_stream import flatten
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_marks import kept_by_uninstall

from ..kube.client import METADATA_LIST, Kube
from ..state.journal import Order
from .parts import PART

STATUS_DEPLOYED, STATUS_FAILED, STATUS_UNINSTALLED = "deployed", "failed", "uninstalled"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})
LEAVING = frozenset({"uninstalling", STATUS_UNINSTALLED})
ANY_RELEASE = "owner=helm"  # label selector of every record
_GZIP = 31
# helm keeps at most a megabyte compressed; a record that unpacks to more than this is not helm's.
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


@dataclass(frozen=True)
class RecordHeader:
    """The labels of one release record. `status` is helm's word; `secret`: its name; `bundle`: ""
    for a release that no agent made; `order`: of the generation that it was made for; `part`: 1 is
    the release itself.
    """

    release: str
    namespace: str
    version: int
    status: str
    secret: str = ""
    uid: str = ""
    bundle: str = ""
    order: Order = (0, 0)
    digest: str = ""
    part: int = 1

    @property
    def place(self) -> tuple[str, str]:
        return self.release, self.namespace


@dataclass(frozen=True)
class ReleaseRecord:
    """One release record with the objects that it states, hooks left out."""

    header: RecordHeader
    refs: tuple[ObjectRef, ...] = ()


class _Content(msgspec.Struct):
    manifest: str = ""


def selector_of(release: Release) -> str:
    """The label selector of a release's records."""
    return f"{ANY_RELEASE},name={release.name}"


def cluster_selector(cluster: ClusterId) -> str:
    """The label selector of the records that an agent of this cluster made."""
    return f"{ANY_RELEASE},fleetctl-cluster={cluster}"


async def read(kube: Kube, release: Release) -> list[ReleaseRecord]:
    """Every record of the release, oldest first. Raises ClusterUnreachable, ToolFailed."""
    release_records = [
        ReleaseRecord(header_of(secret["metadata"]), _refs(secret, release.namespace))
        for secret in await read_secrets(kube, release)
    ]
    return sorted(release_records, key=lambda record: record.header.version)


async def read_secrets(kube: Kube, release: Release) -> list[JsonObject]:
    """The Secrets of the release's records, as the API server has them."""
    path = in_namespace(release.namespace, "secrets", labelSelector=selector_of(release))
    secrets: list[JsonObject] = (await kube.call("GET", path)).get("items") or []
    return secrets


async def read_manifest(kube: Kube, header: RecordHeader) -> str:
    """What the revision applied, hooks left out; "" for a record that nobody can read. Raises
    NotFound, ClusterUnreachable, ToolFailed.
    """
    return _manifest(
        await kube.call("GET", in_namespace(header.namespace, "secrets", header.secret))
    )


async def list_headers(kube: Kube, namespace: str, selector: str) -> list[RecordHeader]:
    """The records with the labels, in one namespace or ("") in all, in pages. Raises
    ClusterUnreachable, ToolFailed.
    """
    folder = in_namespace(namespace, "secrets") if namespace else core_path("secrets")
    query = {"labelSelector": selector, "limit": "500"}
    headers: list[RecordHeader] = []
    while True:
        try:
            page = await kube.call("GET", below(folder, **query), headers=METADATA_LIST)
        except NotFound:
            return headers
        headers += [header_of(item["metadata"]) for item in page.get("items") or []]
        query["continue"] = (page.get("metadata") or {}).get("continue") or ""
        if not query["continue"]:
            return headers


async def list_release(kube: Kube, release: Release) -> list[RecordHeader]:
    """The records of the release, oldest first. Raises as `list_headers`."""
    headers = await list_headers(kube, release.namespace, selector_of(release))
    return sorted(headers, key=lambda header: header.version)


async def has_records(kube: Kube, release: Release) -> bool:
    """Whether the release exists. Raises ClusterUnreachable, ToolFailed."""
    selector = selector_of(release)
    path = in_namespace(release.namespace, "secrets", labelSelector=selector, limit="1")
    return bool((await kube.call("GET", path, headers=METADATA_LIST)).get("items"))


async def delete_all(kube: Kube, release: Release) -> None:
    """Delete every record, and nothing that it states: one by one, oldest first, because helm needs
    that right too.
    """
    for header in await list_release(kube, release):
        name = f"sh.helm.release.v1.{release.name}.v{header.version}"
        try:
            await kube.delete(in_namespace(release.namespace, "secrets", name))
        except NotFound:
            continue


async def delete_failed(kube: Kube, release: Release) -> None:
    """Delete the records of failed runs that came after the deployed revision."""
    headers = await list_release(kube, release)
    deployed_version = max((h.version for h in headers if h.status == STATUS_DEPLOYED), default=0)
    for header in headers:
        if (
            deployed_version
            and header.status == STATUS_FAILED
            and header.version > deployed_version
        ):
            await kube.delete(in_namespace(release.namespace, "secrets", header.secret))


def unpack(secret: JsonObject) -> JsonObject | None:
    """What a record holds; None for a record that helm cannot read either."""
    try:
        content = msgspec.json.decode(_decompress(secret))
    except (KeyError, TypeError, ValueError, zlib.error):
        return None
    return content if isinstance(content, dict) else None


async def replace(kube: Kube, release: Release, secret: JsonObject, content: JsonObject) -> None:
    """Write the record with new content. The Secret's resourceVersion goes with it: Changed is
    raised when somebody else wrote the record meanwhile.
    """
    compressed_bytes = gzip.compress(msgspec.json.encode(content), 9, mtime=0)
    text = base64.b64encode(base64.b64encode(compressed_bytes)).decode()
    head = {**secret, "apiVersion": "v1", "kind": "Secret"}
    body = {**head, "data": {**secret["data"], "release": text}}
    path = in_namespace(release.namespace, "secrets", secret["metadata"]["name"])
    await kube.replace(path, body)


def header_of(meta: Mapping[str, Any]) -> RecordHeader:
    labels = meta.get("labels") or {}
    return RecordHeader(
        release=str(labels.get("name", "")),
        namespace=str(meta.get("namespace", "")),
        version=_number(labels.get("version")),
        status=str(labels.get("status", "")),
        secret=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        bundle=str(labels.get("fleetctl-bundle", "")),
        order=(_number(labels.get("fleetctl-epoch")), _number(labels.get("fleetctl-generation"))),
        digest=str(labels.get("fleetctl-digest", "")),
        part=_number(labels.get(PART)) or 1,
    )


def refs_of(documents: Iterable[Any], namespace: str) -> tuple[ObjectRef, ...]:
    """The objects in `documents`, the items of Lists each by itself; `namespace` where an object
    states none.
    """
    refs = [_ref_of(item, namespace) for document in documents for item in flatten(document)]
    return tuple(dict.fromkeys(refs))


def _ref_of(item: JsonObject, namespace: str) -> ObjectRef:
    meta = item.get("metadata") or {}
    return ObjectRef(
        str(item.get("apiVersion")),
        str(item["kind"]),
        str(meta.get("namespace") or namespace),
        str(meta.get("name")),
        kept_by_uninstall(meta.get("annotations")),
    )


def _number(text: object) -> int:
    """A label as a number; people can change labels, and 0 stands for what is no number."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 16 else 0


def _decompress(secret: JsonObject) -> bytes:
    compressed_bytes = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    return zlib.decompressobj(_GZIP).decompress(compressed_bytes, _MOST_JSON)


def _manifest(secret: JsonObject) -> str:
    """Only the manifest is decoded: a record also holds the whole chart."""
    try:
        return msgspec.json.decode(_decompress(secret), type=_Content).manifest
    except (KeyError, TypeError, ValueError, zlib.error):
        return ""


def _refs(secret: JsonObject, namespace: str) -> tuple[ObjectRef, ...]:
    """A record that cannot be read states nothing: an object that nobody names is left alone."""
    return refs_of(load_all(_manifest(secret), file="manifest"), namespace)
