"""Gives helm every part of a bundle, with what must exist before.

Rule: a cut-off apply can be begun again anywhere, and ends in the same state.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from fleetctl.core.formats.yaml import dump
from fleetctl.core.model.errors import FleetError, NotDecodable, RecordTooLarge, ToolFailed
from fleetctl.core.model.options import HelmOptions
from fleetctl.core.rendering.release_size import files_in_record, refuse_too_large
from fleetctl.core.rendering.render import part_name
from fleetctl.tools import crds as definitions
from fleetctl.tools.chart_builder import build, plugin
from fleetctl.tools.chart_builder.build import ChartContent
from fleetctl.tools.chart_builder.plugin import PreparedChart
from fleetctl.tools.field_substitution import key_of
from fleetctl.tools.helm import HelmCli, Release, Revision

from ..host.failpoints import failpoint
from ..release import crds, handover
from . import decode_errors, part_placement
from .context import ReleaseContext
from .helm_run import InstallRequest, finish_cut_off_run, new_upgrade, run_helm
from .shape import ReleaseWork


@dataclass(frozen=True)
class ApplyResult:
    """`revision` of the first part; `manifests` of each, as Git states them, hooks left out."""

    revision: int
    manifests: list[tuple[Release, str]]

    @property
    def manifest(self) -> str:
        return "\n---\n".join(text for _, text in self.manifests)


async def apply_parts(
    context: ReleaseContext, request: InstallRequest, work: ReleaseWork
) -> ApplyResult:
    """Apply definitions, then every part, then drop parts that are not needed any more. Raises
    FleetError.
    """
    plan, kube = work.plan, context.kube
    await _apply_definitions_first(context, work)
    await handover.begin(kube, work.moves)
    revisions: list[Revision] = []
    for part in work.parts:
        revisions.append(await _upgrade_part(context, request, work, part))
        failpoint("after-part")
    for part in sorted(set(work.old_parts) - set(work.parts), reverse=True):
        await _drop_part(context, request, work, part)
    await handover.end(kube, work.moved_items, plan.namespace)
    if len(work.parts) > 1:
        manifests = [revision.manifest for revision in revisions]
        await part_placement.wait_until_ready(
            kube, work.options.helm or HelmOptions(), plan.namespace, manifests
        )
    stated_manifests = [
        (_release_of(work, part), restore_stated(revision.manifest, work, plan.namespace))
        for part, revision in zip(work.parts, revisions, strict=True)
    ]
    return ApplyResult(revisions[0].number, stated_manifests)


def _release_of(work: ReleaseWork, part: int) -> Release:
    return Release(part_name(work.plan.release, part), work.plan.namespace)


def _takes_ownership(work: ReleaseWork) -> bool:
    return bool(work.options.helm and work.options.helm.take_ownership)


async def _apply_definitions_first(context: ReleaseContext, work: ReleaseWork) -> None:
    if not work.first_definitions and not work.shared_definitions:
        return
    release, kube = _release_of(work, 1), context.kube
    failpoint("before-definitions")
    await crds.apply_definitions(
        kube,
        release,
        work.first_definitions,
        takes_ownership=_takes_ownership(work),
        claim=work.claim,
    )
    await crds.apply_definitions(
        kube, release, work.shared_definitions, takes_ownership=False, is_shared=True
    )
    failpoint("after-definitions")


async def _upgrade_part(
    context: ReleaseContext, request: InstallRequest, work: ReleaseWork, part: int
) -> Revision:
    """Upgrade the release of one part. A chart that needs definitions of its own stops helm once,
    before anything is touched: they are applied, and helm runs again.
    """
    release, helm_input = _release_of(work, part), work.parts[part]
    wait = crds.ServedWait()
    while True:
        upgrade = new_upgrade(
            context, request, release, helm_input, part=part, part_count=len(work.parts)
        )
        try:
            finished_revision = await finish_cut_off_run(context, upgrade)
            return finished_revision or await run_helm(context, upgrade)
        except ToolFailed as error:
            if work.first_definitions and await wait.pause(error):
                continue
            await _apply_missing_definitions(context, work, release, helm_input, error)
        wait = crds.ServedWait()


async def _apply_missing_definitions(
    context: ReleaseContext,
    work: ReleaseWork,
    release: Release,
    helm_input: PreparedChart,
    error: ToolFailed,
) -> None:
    """Apply the definitions for which the post-renderer has stopped helm. Raises `error`, or a more
    exact one, when helm failed for another reason.
    """
    if isinstance(error, RecordTooLarge):
        raise await _measure_record(context, work, helm_input, error) from error
    if isinstance(error, NotDecodable):
        raise await decode_errors.locate_mistake(context, work, helm_input, error) from error
    out_file = work.workdir / plugin.DEFINITIONS
    if not out_file.exists():
        # With the mark of applied definitions gone, the next run stops for them.
        if not crds.is_unserved(error) or not plugin.unsettle(work.workdir):
            raise error
        return
    missing = json.loads(out_file.read_bytes())
    out_file.unlink()
    await crds.apply_definitions(
        context.kube, release, missing, takes_ownership=_takes_ownership(work), claim=work.claim
    )
    digests = [definitions.digest(definition) for definition in missing]
    plugin.settle(work.workdir, digests)
    failpoint("after-definitions")


async def _measure_record(
    context: ReleaseContext, work: ReleaseWork, helm_input: PreparedChart, error: RecordTooLarge
) -> FleetError:
    """The error with the sizes, which only a rendering tells; `error` where that finds none."""
    if not isinstance(context.helm, HelmCli):
        return error
    plan = work.plan
    try:
        text = await decode_errors.render_text(context, work, helm_input)
        await asyncio.to_thread(
            refuse_too_large,
            text,
            plan.release,
            files_in_record(plan.files, plan.chart, plan.values),
        )
    except FleetError as size_error:
        return size_error
    return error


async def _drop_part(
    context: ReleaseContext, request: InstallRequest, work: ReleaseWork, part: int
) -> None:
    """Empty the part first, then uninstall it: an uninstall would not see that objects of it were
    handed over.
    """
    release = _release_of(work, part)
    empty = build.generate_chart(work.plan, work.workdir / f"part-{part}", ChartContent(b""))
    upgrade = new_upgrade(context, request, release, empty, part=part, part_count=2)
    if await finish_cut_off_run(context, upgrade) is None:
        await run_helm(context, upgrade)
    await context.helm.uninstall(release, deadline=context.seconds)
    failpoint("after-part")


def restore_stated(manifest: str, work: ReleaseWork, namespace: str) -> str:
    """helm's manifest as Git states it: what is kept and compared is never a live value."""
    before_file = work.workdir / plugin.BEFORE
    stated_documents = [
        *work.stated_documents,
        *(json.loads(before_file.read_bytes()) if before_file.exists() else []),
    ]
    if not stated_documents:
        return manifest
    stated_by_key = {key_of(document, namespace): document for document in stated_documents}
    documents_as_stated = [
        stated_by_key.get(key_of(item, namespace), item)
        for item in definitions.documents(manifest.encode())
    ]
    return "---\n".join(dump(item) for item in documents_as_stated)
