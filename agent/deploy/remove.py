"""Removes the objects and releases of a bundle, and reports the removal only after they are gone.

Rule: only an object with the marks of this release is deleted. An object stays if another release
owns it, if a person removed its marks, if it has `helm.sh/resource-policy: keep`, or if it is a
Namespace that others use. `helm uninstall` checks none of this: it runs, with its hooks, only if
all remaining objects belong to the release. Otherwise the agent deletes the objects one by one in
helm's order, without hooks. The release record stays until the objects are gone, so that a removal
that was interrupted, or an agent that lost its disk, can continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from fleetctl.core.model.errors import (
    DeleteFailed,
    ForbiddenRequest,
    HelmFailed,
    HelmRefusedByForm,
)
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired, Tombstone
from fleetctl.tools.crds import documents
from fleetctl.tools.helm import Release

from ..host.failpoints import failpoint
from ..host.log import event
from ..release import namespaces, ownership, records
from ..release.ownership import LiveObject
from ..release.parts import releases_of
from ..release.records import ObjectRef, ReleaseRecord
from ..state.journal import Entry
from . import downstream_resources, removed_apis
from .claims import former_of, holders
from .delete_objects import PATIENCE, delete_objects, leave_namespace, wait_until_gone

if TYPE_CHECKING:
    from .context import ReleaseContext


async def remove(
    context: ReleaseContext,
    document: Desired,
    tombstone: Tombstone,
    *,
    patience: float = PATIENCE[0],
) -> None:
    """Remove everything of the bundle, or with `keep_resources` only helm's records.

    Raises ObjectsRemain if objects are not gone within `patience` seconds; the next call continues.
    """
    entry = context.journal.entries.get(tombstone.name)
    if entry is not None and (releases_of(entry) or former_of(entry)):
        # The objects of a release record are deleted with the rights that wrote the record. A
        # person who may change the record need not have the rights of the agent.
        context = await context.acting_for(tombstone.service_account or entry.account)
        context.journal.put(
            msgspec.structs.replace(
                entry,
                began=True,
                removing=True,
                generation=tombstone.generation,
                epoch=document.epoch,
            )
        )
        await _remove_releases(context, document, tombstone, entry, patience)
    context.last_applied.drop(tombstone.name)
    failpoint("removal-before-journal")
    context.journal.put(
        Entry(
            bundle=tombstone.name,
            removed=True,
            generation=tombstone.generation,
            epoch=document.epoch,
        )
    )
    failpoint("removal-done")


async def _remove_releases(
    context: ReleaseContext, document: Desired, tombstone: Tombstone, entry: Entry, patience: float
) -> None:
    """Remove the present and former releases of the bundle, its copied resources and its
    namespace.
    """
    failpoint("before-uninstall")
    for release in [*releases_of(entry), *former_of(entry)]:
        if release in holders(context, without=entry.bundle):
            event(
                "the release stays",
                bundle=entry.bundle,
                release=release,
                reason="another bundle has it now",
            )
        elif tombstone.keep_resources:
            if context.kube.is_there:
                await records.delete_all(context.kube, release)
        else:
            await _remove_release(context, document, entry, release, patience)
    failpoint("after-uninstall")
    if context.kube.is_there and not tombstone.keep_resources:
        copies: Collection[str] = entry.copies
        if not copies and not entry.archive:
            copies = await downstream_resources.find(context.kube, entry.bundle, entry.namespace)
        await downstream_resources.drop(context.kube, entry.bundle, copies)
        await leave_namespace(context, document, entry, patience)


async def tidy(
    context: ReleaseContext, document: Desired, bundle: BundleName, *, patience: float = PATIENCE[0]
) -> None:
    """Remove the releases that the bundle had with other names. Objects that the present release
    took over stay. Raises ObjectsRemain.
    """
    entry = context.journal.entries[bundle]
    context = await context.acting_for(entry.account)
    for release in former_of(entry):
        failpoint("before-old-release")
        if release not in holders(context, without=bundle) and release not in releases_of(entry):
            await _remove_release(context, document, entry, release, patience)
            if release.namespace != entry.namespace and context.kube.is_there:
                await leave_namespace(
                    context,
                    document,
                    msgspec.structs.replace(entry, namespace=release.namespace),
                    patience,
                )
        failpoint("after-old-release")
    context.journal.put(msgspec.structs.replace(context.journal.entries[bundle], former=()))


async def finish_removal(
    context: ReleaseContext, old: Entry, patience: float = PATIENCE[0]
) -> None:
    """Wait for the objects whose deletion has begun, before the bundle is installed again.
    Otherwise they would disappear after they were applied.

    Other objects keep their marks, and the new release owns them again (agent/release/repair.py
    repairs the records). Raises ObjectsRemain.
    """
    if not context.kube.is_there:
        return
    for release in releases_of(old):
        own_refs = {
            *_refs_of_records(await records.read(context.kube, release)),
            *_last_refs(context, old),
        }
        terminating = [
            live for live in await ownership.look(context.kube, own_refs) if live.deleting
        ]
        await wait_until_gone(context.kube, terminating, release, patience)
        await context.repair.settle(context.kube, old.bundle, release)


async def last_refs(
    context: ReleaseContext, old: Entry | None, release: Release
) -> tuple[ObjectRef, ...]:
    """The objects of the release when it was applied last; none for a new release."""
    if (
        old is None
        or (old.release, old.namespace) != (release.name, release.namespace)
        or not context.kube.is_there
    ):
        return ()
    last_applied = await asyncio.to_thread(context.last_applied.get, old.bundle)
    return records.refs_of(last_applied.objects, old.namespace) if last_applied else ()


async def sweep_moved(
    context: ReleaseContext, release: Release, old_refs: Collection[ObjectRef], manifest: str
) -> None:
    """After an upgrade, delete objects that the release no longer states and that helm left because
    of their API version.
    """
    if old_refs:
        new_refs = records.refs_of(
            await asyncio.to_thread(documents, manifest.encode()), release.namespace
        )
        await delete_objects(
            context.kube, await removed_apis.sweep(context.kube, release, old_refs, new_refs)
        )


async def _remove_release(
    context: ReleaseContext, document: Desired, entry: Entry, release: Release, patience: float
) -> None:
    if not context.kube.is_there:
        await context.helm.uninstall(release, deadline=context.seconds)
        return
    release_records = await records.read(context.kube, release)
    latest_refs = release_records[-1].refs if release_records else ()
    older_refs = _refs_of_records(release_records) | _collect_refs(context, entry)
    latest_objects = await removed_apis.look(context.kube, latest_refs)
    older_objects = await removed_apis.look(context.kube, older_refs - set(latest_refs))
    live_objects = [*latest_objects, *older_objects]
    used_namespaces = await _used_namespaces(context, document, entry, release, live_objects)
    own_objects = [
        live
        for live in live_objects
        if live.owner == release and not live.keep and live.ref not in used_namespaces
    ]
    # helm's uninstall would delete these too.
    staying_objects = [
        live for live in latest_objects if live.owner != release or live.ref in used_namespaces
    ]
    is_installed = bool(
        release_records and release_records[-1].header.status != records.STATUS_UNINSTALLED
    )
    if is_installed and not staying_objects:
        await _uninstall(context, release, own_objects)
    else:
        if staying_objects:
            _report_staying(entry, release, staying_objects)
        await delete_objects(context.kube, own_objects)
    failpoint("objects-deleted")
    await wait_until_gone(context.kube, own_objects, release, patience)
    await context.repair.sweep(context.kube, entry.bundle, release, "")
    await records.delete_all(context.kube, release)


def _report_staying(entry: Entry, release: Release, staying_objects: list[LiveObject]) -> None:
    first = staying_objects[0]
    event(
        "objects stay",
        bundle=entry.bundle,
        release=release,
        objects=len(staying_objects),
        first=f"{first.ref} ({first.owner or 'no release'})",
    )


async def _used_namespaces(
    context: ReleaseContext,
    document: Desired,
    entry: Entry,
    release: Release,
    live_objects: Iterable[LiveObject],
) -> set[ObjectRef]:
    """The Namespace objects that have another user than the release."""
    namespace_refs = {live.ref for live in live_objects if live.ref.kind == "Namespace"}
    return {
        ref
        for ref in namespace_refs
        if await _is_namespace_used(context, document, entry, release, ref.name)
    }


async def _uninstall(
    context: ReleaseContext, release: Release, own_objects: list[LiveObject]
) -> None:
    """Uninstall with helm, which runs the hooks.

    helm deletes all objects or fails without a cause. Then the record is repaired: it may state
    kinds that the cluster no longer serves. If that does not help, the objects are deleted one by
    one, so that the error names an object.
    """
    try:
        await context.helm.uninstall(release, deadline=context.seconds, keep_record=True)
        return
    except HelmFailed as error:
        if not await removed_apis.repair(context.kube, release) and not _is_without_cause(error):
            raise
    try:
        await context.helm.uninstall(release, deadline=context.seconds, keep_record=True)
    except HelmFailed as error:
        if not _is_without_cause(error):
            raise
        event(
            "helm cannot uninstall the release; its objects are deleted one by one",
            release=release,
            reason=error.summary,
        )
        await delete_objects(context.kube, own_objects)


def _is_without_cause(error: HelmFailed) -> bool:
    """Whether helm does not name the object: it could not delete one, or server-side apply refused
    a hook.
    """
    return isinstance(error, DeleteFailed | HelmRefusedByForm)


def _collect_refs(context: ReleaseContext, entry: Entry) -> set[ObjectRef]:
    """The objects that the state directory knows: those that were applied last, and those that
    interrupted runs may have created.
    """
    leftovers = [
        ObjectRef(leftover.api_version, leftover.kind, leftover.namespace, leftover.name)
        for leftover in context.repair.leftovers(entry.bundle)
    ]
    return {*_last_refs(context, entry), *leftovers}


def _refs_of_records(release_records: Iterable[ReleaseRecord]) -> set[ObjectRef]:
    return {ref for record in release_records for ref in record.refs}


def _last_refs(context: ReleaseContext, entry: Entry) -> tuple[ObjectRef, ...]:
    last_applied = context.last_applied.get(entry.bundle)
    return records.refs_of(last_applied.objects, entry.namespace) if last_applied else ()


async def _is_namespace_used(
    context: ReleaseContext, document: Desired, entry: Entry, release: Release, namespace: str
) -> bool:
    """Whether the namespace has another user than the release: another bundle, the new release of
    the same bundle, or any other Helm release.
    """
    if namespaces.is_protected(namespace, context.namespace_rules) or namespaces.users(
        context.journal.entries.values(), document, entry.bundle, namespace
    ):
        return True
    own_releases = {r for r in [*releases_of(entry), *former_of(entry)] if r.namespace == namespace}
    now = context.journal.entries.get(entry.bundle)
    if (
        now is not None
        and not now.removing
        and release not in releases_of(now)
        and now.namespace == namespace
    ):
        return True
    try:
        return bool(
            await namespaces.list_other_releases(
                context.rights.kube, namespace, {r.name for r in own_releases}
            )
        )
    except ForbiddenRequest:  # without this right only helm can decide
        return False
