"""What the cluster's own release records say, compared with the journal before anything is changed.

Every record of ours carries the bundle, the epoch and the generation as labels. Rule: what the
cluster has seen is never fallen behind, whatever happened to this machine's disk (I4); what is not
known to have finished counts as not applied, and is applied again, which changes nothing that is as
it should be; a release that is only in the cluster is known again, so that a tombstone finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from fleetctl.core.model.errors import (
    FleetError,
    ForbiddenRequest,
    MissingAccount,
    ToolFailed,
    UsageError,
)
from fleetctl.core.model.ids import BundleName, ClusterId, Epoch, Generation
from fleetctl.core.model.wire import Desired
from fleetctl.core.rendering.render import release_of

from ..host.log import trouble
from ..kube.impersonation import Rights
from ..state.journal import Entry, Journal
from . import records
from .records import STATUS_DEPLOYED, RecordHeader


class RecordPlace(NamedTuple):
    """A namespace that may hold release records, and a service account of a bundle there ("" for
    none named).
    """

    namespace: str
    account: str = ""


class ReleaseListing(NamedTuple):
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
    for namespace, error in listing.refusals.items():
        trouble(f"namespace {namespace}", f"its release records cannot be read: {error.summary}")
    changed_entries = merge_records(journal.entries, listing.records, namespaces=listing.namespaces)
    for entry in changed_entries:
        journal.put(entry)
    journal.is_broken = False
    return [entry.bundle for entry in changed_entries]


def merge_records(
    entries: Mapping[BundleName, Entry],
    headers: Iterable[RecordHeader],
    *,
    namespaces: Collection[str] | None = None,
) -> list[Entry]:
    """The entries that must be written down. `namespaces`: a release there (None: anywhere) that
    has no record here has none. Pure.
    """
    headers_by_bundle: dict[BundleName, list[RecordHeader]] = {}
    for header in _drop_former_owners(headers):
        if header.bundle:
            headers_by_bundle.setdefault(BundleName(header.bundle), []).append(header)
    changed_entries = [
        entry
        for bundle, bundle_headers in sorted(headers_by_bundle.items())
        if (entry := _merge_bundle(bundle, entries.get(bundle), bundle_headers))
    ]
    lost_entries = [
        e
        for e in entries.values()
        if e.release
        and e.applied
        and e.bundle not in headers_by_bundle
        and (namespaces is None or e.namespace in namespaces)
    ]
    return changed_entries + [
        msgspec.structs.replace(e, applied=Generation(0), revision=0, began=True)
        for e in lost_entries
    ]


def _drop_former_owners(headers: Iterable[RecordHeader]) -> list[RecordHeader]:
    """Without those of bundles that had a release before the one that has it now: whose the newest
    record is, is the release.
    """
    headers = list(headers)
    owner = {header.place: header.bundle for header in _newest_of_each(headers)}
    return [header for header in headers if header.bundle == owner[header.place]]


def _merge_bundle(
    bundle: BundleName, entry: Entry | None, headers: list[RecordHeader]
) -> Entry | None:
    """The entry as it should be, or None when it is."""
    newest_order = max(header.order for header in headers)
    if entry is not None and newest_order <= (entry.epoch, entry.generation):
        newest = [
            r
            for r in _newest_of_each(headers)
            if r.part == 1 and r.place == (entry.release, entry.namespace)
        ]
        is_settled = (
            newest
            and newest[0].status == STATUS_DEPLOYED
            and newest[0].order == (entry.epoch, entry.applied)
        )
        return (
            None
            if entry.began or is_settled or not newest
            else msgspec.structs.replace(entry, began=True)
        )
    first_parts = [r for r in headers if r.part == 1] or headers
    own_headers = [r for r in first_parts if entry and r.place == (entry.release, entry.namespace)]
    last_record = max(own_headers or first_parts, key=lambda r: (r.order, r.version))
    fields = {
        "epoch": Epoch(newest_order[0]),
        "generation": Generation(newest_order[1]),
        "applied": Generation(0),
        "release": last_record.release,
        "namespace": last_record.namespace,
        "parts": tuple(sorted({r.part for r in headers if r.part > 1})),
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


def _newest_of_each(headers: Iterable[RecordHeader]) -> list[RecordHeader]:
    """The last record of each release."""
    newest: dict[tuple[str, str], RecordHeader] = {}
    for header in headers:
        if header.place not in newest or header.version > newest[header.place].version:
            newest[header.place] = header
    return list(newest.values())


async def list_releases(
    rights: Rights, cluster: ClusterId, places: Collection[RecordPlace]
) -> ReleaseListing:
    """The records of this cluster's releases: one request, or one for each of `places` where the
    agent may not list everywhere. Raises ClusterUnreachable, ToolFailed.
    """
    selector = records.cluster_selector(cluster)
    try:
        return ReleaseListing(await records.list_headers(rights.kube, "", selector), None, {})
    except ForbiddenRequest:
        pass
    except ToolFailed:
        if not places:
            raise
    accounts: dict[str, set[str]] = {}
    for place in places:
        accounts.setdefault(place.namespace, set()).add(place.account)
    headers: list[RecordHeader] = []
    refusals: dict[str, FleetError] = {}
    for namespace in sorted(accounts):
        try:
            headers += await _list_as_account(
                rights, namespace, sorted(accounts[namespace]), selector
            )
        # a namespace that is not granted does not stop the bundles of others
        except (ForbiddenRequest, MissingAccount, UsageError) as error:
            refusals[namespace] = error
    return ReleaseListing(headers, frozenset(accounts) - refusals.keys(), refusals)


async def _list_as_account(
    rights: Rights, namespace: str, accounts: Iterable[str], selector: str
) -> list[RecordHeader]:
    """With the agent's own rights, else with those of the first account that has them: helm needs
    the same right there. Raises the refusal of the last one.
    """
    try:
        return await records.list_headers(rights.kube, namespace, selector)
    except ForbiddenRequest as error:
        refusal: FleetError = error
    for account in accounts:
        try:
            user = await rights.user_of(account)
            if user:
                return await records.list_headers(rights.kube.acting_as(user), namespace, selector)
        except (ForbiddenRequest, MissingAccount, UsageError) as error:
            refusal = error
    raise refusal
