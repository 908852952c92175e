"""What the cluster's own release records say, compared with the journal before anything is changed.

Every record of ours carries the bundle, the epoch and the generation as labels. Rule: what the
cluster has seen is never fallen behind, whatever happened to this machine's disk (I4); what is not
known to have finished counts as not applied, and is applied again, which changes nothing that is as
it should be; a release that is only in the cluster is known again, so that a tombstone finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.formats.url_path import below, core_path, in_namespace
from fleetctl.core.model.errors import FleetError, MissingAccount, NotFound, ToolFailed, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Epoch, Generation
from fleetctl.core.model.wire import Desired
from fleetctl.core.rendering.render import release_of

from ..host.log import trouble
from ..kube.client import Forbidden, Kube
from ..kube.impersonation import Rights
from ..state.journal import Entry, Journal, Order
from .parts import PART

# The labels are all that is needed: a record itself holds up to a megabyte.
METADATA = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
DEPLOYED = "deployed"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})
LEAVING = frozenset({"uninstalling", "uninstalled"})


@dataclass(frozen=True)
class RecordHeader:
    """One release record of helm. `secret`: its name; `order`: of the generation that it was made
    for; `part`: 1 is the release itself.
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


class RecordPlace(NamedTuple):
    """A namespace that may hold release records, and a service account of a bundle there ("" for
    none named).
    """

    namespace: str
    account: str = ""


class Listing(NamedTuple):
    """Release records. `namespaces`: those that were listed, None for all; `refused`: namespaces
    that could not be, with the reason.
    """

    records: list[RecordHeader]
    namespaces: frozenset[str] | None
    refusals: dict[str, FleetError]


def places_of(entries: Iterable[Entry], document: Desired | None) -> set[RecordPlace]:
    """Where the journal and the document say that releases are."""
    places = {RecordPlace(e.namespace, e.account) for e in entries}
    for bundle in document.bundles if document else ():
        with suppress(FleetError):  # a bundle without a valid release has no records
            _, namespace = release_of(bundle.options, bundle.name)
            places.add(RecordPlace(namespace, bundle.options.service_account or ""))
    for tombstone in document.tombstones if document else ():
        places.add(RecordPlace(tombstone.namespace, tombstone.service_account))
    return {place for place in places if place.namespace}


async def recover(
    rights: Rights, journal: Journal, cluster: ClusterId, places: Collection[RecordPlace] = ()
) -> list[BundleName]:
    """The bundles of which the cluster knew more than the journal, which knows it now. `places`:
    where to look when this agent may not list everywhere. Raises ClusterUnreachable, ToolFailed,
    OSError.
    """
    listing = await list_releases(rights, cluster, places)
    for namespace, why in listing.refusals.items():
        trouble(f"namespace {namespace}", f"its release records cannot be read: {why.summary}")
    changed_entries = merge_records(journal.entries, listing.records, namespaces=listing.namespaces)
    for entry in changed_entries:
        journal.put(entry)
    journal.broken = False
    return [entry.bundle for entry in changed_entries]


def merge_records(
    entries: Mapping[BundleName, Entry],
    records: Iterable[RecordHeader],
    *,
    namespaces: Collection[str] | None = None,
) -> list[Entry]:
    """The entries that must be written down. `namespaces`: a release there (None: anywhere) that
    has no record here has none. Pure.
    """
    records_by_bundle: dict[BundleName, list[RecordHeader]] = {}
    for record in _drop_former_owners(records):
        if record.bundle:
            records_by_bundle.setdefault(BundleName(record.bundle), []).append(record)
    changed_entries = [
        entry
        for bundle, bundle_records in sorted(records_by_bundle.items())
        if (entry := _merge_bundle(bundle, entries.get(bundle), bundle_records))
    ]
    lost_entries = [
        e
        for e in entries.values()
        if e.release
        and e.applied
        and e.bundle not in records_by_bundle
        and (namespaces is None or e.namespace in namespaces)
    ]
    return changed_entries + [
        msgspec.structs.replace(e, applied=Generation(0), revision=0, began=True)
        for e in lost_entries
    ]


def _drop_former_owners(records: Iterable[RecordHeader]) -> list[RecordHeader]:
    """Without those of bundles that had a release before the one that has it now: whose the newest
    record is, is the release.
    """
    records = list(records)
    owner = {record.place: record.bundle for record in _newest_of_each(records)}
    return [record for record in records if record.bundle == owner[record.place]]


def _merge_bundle(
    bundle: BundleName, entry: Entry | None, records: list[RecordHeader]
) -> Entry | None:
    """The entry as it should be, or None when it is."""
    newest_order = max(record.order for record in records)
    if entry is not None and newest_order <= (entry.epoch, entry.generation):
        newest = [
            r
            for r in _newest_of_each(records)
            if r.part == 1 and r.place == (entry.release, entry.namespace)
        ]
        is_settled = (
            newest
            and newest[0].status == DEPLOYED
            and newest[0].order == (entry.epoch, entry.applied)
        )
        return (
            None
            if entry.began or is_settled or not newest
            else msgspec.structs.replace(entry, began=True)
        )
    first_parts = [r for r in records if r.part == 1] or records
    own_records = [r for r in first_parts if entry and r.place == (entry.release, entry.namespace)]
    last_record = max(own_records or first_parts, key=lambda r: (r.order, r.version))
    fields = {
        "epoch": Epoch(newest_order[0]),
        "generation": Generation(newest_order[1]),
        "applied": Generation(0),
        "release": last_record.release,
        "namespace": last_record.namespace,
        "parts": tuple(sorted({r.part for r in records if r.part > 1})),
        "revision": last_record.version,
        "former": tuple(
            sorted(
                {r.place for r in first_parts} - {last_record.place}
                | set(entry.former if entry else ())
            )
        ),
        "began": True,
    }
    return msgspec.structs.replace(entry or Entry(bundle=bundle), **fields)


def _newest_of_each(records: Iterable[RecordHeader]) -> list[RecordHeader]:
    """The last record of each release."""
    newest: dict[tuple[str, str], RecordHeader] = {}
    for record in records:
        if record.place not in newest or record.version > newest[record.place].version:
            newest[record.place] = record
    return list(newest.values())


async def list_releases(
    rights: Rights, cluster: ClusterId, places: Collection[RecordPlace]
) -> Listing:
    """The records of this cluster's releases: one request, or one for each of `places` where the
    agent may not list everywhere. Raises ClusterUnreachable, ToolFailed.
    """
    selector = f"owner=helm,fleetctl-cluster={cluster}"
    try:
        return Listing(await list_headers(rights.kube, "", selector), None, {})
    except Forbidden:
        pass
    except ToolFailed:
        if not places:
            raise
    accounts: dict[str, set[str]] = {}
    for place in places:
        accounts.setdefault(place.namespace, set()).add(place.account)
    records: list[RecordHeader] = []
    refusals: dict[str, FleetError] = {}
    for namespace in sorted(accounts):
        try:
            records += await _list_as_account(
                rights, namespace, sorted(accounts[namespace]), selector
            )
        # a namespace that is not granted does not stop the bundles of others
        except (Forbidden, MissingAccount, UsageError) as why:
            refusals[namespace] = why
    return Listing(records, frozenset(accounts) - refusals.keys(), refusals)


async def _list_as_account(
    rights: Rights, namespace: str, accounts: Iterable[str], selector: str
) -> list[RecordHeader]:
    """With the agent's own rights, else with those of the first account that has them: helm needs
    the same right there. Raises the refusal of the last one.
    """
    try:
        return await list_headers(rights.kube, namespace, selector)
    except Forbidden as why:
        refusal: FleetError = why
    for account in accounts:
        try:
            user = await rights.user_of(account)
            if user:
                return await list_headers(rights.kube.acting_as(user), namespace, selector)
        except (Forbidden, MissingAccount, UsageError) as why:
            refusal = why
    raise refusal


async def list_headers(kube: Kube, namespace: str, selector: str) -> list[RecordHeader]:
    """The release records with the labels, in one namespace or ("") in all. Raises
    ClusterUnreachable, ToolFailed.
    """
    folder, more = in_namespace(namespace, "secrets") if namespace else core_path("secrets"), ""
    query = {"labelSelector": selector, "limit": "500"}
    headers: list[RecordHeader] = []
    while True:
        try:
            page = await kube.call(
                "GET",
                below(folder, **query, **({"continue": more} if more else {})),
                headers=METADATA,
            )
        except NotFound:
            return headers
        headers += [read_header(item["metadata"]) for item in page.get("items") or []]
        more = (page.get("metadata") or {}).get("continue") or ""
        if not more:
            return headers


def read_header(meta: Mapping[str, Any]) -> RecordHeader:
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


def _number(text: object) -> int:
    """Labels are a person's to change: what is no number is none."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 16 else 0
