"""Takes away what a bundle has brought, and says so only when it has seen that it is gone.

Rule: only an object that bears the release's own marks goes: one that another release has taken
over stays, as does one whose marks somebody took off, one with `helm.sh/resource-policy: keep`, and
a Namespace that others use. helm's uninstall looks at none of this: it runs (and the hooks with it)
only where every object that is left is the release's own; else the objects go one by one in helm's
order, without hooks. The record stays until the objects are gone, so that a removal that was cut
off, or an agent that lost its disk, finds its way back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from fleetctl.core.model.errors import (
    DeleteFailed,
    ForbiddenRequest,
    HelmFailed,
    HelmRefusedByForm,
    NotFound,
    ObjectsRemain,
)
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired, Tombstone
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools.crds import documents
from fleetctl.tools.helm import Release

from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from ..release import namespaces, ownership, records
from ..release.ownership import LiveObject
from ..release.parts import releases_of
from ..release.records import ObjectRef, ReleaseRecord
from ..state.journal import Entry
from . import downstream_resources, removed_apis
from .claims import former_of, holders

if TYPE_CHECKING:
    from .context import ReleaseContext

# how long the first look at what should be gone may take, and each later one
PATIENCE = (10.0, 2.0)
_LOOK_AGAIN = Backoff(0.05, 2.0)
# helm.sh/helm/v4 `pkg/release/util/kind_sorter.go`, UninstallOrder: what is not named goes first.
_ORDER = (  # noqa: SIM905 - as a list it would be a page
    "APIService ValidatingWebhookConfiguration MutatingWebhookConfiguration Ingress IngressClass"
    " Service CronJob Job StatefulSet HorizontalPodAutoscaler Deployment ReplicaSet"
    " ReplicationController Pod DaemonSet RoleBinding Role ClusterRoleBinding ClusterRole"
    " CustomResourceDefinition PersistentVolumeClaim PersistentVolume StorageClass ConfigMap Secret"
    " ServiceAccount PodDisruptionBudget LimitRange ResourceQuota NetworkPolicy PriorityClass"
    " Namespace"
).split()
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


async def remove(
    context: ReleaseContext,
    document: Desired,
    tombstone: Tombstone,
    *,
    patience: float = PATIENCE[0],
) -> None:
    """Everything of the bundle, or with `keep_resources` only helm's records. Raises Remains when
    objects do not go within `patience` seconds; calling it again goes on from there.
    """
    entry = context.journal.entries.get(tombstone.name)
    releases = [*releases_of(entry), *former_of(entry)] if entry else []
    if entry is not None and releases:
        # What a release record lists is deleted with the rights that wrote the record: who may
        # change it may not have ours.
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
        failpoint("before-uninstall")
        for release in releases:
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
            copies = entry.copies or (
                await downstream_resources.find(context.kube, entry.bundle, entry.namespace)
                if not entry.archive
                else ()
            )
            await downstream_resources.drop(context.kube, entry.bundle, copies)
            await _leave_namespace(context, document, entry, patience)
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


async def tidy(
    context: ReleaseContext, document: Desired, bundle: BundleName, *, patience: float = PATIENCE[0]
) -> None:
    """The releases that the bundle had under other names: what the present one did not take over
    goes. Raises Remains.
    """
    entry = context.journal.entries[bundle]
    context = await context.acting_for(entry.account)
    for release in former_of(entry):
        failpoint("before-old-release")
        if release not in holders(context, without=bundle) and release not in releases_of(entry):
            await _remove_release(context, document, entry, release, patience)
            if release.namespace != entry.namespace and context.kube.is_there:
                await _leave_namespace(
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
    """Before a bundle is installed whose removal had begun: nothing of it may still be going, or it
    would go after it was applied. Objects that are left keep their marks and are taken up again
    (agent/release/repair.py sees to the records). Raises Remains.
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
        await _wait_until_gone(context.kube, terminating, release, patience)
        await context.repair.settle(context.kube, old.bundle, release)


async def last_refs(
    context: ReleaseContext, old: Entry | None, release: Release
) -> tuple[ObjectRef, ...]:
    """The objects that the release was applied with last; none for a new one."""
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
    """After an upgrade: delete what the release stated before, does not state now, and helm left
    because of its API version.
    """
    if old_refs:
        new_refs = records.refs_of(
            await asyncio.to_thread(documents, manifest.encode()), release.namespace
        )
        await delete(
            context.kube, await removed_apis.sweep(context.kube, release, old_refs, new_refs)
        )


async def _remove_release(
    context: ReleaseContext, document: Desired, entry: Entry, release: Release, patience: float
) -> None:
    if not context.kube.is_there:
        await context.helm.uninstall(release, deadline=context.seconds)
        return
    release_records = await records.read(context.kube, release)
    latest = release_records[-1].refs if release_records else ()
    live_objects = await removed_apis.look(context.kube, latest)
    older_objects = await removed_apis.look(
        context.kube,
        (_refs_of_records(release_records) | _collect_refs(context, entry)) - set(latest),
    )
    namespace_names = {
        live.ref.name for live in [*live_objects, *older_objects] if live.ref.kind == "Namespace"
    }
    used_names = {
        name
        for name in namespace_names
        if await _is_namespace_used(context, document, entry, release, name)
    }
    kept_refs = {
        live.ref
        for live in [*live_objects, *older_objects]
        if live.ref.kind == "Namespace" and live.ref.name in used_names
    }
    foreign_objects = [
        live for live in live_objects if live.owner != release or live.ref in kept_refs
    ]
    own_objects = [
        live
        for live in [*live_objects, *older_objects]
        if live.owner == release and not live.keep and live.ref not in kept_refs
    ]
    if (
        release_records
        and release_records[-1].header.status != records.STATUS_UNINSTALLED
        and not foreign_objects
    ):
        await _uninstall(context, release, own_objects)
    else:
        if foreign_objects:
            first = f"{foreign_objects[0].ref} ({foreign_objects[0].owner or 'no release'})"
            event(
                "objects stay",
                bundle=entry.bundle,
                release=release,
                objects=len(foreign_objects),
                first=first,
            )
        await delete(context.kube, own_objects)
    failpoint("objects-deleted")
    await _wait_until_gone(context.kube, own_objects, release, patience)
    await context.repair.sweep(context.kube, entry.bundle, release, "")
    await records.delete_all(context.kube, release)


async def _uninstall(context: ReleaseContext, release: Release, going: list[LiveObject]) -> None:
    """Uninstall by helm, which runs the hooks. helm deletes all objects or fails without a cause:
    then its record is repaired from kinds that the cluster does not serve any more, and where that
    is not it, the objects go one by one, so that the error names one.
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
        await delete(context.kube, going)


def _is_without_cause(error: HelmFailed) -> bool:
    """Whether helm failed to delete an object, which it does not name, or could not apply a hook
    for its form.
    """
    return isinstance(error, DeleteFailed | HelmRefusedByForm)


def _collect_refs(context: ReleaseContext, entry: Entry) -> set[ObjectRef]:
    """What this machine knows of the bundle: what was applied last, and what runs that were cut off
    may have made.
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
    """Whether others than the release are in the namespace: another bundle, the bundle's own new
    release, or a release of anybody.
    """
    if namespaces.is_protected(namespace) or namespaces.users(
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
    except ForbiddenRequest:  # what may not be looked at is helm's to judge
        return False


async def delete(kube: Kube, live_objects: Iterable[LiveObject]) -> None:
    """Delete the objects in helm's order; an object that is gone already is no error."""
    for live in sorted(live_objects, key=lambda live: (_RANK.get(live.ref.kind, -1), live.ref)):
        if live.deleting:
            continue
        api_version, kind, namespace, name, _ = live.ref
        try:
            path = await kube.object_path(api_version, kind, namespace, name)
            await kube.delete(path, uid=live.uid, propagation="Background")
        except NotFound:
            continue


async def _wait_until_gone(
    kube: Kube, live_objects: Iterable[LiveObject], release: Release, patience: float
) -> None:
    """Returns when none of `going` is there any more. Raises Remains naming the first, and what
    holds it.
    """
    remaining = [live for live in live_objects if not live.keep]
    end, looks = time.monotonic() + patience, 0
    while True:
        uids = {live.uid for live in remaining}
        remaining = [
            live
            for live in await ownership.look(kube, [live.ref for live in remaining])
            if live.uid in uids and live.owner == release
        ]
        if not remaining:
            return
        await delete(kube, remaining)
        if time.monotonic() >= end:
            raise await _remaining_error(kube, remaining)
        looks += 1
        await asyncio.sleep(_LOOK_AGAIN.seconds(looks))


def remaining_error(remaining: list[LiveObject]) -> ObjectsRemain:
    """The error for objects that do not go."""
    first = next((live for live in remaining if live.finalizers), remaining[0])
    reason = (
        f"is held by finalizer {', '.join(first.finalizers)}"
        if first.finalizers
        else "still exists"
    )
    others_text = (
        f", and {len(remaining) - 1} more {'is' if len(remaining) == 2 else 'are'} not gone"
        if len(remaining) > 1
        else ""
    )
    step = (
        "Find the controller that must remove the finalizer; if there is none, remove the"
        " finalizer from the object."
        if first.finalizers
        else "Wait."
    )
    return ObjectsRemain(
        f"{first.ref} is deleted and {reason}{others_text}", subject=str(first.ref), next_step=step
    )


async def _remaining_error(kube: Kube, remaining: list[LiveObject]) -> ObjectsRemain:
    """As `remains`; of a namespace with what is in its way, which only the API server knows."""
    live_namespace = next((live for live in remaining if live.ref.kind == "Namespace"), None)
    namespace_object = (
        await namespaces.get(kube, live_namespace.ref.name) if live_namespace else None
    )
    if namespace_object is None or any(live.finalizers for live in remaining):
        return remaining_error(remaining)
    name = namespace_object["metadata"]["name"]
    step = f"Check what is in it (kubectl get namespace {name} -o yaml)."
    return ObjectsRemain(
        f"namespace {name} is deleted and {namespaces.why_it_stays(namespace_object)}",
        subject=f"namespace {name}",
        next_step=step,
    )


async def _leave_namespace(
    context: ReleaseContext, document: Desired, entry: Entry, patience: float
) -> None:
    """The namespace after its release. Raises Remains when it was deleted and does not go."""
    other_bundles = namespaces.users(
        context.journal.entries.values(), document, entry.bundle, entry.namespace
    )
    if not await namespaces.leave(context.kube, entry, other_bundles, context.rights.kube):
        return
    end, looks = time.monotonic() + patience, 0
    while (
        namespace_object := await namespaces.get(context.rights.kube, entry.namespace)
    ) is not None:
        if time.monotonic() >= end:
            step = f"Check what is in it (kubectl get namespace {entry.namespace} -o yaml)."
            reason = namespaces.why_it_stays(namespace_object)
            raise ObjectsRemain(
                f"namespace {entry.namespace} is deleted and {reason}",
                subject=f"namespace {entry.namespace}",
                next_step=step,
            )
        looks += 1
        await asyncio.sleep(_LOOK_AGAIN.seconds(looks))
