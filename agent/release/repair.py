"""What a helm that was killed, or that failed, has left of one release, and how it is put right
with every object kept.

helm refuses to go on over a record that stands at `pending-…`, and over one that stands at
`uninstalling` once nothing is deployed. Only that record goes; the next upgrade takes over the
objects, which carry the release's marks, and recreates none. What only such a record knows of, an
object that the killed run had made and that no later generation states, would stay in the cluster
for ever: it is written down first, and goes when the release is as it should be.

Rule: a record goes only when no helm of ours can be alive (agent/release/helm_lock.py), and when it
can be nobody else's: a record that looks like that of a person's own helm is left alone for half a
minute.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import FleetError, NotFound, PendingOperation, ToolFailed
from fleetctl.core.model.ids import BundleName
from fleetctl.tools.helm import Release

from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from ..state import files
from .recovery import DEPLOYED, LEAVING, PENDING, RecordHeader, list_headers

FOREIGN_SECONDS = 30.0
_NAME, _NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_MOST_RECORD = 64 * 1024 * 1024


class Leftover(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An object that a release may have made and does not state any more."""

    api_version: str
    kind: str
    namespace: str
    name: str
    release: str
    release_namespace: str


class ReleaseRepair:
    """`folder`: where what is left is written down, by bundle; `clock`: seconds that only grow."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._first_seen: dict[str, float] = {}

    async def settle(self, kube: Kube, bundle: BundleName, release: Release) -> list[RecordHeader]:
        """The release's records, newest first, without those that stand in helm's way. Raises
        PendingOperation while one may be somebody else's helm at work, ClusterUnreachable,
        ToolFailed, OSError.
        """
        records = sorted(
            await list_headers(kube, release.namespace, f"owner=helm,name={release.name}"),
            key=lambda r: -r.version,
        )
        blocking_records = stuck(records)
        for record in blocking_records:
            first_seen_at = self._first_seen.setdefault(record.uid, self._clock())
            if may_be_foreign(record, records) and self._clock() - first_seen_at < FOREIGN_SECONDS:
                step = (
                    "Wait for it; a record that nobody finishes is taken away after half a minute."
                )
                raise PendingOperation(
                    f"another helm works on {release}", subject=str(release), next_step=step
                )
        await self._write_down(kube, bundle, release, unfinished(records))
        for record in blocking_records:
            failpoint("before-forget")
            await _delete(
                kube, in_namespace(record.namespace, "secrets", record.secret), record.uid
            )
            self._first_seen.pop(record.uid, None)
            event(
                "the record of a helm that was cut off is taken away",
                release=release,
                revision=record.version,
                status=record.status,
            )
            failpoint("after-forget")
        return [record for record in records if record not in blocking_records]

    async def remember_all(self, kube: Kube, bundle: BundleName, release: Release) -> None:
        """Before a removal that follows a helm which was cut off: helm removes what the last record
        states, and no other's objects.
        """
        await self._write_down(
            kube,
            bundle,
            release,
            await list_headers(kube, release.namespace, f"owner=helm,name={release.name}"),
        )

    async def sweep(self, kube: Kube, bundle: BundleName, release: Release, manifest: str) -> None:
        """Remove what was written down of the release and is not in its manifest, where it still
        carries the release's marks.
        """
        leftovers = self.leftovers(bundle)
        if not leftovers:
            return
        stated_keys = {_key(_leftover_of(item, release)) for item in _objects(manifest)}
        for leftover in leftovers:
            if _key(leftover) not in stated_keys:
                failpoint("before-leftover")
                await _remove(kube, leftover)
        files.io.unlink(self._path(bundle))

    def leftovers(self, bundle: BundleName) -> list[Leftover]:
        try:
            return msgspec.json.decode(self._path(bundle).read_bytes(), type=list[Leftover])
        except (OSError, msgspec.DecodeError):
            return []

    async def _write_down(
        self, kube: Kube, bundle: BundleName, release: Release, records: Iterable[RecordHeader]
    ) -> None:
        leftovers = set(self.leftovers(bundle))
        count_before = len(leftovers)
        for record in records:
            leftovers |= {
                _leftover_of(item, release) for item in await _objects_of_record(kube, record)
            }
        if len(leftovers) > count_before:
            files.write_whole(self._path(bundle), msgspec.json.encode(sorted(leftovers)))

    def _path(self, bundle: BundleName) -> Path:
        return self._folder / f"{bundle}.left"


def stuck(records: Iterable[RecordHeader]) -> list[RecordHeader]:
    """The records over which helm would refuse an upgrade: pending ones, and, when nothing is
    deployed, those of a cut-off uninstall.
    """
    records = list(records)
    deployed = any(r.status == DEPLOYED for r in records)
    return [r for r in records if r.status in PENDING or (r.status in LEAVING and not deployed)]


def may_be_foreign(record: RecordHeader, records: Iterable[RecordHeader]) -> bool:
    """A person's helm carries our labels on: then another record has the same order. One of ours
    has an order of its own, but for a repetition of the same generation, and for the way back that
    `atomic` takes from a revision that failed.
    """
    records = list(records)
    record_below = max(
        (other_record for other_record in records if other_record.version < record.version),
        key=lambda other_record: other_record.version,
        default=record,
    )
    if record.status == "pending-rollback" and record_below.status == "failed":
        return False
    return any(
        other_record.order == record.order and other_record is not record
        for other_record in records
    )


def unfinished(records: list[RecordHeader]) -> list[RecordHeader]:
    """Those above the deployed one (newest first): what they state was perhaps made."""
    return records[
        : next((at for at, r in enumerate(records) if r.status == DEPLOYED), len(records))
    ]


async def _objects_of_record(kube: Kube, record: RecordHeader) -> list[dict[str, Any]]:
    """The objects in a record's manifest; nothing for a record that is gone or cannot be read."""
    try:
        secret = await kube.call("GET", in_namespace(record.namespace, "secrets", record.secret))
        compressed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        # helm keeps at most a megabyte packed; a record that unpacks to more than this is none of
        # helm's.
        release = msgspec.json.decode(
            zlib.decompressobj(wbits=31).decompress(compressed, _MOST_RECORD)
        )
        objects = _objects(str(release.get("manifest", "")))
    except NotFound:
        return []
    except (KeyError, ValueError, TypeError, AttributeError, zlib.error, FleetError):
        return []
    return [item for item in objects if _policy(item) != "keep"]


def _objects(manifest: str) -> list[dict[str, Any]]:
    return [
        item
        for item in load_all(manifest, file="manifest")
        if isinstance(item, dict) and item.get("kind")
    ]


def _leftover_of(item: dict[str, Any], release: Release) -> Leftover:
    meta = item.get("metadata") or {}
    object_namespace = str(meta.get("namespace") or release.namespace)
    return Leftover(
        api_version=str(item.get("apiVersion")),
        kind=str(item["kind"]),
        namespace=object_namespace,
        name=str(meta.get("name")),
        release=release.name,
        release_namespace=release.namespace,
    )


def _key(leftover: Leftover) -> tuple[str, str, str, str]:
    """By group, not by version: an object that moved to another version is the same."""
    return leftover.api_version.rpartition("/")[0], leftover.kind, leftover.namespace, leftover.name


def _policy(item: dict[str, Any]) -> str:
    return str(
        ((item.get("metadata") or {}).get("annotations") or {}).get("helm.sh/resource-policy", "")
    )


async def _remove(kube: Kube, leftover: Leftover) -> None:
    """Unless somebody else has it by now, or it is gone."""
    try:
        path = await kube.object_path(
            leftover.api_version, leftover.kind, leftover.namespace, leftover.name
        )
        live = await kube.call("GET", path)
    except NotFound:
        return
    meta = live.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if (annotations.get(_NAME), annotations.get(_NAMESPACE)) != (
        leftover.release,
        leftover.release_namespace,
    ) or _policy(live) == "keep":
        return
    event(
        "an object of a run that was cut off, which nothing states any more, is removed",
        kind=leftover.kind,
        name=leftover.name,
    )
    await _delete(kube, path, str(meta.get("uid", "")))


async def _delete(kube: Kube, path: str, uid: str) -> None:
    """Exactly the object that was looked at: another of the same name is another."""
    options: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
    }
    body = options | ({"preconditions": {"uid": uid}} if uid else {})
    try:
        await kube.call(
            "DELETE", path, msgspec.json.encode(body), {"content-type": "application/json"}
        )
    except NotFound:
        return
    except ToolFailed as why:
        if "precondition" not in why.summary.lower():
            raise
