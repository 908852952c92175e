"""What the cluster's own release records say, compared with the journal before anything is changed.

Every record of ours carries the bundle, the epoch and the generation as labels. Rule: what the cluster has seen is never fallen behind,
whatever happened to this machine's disk (I4); what is not known to have finished counts as not applied, and is applied again, which changes
nothing that is as it should be; a release that is only in the cluster is known again, so that a tombstone finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fleetctl.core.errors import NotFound, ToolFailed
from fleetctl.core.ids import BundleName, ClusterId, Epoch, Generation
from fleetctl.core.urlpath import below, core_path, in_namespace

from .journal import Entry, Journal, Order
from .kube import Forbidden, Kube
from .log import trouble
from .parts import PART

# The labels are all that is needed: a record itself holds up to a megabyte.
METADATA = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
DEPLOYED = "deployed"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})
LEAVING = frozenset({"uninstalling", "uninstalled"})


@dataclass(frozen=True)
class Record:
    """One release record of helm. `secret`: its name; `order`: of the generation that it was made for; `part`: 1 is the release itself."""

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


async def recover(kube: Kube, journal: Journal, cluster: ClusterId, namespaces: Collection[str] = ()) -> list[BundleName]:
    """The bundles of which the cluster knew more than the journal, which knows it now. `namespaces`: where to look when this agent may not
    list everywhere. Raises ClusterUnreachable, ToolFailed, OSError.
    """
    records, complete = await _all(kube, f"owner=helm,fleetctl-cluster={cluster}", namespaces)
    changed = merged(journal.entries, records, complete=complete)
    for entry in changed:
        journal.put(entry)
    journal.broken = False
    return [entry.bundle for entry in changed]


def merged(entries: Mapping[BundleName, Entry], records: Iterable[Record], *, complete: bool) -> list[Entry]:
    """The entries that must be written down. `complete`: a release that has no record here has none. Pure."""
    found: dict[BundleName, list[Record]] = {}
    for record in _present(records):
        if record.bundle:
            found.setdefault(BundleName(record.bundle), []).append(record)
    changed = [entry for bundle, held in sorted(found.items()) if (entry := _joined(bundle, entries.get(bundle), held))]
    if complete:
        gone = [e for e in entries.values() if e.release and e.applied and e.bundle not in found]
        changed += [msgspec.structs.replace(e, applied=Generation(0), revision=0, began=True) for e in gone]
    return changed


def _present(records: Iterable[Record]) -> list[Record]:
    """Without those of bundles that had a release before the one that has it now: whose the newest record is, is the release."""
    records = list(records)
    owner = {record.place: record.bundle for record in _newest(records)}
    return [record for record in records if record.bundle == owner[record.place]]


def _joined(bundle: BundleName, entry: Entry | None, records: list[Record]) -> Entry | None:
    """The entry as it should be, or None when it is."""
    top = max(record.order for record in records)
    if entry is not None and top <= (entry.epoch, entry.generation):
        newest = [r for r in _newest(records) if r.part == 1 and r.place == (entry.release, entry.namespace)]
        settled = newest and newest[0].status == DEPLOYED and newest[0].order == (entry.epoch, entry.applied)
        return None if entry.began or settled or not newest else msgspec.structs.replace(entry, began=True)
    first = [r for r in records if r.part == 1] or records
    own = [r for r in first if entry and r.place == (entry.release, entry.namespace)]
    last = max(own or first, key=lambda r: (r.order, r.version))
    known = {
        "epoch": Epoch(top[0]),
        "generation": Generation(top[1]),
        "applied": Generation(0),
        "release": last.release,
        "namespace": last.namespace,
        "parts": tuple(sorted({r.part for r in records if r.part > 1})),
        "revision": last.version,
        "former": tuple(sorted({r.place for r in first} - {last.place} | set(entry.former if entry else ()))),
        "began": True,
    }
    return msgspec.structs.replace(entry or Entry(bundle=bundle), **known)


def _newest(records: Iterable[Record]) -> list[Record]:
    """The last record of each release."""
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        if record.place not in found or record.version > found[record.place].version:
            found[record.place] = record
    return list(found.values())


async def _all(kube: Kube, selector: str, namespaces: Collection[str]) -> tuple[list[Record], bool]:
    """(the records, whether these are all): one request, or one for each namespace where the agent may not look everywhere."""
    try:
        return await listed(kube, "", selector), True
    except ToolFailed:
        if not namespaces:
            raise
    found: list[Record] = []
    for namespace in sorted(namespaces):
        try:
            found += await listed(kube, namespace, selector)
        except Forbidden as why:  # one bundle in a place that is not granted stops no other; its own installation says so too
            trouble(f"namespace {namespace}", f"its release records cannot be read: {why.summary}")
    return found, False


async def listed(kube: Kube, namespace: str, selector: str) -> list[Record]:
    """The release records with the labels, in one namespace or ("") in all. Raises ClusterUnreachable, ToolFailed."""
    folder, more = in_namespace(namespace, "secrets") if namespace else core_path("secrets"), ""
    query = {"labelSelector": selector, "limit": "500"}
    found: list[Record] = []
    while True:
        try:
            answer = await kube.call("GET", below(folder, **query, **({"continue": more} if more else {})), headers=METADATA)
        except NotFound:
            return found
        found += [record_of(item["metadata"]) for item in answer.get("items") or []]
        more = (answer.get("metadata") or {}).get("continue") or ""
        if not more:
            return found


def record_of(meta: Mapping[str, Any]) -> Record:
    labels = meta.get("labels") or {}
    return Record(
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


def _number(text: object) -> int:
    """Labels are a person's to change: what is no number is none."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 16 else 0
