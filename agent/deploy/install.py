"""Does one thing to one release, with a record in the journal before and after (I5, I6). Two calls
for one bundle never overlap.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from fleetctl.core.model.errors import NoKind, OwnershipConflict, PendingOperation, RecordTaken
from fleetctl.core.model.ids import BundleName, Digest
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import CorrectDrift, HelmOptions
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.core.rendering.render import RenderPlan, release_of
from fleetctl.core.rendering.values import Facts
from fleetctl.tools.chart_builder import Prepared
from fleetctl.tools.helm import Release, Revision, UpgradeFlags

from ..host.failpoints import failpoint
from ..release import immutable, kept_namespaces, ownership
from ..release.ownership import OwnershipClaim
from ..release.parts import releases_of
from ..release.records import DEPLOYED
from ..state.journal import Entry
from . import apply, client_side_apply, downstream_resources, namespaces, remove, removed_apis
from . import values_from as values
from .apply import FlagChange
from .context import ReleaseContext

Run = Callable[[UpgradeFlags], Awaitable[Revision]]


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
    facts = Facts(
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
    context: ReleaseContext,
    bundle: DesiredBundle,
    copies: Sequence[downstream_resources.DownstreamCopy] = (),
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
        await _install(context, document, bundle, cluster_values, copies)


async def _install(
    context: ReleaseContext,
    document: Desired,
    bundle: DesiredBundle,
    cluster_values: list[JsonObject],
    copies: list[downstream_resources.DownstreamCopy],
) -> None:
    plan = await render_plan(context, document, bundle, cluster_values)
    workdir = context.state_dir / "work" / bundle.name
    old = context.journal.entries.get(bundle.name)
    release = Release(plan.release, plan.namespace)
    leaving = {tombstone.name for tombstone in document.tombstones}
    _refuse_conflict(context, bundle, release, leaving)
    if old and old.removing:
        await remove.finish_removal(context, old)
    try:
        failpoint("before-prepare")
        work = await apply.shape(
            context, plan, bundle.name, bundle.options, old or _before(context, release, leaving)
        )
        work.claim = _claim(context, document, bundle, release)
        failpoint("after-prepare")
        copy_places, old_copies = (
            downstream_resources.places(copies, release.namespace),
            old.copies if old else (),
        )
        entry = _entry(bundle, document, old, release)
        begin_fields = {
            "began": True,
            "parts": work.possible_parts,
            "copies": tuple(dict.fromkeys((*old_copies, *copy_places))),
        }
        context.journal.put(msgspec.structs.replace(entry, **begin_fields))
        failpoint("before-namespace")
        if context.kube.is_there:
            await namespaces.prepare(
                context.kube, bundle.name, release.namespace, bundle.options, context.rights.kube
            )
        failpoint("after-namespace")
        await downstream_resources.write(
            context.kube, bundle.name, release.namespace, copies, leaving
        )
        failpoint("copies-written")
        before = await remove.applied_refs(context, old, release)
        namespaces_in_use = await kept_namespaces.begin(context, document, old, release)
        failpoint("before-helm")
        applied = await apply.apply(
            context, work, partial(_upgrade, context, bundle, document, old)
        )
        failpoint("after-helm")
        if namespaces_in_use:
            await kept_namespaces.end(context, namespaces_in_use, applied.manifest, release)
        for number, (part, manifest) in enumerate(applied.manifests):
            await asyncio.to_thread(
                context.last_applied.keep,
                bundle.name,
                manifest,
                part.namespace,
                part.name,
                more=number > 0,
            )
        failpoint("objects-kept")
        await remove.sweep_moved(context, release, before, applied.manifest)
        client_side_before = context.journal.entries[bundle.name].client_side
        client_side = await client_side_apply.find_still_refused(
            context.kube, client_side_before, applied.manifests
        )
        if context.repair.leftovers(bundle.name):
            await context.repair.sweep(context.kube, bundle.name, release, applied.manifest)
        await downstream_resources.drop(
            context.kube, bundle.name, set(old_copies) - set(copy_places)
        )
        failpoint("copies-dropped")
        done_fields = {
            "began": False,
            "removing": False,
            "copies": copy_places,
            "client_side": client_side,
            "values_digest": values.fingerprint(context.state_dir, cluster_values),
            "applied": bundle.generation,
            "revision": applied.revision,
            "parts": work.new_parts,
            "corrected": bundle.correction,
            "error": "",
            "code": "",
            "failures": 0,
        }
        context.journal.put(msgspec.structs.replace(entry, **done_fields))
        failpoint("after-journal")
    finally:
        await asyncio.to_thread(shutil.rmtree, workdir, ignore_errors=True)
    if entry.former:
        await remove.tidy(context, document, bundle.name)


async def _upgrade(
    context: ReleaseContext,
    bundle: DesiredBundle,
    document: Desired,
    old: Entry | None,
    release: Release,
    prepared: Prepared,
    change: FlagChange,
) -> Revision:
    """One helm run of a bundle's release, or of a part of it, as `change` would have the flags."""
    flags = change(
        flags_of(bundle, document, prepared, creates_namespace=not context.kube.is_there)
    )
    if context.kube.is_there and old is not None and old.began and not old.parts:
        # A helm may have been cut off. None of ours is alive: this agent starts one at a time for a
        # release, and those of an agent before it are dead (agent/release/helm_lock.py).
        finished = await _settle_cut_off_run(context, release, bundle, flags.labels)
        if finished is not None:
            return finished
    deadline = context.seconds + flags.longest

    run_helm = _runner(context, bundle, release, prepared, deadline)

    async def upgrade_with_ownership() -> Revision:
        if not context.kube.is_there:
            return await run_helm(flags)
        claim = _claim(context, document, bundle, release)
        return await ownership.upgrade(
            run_helm, context.kube, flags, claim, is_first_apply=old is None or not old.applied
        )

    drift = bundle.options.correct_drift or CorrectDrift()
    correcting = bool(drift.enabled and old and old.applied >= bundle.generation and not old.began)
    force = flags.force or (correcting and bool(drift.force))
    keeps_failed = bool(drift.keep_fail_history) or not correcting
    return await immutable.run_and_recreate(
        context.kube, release, upgrade_with_ownership, force=force, keep_failed=keeps_failed
    )


def _runner(
    context: ReleaseContext,
    bundle: DesiredBundle,
    release: Release,
    prepared: Prepared,
    deadline: float,
) -> Run:
    """A helm run that repairs the release's records, or applies client-side, where helm refuses
    without that.
    """

    async def run_once(flags: UpgradeFlags) -> Revision:
        try:
            return await context.helm.upgrade(
                release, prepared.chart, prepared.values, flags, deadline=deadline
            )
        except PendingOperation:
            await context.repair.settle(context.kube, bundle.name, release)
            return await context.helm.upgrade(
                release, prepared.chart, prepared.values, flags, deadline=deadline
            )

    async def run_repaired(flags: UpgradeFlags) -> Revision:
        try:
            return await run_once(flags)
        except NoKind:
            if not context.kube.is_there or not await removed_apis.repair(context.kube, release):
                raise
        except RecordTaken:
            if not context.kube.is_there or not await removed_apis.drop_unreadable(
                context.kube, release
            ):
                raise
        return await run_once(flags)

    def note(refusals: list[str]) -> None:
        entry = context.journal.entries[bundle.name]
        context.journal.put(msgspec.structs.replace(entry, client_side=tuple(refusals)))

    async def run(flags: UpgradeFlags) -> Revision:
        is_client_side = bool(context.journal.entries[bundle.name].client_side)
        return await client_side_apply.upgrade(run_repaired, release, flags, is_client_side, note)

    return run


async def _settle_cut_off_run(
    context: ReleaseContext, release: Release, bundle: DesiredBundle, labels: Mapping[str, str]
) -> Revision | None:
    """Put right what a cut-off helm has left. The revision when it had ended well and only this
    agent does not know: running it again would run its hooks again, and charts that make passwords
    would make others.
    """
    records = await context.repair.settle(context.kube, bundle.name, release)
    if (
        not records
        or records[0].status != DEPLOYED
        or (bundle.options.helm and bundle.options.helm.values_from)
    ):
        return None
    expected = (
        (int(labels["fleetctl-epoch"]), int(labels["fleetctl-generation"])),
        labels["fleetctl-digest"],
    )
    if (records[0].order, records[0].digest) != expected:
        return None
    text = await context.helm.manifest(release, deadline=context.seconds)
    return Revision(records[0].version, DEPLOYED, "", text.decode())


def flags_of(
    bundle: DesiredBundle, document: Desired, prepared: Prepared, *, creates_namespace: bool
) -> UpgradeFlags:
    """`creates_namespace`: the target must do it, because there is no cluster that the agent could
    ask.
    """
    options = bundle.options
    helm = options.helm or HelmOptions()
    labels = {
        "fleetctl-cluster": document.cluster_id,
        "fleetctl-bundle": bundle.name,
        "fleetctl-epoch": str(document.epoch),
        "fleetctl-generation": str(bundle.generation),
        "fleetctl-digest": bundle.archive[:32],
    }
    return UpgradeFlags(
        labels=labels,
        max_history=helm.max_history or 2,
        timeout=max(0, helm.timeout_seconds or 0),
        wait_for_jobs=bool(helm.wait_for_jobs),
        atomic=bool(helm.atomic),
        take_ownership=bool(helm.take_ownership),
        create_namespace=creates_namespace and options.create_namespace is not False,
        skip_schema=bool(helm.skip_schema_validation),
        force=bool(helm.force),
        disable_dns=bool(helm.disable_dns),
        skip_crds=bool(options.target_namespace),
        post_renderer=prepared.post_renderer,
        plugins=prepared.plugins,
    )


def _claim(
    context: ReleaseContext, document: Desired, bundle: DesiredBundle, release: Release
) -> OwnershipClaim:
    """Of two bundles that name one release, the one before has it."""
    all_holders = remove.holders(context) | remove.holders(context, but=bundle.name)
    leaving = {tombstone.name for tombstone in document.tombstones}
    return OwnershipClaim(
        bundle.name,
        release,
        all_holders,
        leaving,
        may_take=bool(bundle.options.helm and bundle.options.helm.take_ownership),
    )


def _entry(bundle: DesiredBundle, document: Desired, old: Entry | None, release: Release) -> Entry:
    return Entry(
        bundle=bundle.name,
        generation=bundle.generation,
        applied=old.applied if old else type(bundle.generation)(0),
        archive=bundle.archive,
        options_digest=bundle.options_digest,
        release=release.name,
        namespace=release.namespace,
        revision=old.revision if old else 0,
        commit=bundle.commit,
        delete_namespace=bool(bundle.options.delete_namespace),
        epoch=document.epoch,
        account=bundle.options.service_account or "",
        failures=old.failures if old else 0,
        removing=bool(old and old.removing),
        client_side=old.client_side
        if old and (old.release, old.namespace) == (release.name, release.namespace)
        else (),
        former=_former(old, release),
    )


def _former(old: Entry | None, release: Release) -> tuple[tuple[str, str], ...]:
    """The releases that the bundle had before and has not any more; parts of them too."""
    old_releases = remove.former_of(old) if old else []
    if old and old.release and (old.release, old.namespace) != (release.name, release.namespace):
        old_releases += releases_of(old)
    return tuple(
        dict.fromkeys(
            (former_release.name, former_release.namespace)
            for former_release in old_releases
            if former_release != release
        )
    )


def _before(context: ReleaseContext, release: Release, leaving: set[BundleName]) -> Entry | None:
    """What has the release under another name that is given up: the bundle was renamed, and goes on
    as what it was. Its objects keep their parts, and what others own in them stays as it is.
    """
    holder = remove.holders(context).get(release)
    entry = context.journal.entries.get(holder) if holder in leaving else None
    if (
        entry is None
        or entry.removing
        or (entry.release, entry.namespace) != (release.name, release.namespace)
    ):
        return None
    return entry


def _refuse_conflict(
    context: ReleaseContext, bundle: DesiredBundle, release: Release, leaving: set[BundleName]
) -> None:
    """Two bundles that claim one release: the first keeps it, unless it is to be removed. Raises
    Taken.
    """
    holder = remove.holders(context, but=bundle.name).get(release)
    if holder is not None and (holder not in leaving or context.journal.entries[holder].removing):
        step = "Give one of them another helm.releaseName or namespace."
        raise OwnershipConflict(
            f"{release} belongs to bundle {holder} already",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )
