"""Installs or upgrades the release of one bundle, with a record in the journal before and after
(I5, I6). Two calls for one bundle never overlap.

`install` is the list of steps, in their order. A failpoint stands between each two of them: the
process may die at any of them, and the next call ends in the same state.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fleetctl.core.model.ids import Digest, Generation
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.core.rendering.render import RenderPlan, release_of
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools.helm import Release

from ..host.failpoints import failpoint
from ..release import namespaces
from ..release.parts import releases_of
from ..release.records import ObjectRef
from ..state.journal import Entry
from . import client_side_apply, downstream_resources, kept_namespaces, remove, shape
from . import values_from as values
from .apply import ApplyResult, apply_parts
from .claims import (
    claim_of,
    former_of,
    has_release,
    leaving_bundles,
    predecessor,
    refuse_conflict,
)
from .context import ReleaseContext
from .downstream_resources import DownstreamCopy
from .helm_run import InstallRequest
from .shape import ReleaseWork


async def archive(context: ReleaseContext, bundle: DesiredBundle) -> Path:
    """The bundle's archive on this disk, fetched when it is not there. Its bytes are what the
    signed document names (I3).
    """
    path = context.state_dir / "archives" / bundle.archive
    if not path.exists():
        await context.uplink.archive(Digest(bundle.archive), bundle.size, path)
    return path


async def render_plan(
    context: ReleaseContext, document: Desired, bundle: DesiredBundle, values: list[JsonObject]
) -> RenderPlan:
    """What to run for the bundle. Raises UsageError, InvalidFile, WorkLimit."""
    path = await archive(context, bundle)
    facts = ClusterFacts(
        cluster=document.cluster,
        workspace=document.workspace,
        labels=document.labels,
        annotations=document.annotations,
        values=document.values,
    )
    return await context.sandbox.plan(
        path, bundle.options, facts, bundle=bundle.name, values_from=values
    )


async def values_from(
    context: ReleaseContext, bundle: DesiredBundle, copies: Sequence[DownstreamCopy] = ()
) -> list[JsonObject]:
    """What `helm.valuesFrom` names, read on this cluster now with the bundle's rights. Raises
    UsageError for what is not there.
    """
    if not values.references(bundle.options):
        return []
    namespace = release_of(bundle.options, bundle.name)[1]
    return await values.read_values(
        await context.kube_of(bundle), bundle.options, namespace, copies
    )


async def install(context: ReleaseContext, document: Desired, bundle: DesiredBundle) -> None:
    """Bring the bundle's release to its generation, with the bundle's rights. Raises FleetError;
    the journal says what was begun.
    """
    context = await context.acting_for(bundle.options.service_account)
    copies = downstream_resources.open_copies(
        context.uplink, document, bundle, has_cluster=context.kube.is_there
    )
    cluster_values = await values_from(context, bundle, copies)
    with values.hide_in_errors([*cluster_values, *(copy.values() for copy in copies)]):
        plan = await render_plan(context, document, bundle, cluster_values)
        request = InstallRequest(document, bundle, context.journal.entries.get(bundle.name))
        await _check_release(context, request, plan)
        try:
            work = await _shape_work(context, request, plan)
            entry = _begin(context, request, work, copies)
            await _prepare_namespace(context, request, plan, copies)
            old_refs, namespaces_in_use = await _protect_namespaces(context, request, plan)
            result = await apply_parts(context, request, work)
            failpoint("after-helm")
            await _release_namespaces(context, namespaces_in_use, result, plan)
            await _store_last_applied(context, request, result)
            await remove.sweep_moved(context, _main_release(plan), old_refs, result.manifest)
            client_side = await _find_client_side(context, request, result)
            await _sweep_leftovers(context, request, plan, result)
            await _drop_copies(context, request, plan, copies)
            entry = _complete(entry, request, work, result, client_side)
            entry = _set_copies(entry, plan, copies)
            digest = values.fingerprint(context.state_dir, cluster_values)
            context.journal.put(msgspec.structs.replace(entry, values_digest=digest))
            failpoint("after-journal")
        finally:
            workdir = context.state_dir / "work" / bundle.name
            await asyncio.to_thread(shutil.rmtree, workdir, ignore_errors=True)
        if entry.former:
            await remove.tidy(context, document, bundle.name)


def _main_release(plan: RenderPlan) -> Release:
    return Release(plan.release, plan.namespace)


async def _check_release(
    context: ReleaseContext, request: InstallRequest, plan: RenderPlan
) -> None:
    """Refuse a release that another bundle has; wait for a removal of this bundle that had begun.
    Raises OwnershipConflict, ObjectsRemain.
    """
    leaving = leaving_bundles(request.document)
    refuse_conflict(context, request.bundle, _main_release(plan), leaving)
    if request.old and request.old.removing:
        await remove.finish_removal(context, request.old)


async def _shape_work(
    context: ReleaseContext, request: InstallRequest, plan: RenderPlan
) -> ReleaseWork:
    """Decide what helm will be given; nothing is touched."""
    failpoint("before-prepare")
    bundle, release = request.bundle, _main_release(plan)
    old = request.old or predecessor(context, release, leaving_bundles(request.document))
    work = await shape.shape(context, plan, bundle.name, bundle.options, old)
    work.claim = claim_of(context, request.document, bundle, release)
    failpoint("after-prepare")
    return work


def _begin(
    context: ReleaseContext,
    request: InstallRequest,
    work: ReleaseWork,
    copies: Sequence[DownstreamCopy],
) -> Entry:
    """Write into the journal what may exist from now on. Returns the entry without those marks."""
    entry = _entry(request, _main_release(work.plan))
    old_copies = request.old.copies if request.old else ()
    new_copies = downstream_resources.places(copies, work.plan.namespace)
    begun_entry = msgspec.structs.replace(
        entry,
        began=True,
        parts=work.possible_parts,
        copies=tuple(dict.fromkeys((*old_copies, *new_copies))),
    )
    context.journal.put(begun_entry)
    failpoint("before-namespace")
    return entry


async def _prepare_namespace(
    context: ReleaseContext,
    request: InstallRequest,
    plan: RenderPlan,
    copies: Sequence[DownstreamCopy],
) -> None:
    """Create the namespace with its labels, and the bundle's downstream resources in it."""
    bundle, kube = request.bundle, context.kube
    if kube.is_there:
        await namespaces.prepare(
            kube,
            bundle.name,
            plan.namespace,
            bundle.options,
            context.rights.kube,
            context.namespace_rules,
        )
    failpoint("after-namespace")
    leaving = leaving_bundles(request.document)
    await downstream_resources.write(kube, bundle.name, plan.namespace, copies, leaving)
    failpoint("copies-written")


async def _protect_namespaces(
    context: ReleaseContext, request: InstallRequest, plan: RenderPlan
) -> tuple[tuple[ObjectRef, ...], list[str]]:
    """Mark Namespaces in use so that helm keeps them. Returns (the objects that the release was
    applied with last, the names of those Namespaces).
    """
    release = _main_release(plan)
    old_refs = await remove.last_refs(context, request.old, release)
    names = await kept_namespaces.begin(context, request.document, request.old, release)
    failpoint("before-helm")
    return old_refs, names


async def _release_namespaces(
    context: ReleaseContext, names: list[str], result: ApplyResult, plan: RenderPlan
) -> None:
    if names:
        await kept_namespaces.end(context, names, result.manifest, _main_release(plan))


async def _store_last_applied(
    context: ReleaseContext, request: InstallRequest, result: ApplyResult
) -> None:
    """Keep the applied objects of every part on this disk, for drift detection."""
    for number, (release, manifest) in enumerate(result.manifests):
        await asyncio.to_thread(
            context.last_applied.keep,
            request.bundle.name,
            manifest,
            release.namespace,
            release.name,
            more=number > 0,
        )
    failpoint("objects-kept")


async def _find_client_side(
    context: ReleaseContext, request: InstallRequest, result: ApplyResult
) -> tuple[str, ...]:
    """What server-side apply still refuses, of a release that was applied client-side."""
    old_messages = context.journal.entries[request.bundle.name].client_side
    return await client_side_apply.find_still_refused(context.kube, old_messages, result.manifests)


async def _sweep_leftovers(
    context: ReleaseContext, request: InstallRequest, plan: RenderPlan, result: ApplyResult
) -> None:
    """Delete what cut-off runs created and no generation states."""
    name = request.bundle.name
    if context.repair.leftovers(name):
        await context.repair.sweep(context.kube, name, _main_release(plan), result.manifest)


async def _drop_copies(
    context: ReleaseContext,
    request: InstallRequest,
    plan: RenderPlan,
    copies: Sequence[DownstreamCopy],
) -> None:
    """Delete the downstream resources that the bundle does not name any more."""
    old_places = set(request.old.copies if request.old else ())
    stale = old_places - set(downstream_resources.places(copies, plan.namespace))
    await downstream_resources.drop(context.kube, request.bundle.name, stale)
    failpoint("copies-dropped")


def _complete(
    entry: Entry,
    request: InstallRequest,
    work: ReleaseWork,
    result: ApplyResult,
    client_side: tuple[str, ...],
) -> Entry:
    """The journal entry of a bundle that is applied."""
    return msgspec.structs.replace(
        entry,
        began=False,
        removing=False,
        client_side=client_side,
        applied=request.bundle.generation,
        revision=result.revision,
        parts=work.new_parts,
        corrected=request.bundle.correction,
        error="",
        code="",
        failures=0,
    )


def _set_copies(entry: Entry, plan: RenderPlan, copies: Sequence[DownstreamCopy]) -> Entry:
    places = downstream_resources.places(copies, plan.namespace)
    return msgspec.structs.replace(entry, copies=places)


def _entry(request: InstallRequest, release: Release) -> Entry:
    """The journal entry of the bundle at this generation, not applied yet."""
    bundle, old = request.bundle, request.old
    return Entry(
        bundle=bundle.name,
        generation=bundle.generation,
        applied=old.applied if old else Generation(0),
        archive=bundle.archive,
        options_digest=bundle.options_digest,
        release=release.name,
        namespace=release.namespace,
        revision=old.revision if old else 0,
        commit=bundle.commit,
        delete_namespace=bool(bundle.options.delete_namespace),
        epoch=request.document.epoch,
        account=bundle.options.service_account or "",
        failures=old.failures if old else 0,
        removing=bool(old and old.removing),
        client_side=old.client_side if old and has_release(old, release) else (),
        former=_former(old, release),
    )


def _former(old: Entry | None, release: Release) -> tuple[tuple[str, str], ...]:
    """The releases that the bundle had before and has not any more, parts of them too."""
    former = former_of(old) if old else []
    if old and old.release and not has_release(old, release):
        former += releases_of(old)
    return tuple(dict.fromkeys((r.name, r.namespace) for r in former if r != release))
