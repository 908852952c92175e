"""Repairs a release after a helm run that was killed or that failed; every object stays.

helm refuses to continue over a record that is `pending-…`, and over a record that is `uninstalling`
when nothing is deployed. Only that record is deleted: the next upgrade takes over the objects,
which carry the release's marks, and recreates none. An object that only such a record states, and
that no later generation states, would stay in the cluster for ever: it is written down as a
leftover first, and deleted when the release is as it should be.

Rule: a record is deleted only when no helm of this agent can be alive (agent/release/helm_lock.py).
A record that may belong to a person's own helm is left alone for half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from fleetctl import durable
from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.model.errors import FleetError, NotFound, PendingOperation, WriteConflict
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.crds import documents
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_marks import kept_by_upgrade, owner_of

from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from . import records
from .records import LEAVING, PENDING, STATUS_DEPLOYED, STATUS_FAILED, RecordHeader

FOREIGN_SECONDS = 30.0
ObjectId = tuple[str, str, str, str]


class Leftover(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An object that a release may have created and does not state any more."""

    api_version: str
    kind: str
    namespace: str
    name: str
    release: str
    release_namespace: str

    @property
    def object_id(self) -> ObjectId:
        """By group, not by version: an object that moved to another version is the same."""
        return self.api_version.rpartition("/")[0], self.kind, self.namespace, self.name


class ReleaseRepair:
    """`folder`: holds the leftovers of each bundle in one file; `clock`: monotonic seconds."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._first_seen: dict[str, float] = {}

    async def settle(self, kube: Kube, bundle: BundleName, release: Release) -> list[RecordHeader]:
        """Delete the records over which helm would refuse to continue. Returns the others, newest
        first. Raises PendingOperation while a record may belong to a person's helm at work,
        ClusterUnreachable, ToolFailed, OSError.
        """
        headers = (await records.list_release(kube, release))[::-1]
        blocking = find_blocking(headers)
        for header in blocking:
            self._refuse_foreign(release, header, headers)
        await self._write_down(kube, bundle, release, find_unfinished(headers))
        for header in blocking:
            failpoint("before-forget")
            path = in_namespace(header.namespace, "secrets", header.secret)
            await _delete(kube, path, header.uid)
            self._first_seen.pop(header.uid, None)
            event(
                "the record of a helm run that was cut off is deleted",
                release=release,
                revision=header.version,
                status=header.status,
            )
            failpoint("after-forget")
        return [header for header in headers if header not in blocking]

    def _refuse_foreign(
        self, release: Release, header: RecordHeader, headers: list[RecordHeader]
    ) -> None:
        """Raises PendingOperation for a young record that may belong to a person's helm."""
        age = self._clock() - self._first_seen.setdefault(header.uid, self._clock())
        if age < FOREIGN_SECONDS and may_be_foreign(header, headers):
            step = "Wait; the agent deletes an unfinished record after half a minute."
            raise PendingOperation(
                f"another helm works on {release}", subject=str(release), next_step=step
            )

    async def remember_all(self, kube: Kube, bundle: BundleName, release: Release) -> None:
        """Write down what every record states, before a removal that follows a cut-off helm run:
        helm removes only what the last record states.
        """
        await self._write_down(kube, bundle, release, await records.list_release(kube, release))

    async def sweep(self, kube: Kube, bundle: BundleName, release: Release, manifest: str) -> None:
        """Delete the leftovers that are not in the release's manifest and still carry its marks."""
        leftovers = self.leftovers(bundle)
        if not leftovers:
            return
        current = {_leftover_of(item, release).object_id for item in documents(manifest.encode())}
        for leftover in leftovers:
            if leftover.object_id not in current:
                failpoint("before-leftover")
                await _remove(kube, leftover)
        durable.disk.unlink(self._path(bundle))

    def leftovers(self, bundle: BundleName) -> list[Leftover]:
        try:
            return msgspec.json.decode(self._path(bundle).read_bytes(), type=list[Leftover])
        except (OSError, msgspec.DecodeError):
            return []

    async def _write_down(
        self, kube: Kube, bundle: BundleName, release: Release, headers: Iterable[RecordHeader]
    ) -> None:
        leftovers = set(self.leftovers(bundle))
        count_before = len(leftovers)
        for header in headers:
            leftovers |= {_leftover_of(item, release) for item in await _objects_of(kube, header)}
        if len(leftovers) > count_before:
            durable.write_whole(self._path(bundle), msgspec.json.encode(sorted(leftovers)))

    def _path(self, bundle: BundleName) -> Path:
        return self._folder / f"{bundle}.left"


def find_blocking(headers: Iterable[RecordHeader]) -> list[RecordHeader]:
    """The records over which helm would refuse an upgrade: pending ones, and, when nothing is
    deployed, those of a cut-off uninstall.
    """
    headers = list(headers)
    has_deployed = any(header.status == STATUS_DEPLOYED for header in headers)
    return [
        header
        for header in headers
        if header.status in PENDING or (header.status in LEAVING and not has_deployed)
    ]


def may_be_foreign(record: RecordHeader, headers: Iterable[RecordHeader]) -> bool:
    """Whether a record may come from a person's helm, which copies the agent's labels: then another
    record has the same order.

    A record of the agent has an order of its own, except when a generation is repeated, and when
    `atomic` rolls back from a revision that failed.
    """
    headers = list(headers)
    record_below = max(
        (header for header in headers if header.version < record.version),
        key=lambda header: header.version,
        default=record,
    )
    if record.status == "pending-rollback" and record_below.status == STATUS_FAILED:
        return False
    return any(header.order == record.order and header is not record for header in headers)


def find_unfinished(headers: list[RecordHeader]) -> list[RecordHeader]:
    """The records above the deployed one (newest first): their objects may exist."""
    for index, header in enumerate(headers):
        if header.status == STATUS_DEPLOYED:
            return headers[:index]
    return headers


async def _objects_of(kube: Kube, header: RecordHeader) -> list[JsonObject]:
    """The objects that a record states; none for a record that is gone or cannot be read."""
    try:
        items = documents((await records.read_manifest(kube, header)).encode())
    except FleetError:
        return []
    return [item for item in items if not kept_by_upgrade(_annotations(item))]


def _annotations(item: JsonObject) -> object:
    return (item.get("metadata") or {}).get("annotations")


def _leftover_of(item: JsonObject, release: Release) -> Leftover:
    meta = item.get("metadata") or {}
    return Leftover(
        api_version=str(item.get("apiVersion")),
        kind=str(item["kind"]),
        namespace=str(meta.get("namespace") or release.namespace),
        name=str(meta.get("name")),
        release=release.name,
        release_namespace=release.namespace,
    )


async def _remove(kube: Kube, leftover: Leftover) -> None:
    """Delete the object, unless it is gone or another release has it by now."""
    try:
        path = await kube.object_path(
            leftover.api_version, leftover.kind, leftover.namespace, leftover.name
        )
        live = await kube.call("GET", path)
    except NotFound:
        return
    annotations = _annotations(live)
    if owner_of(annotations) != (leftover.release, leftover.release_namespace):
        return
    if kept_by_upgrade(annotations):
        return
    event(
        "an object of a cut-off helm run, which no generation states any more, is deleted",
        kind=leftover.kind,
        name=leftover.name,
    )
    await _delete(kube, path, str((live.get("metadata") or {}).get("uid", "")))


async def _delete(kube: Kube, path: str, uid: str) -> None:
    """Delete exactly that object; it may be gone, or another one may have its name by now."""
    try:
        await kube.delete(path, uid=uid, propagation="Background")
    except (NotFound, WriteConflict):
        return
