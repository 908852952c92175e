"""From what a bundle says to what helm is given, and giving it: one release or several, with what
must be there before it.

Rule: everything that can be refused is refused in `shape`, which touches nothing; `apply` may be
cut off anywhere and begun again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.core.formats.yaml import dump
from fleetctl.core.model.errors import (
    FleetError,
    NotDecodable,
    RecordTooLarge,
    RenderFailed,
    ToolFailed,
)
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.release_size import (
    MAX_BYTES,
    files_in_record,
    packed_size,
    refuse_too_large,
    surely_fits,
)
from fleetctl.core.rendering.render import RenderPlan, part_name
from fleetctl.tools import chart_builder
from fleetctl.tools import crds as definitions
from fleetctl.tools.chart_builder import Content, Extra, Prepared
from fleetctl.tools.field_substitution import Key, key_of, substituted
from fleetctl.tools.helm import HelmCli, Release, Revision, UpgradeFlags

from ..drift.ignore_rules import rules_of
from ..host.failpoints import failpoint
from ..release import crds, handover, part_placement
from ..release.ownership import OwnershipClaim
from ..release.parts import PART, assign_parts, join_pieces, pieces
from ..state.journal import Entry
from . import decode_errors, preserved_fields

if TYPE_CHECKING:
    from .context import ReleaseContext

FlagChange = Callable[[UpgradeFlags], UpgradeFlags]
Upgrade = Callable[[Release, Prepared, FlagChange], Awaitable[Revision]]


@dataclass
class ReleaseWork:
    """`parts`: what each release is made of. `first`: definitions before it; `shared` those of a
    chart's `crds` folder. `before`: what Git states where live values took its place. `moving`:
    objects that change their part, and into which; `moved`: those, and what an attempt before this
    one has moved. `old`: parts beyond the first that were there. `scopes`: as in
    `postrender.Changes`. `claim`: whose objects it may take.
    """

    plan: RenderPlan
    options: Options
    workdir: Path
    parts: dict[int, Prepared]
    first_definitions: list[JsonObject] = field(default_factory=list)
    shared: list[JsonObject] = field(default_factory=list)
    before: list[JsonObject] = field(default_factory=list)
    moving: list[tuple[JsonObject, Release]] = field(default_factory=list)
    moved_items: list[JsonObject] = field(default_factory=list)
    old: tuple[int, ...] = ()
    scopes: dict[str, bool] | None = None
    claim: OwnershipClaim | None = None

    @property
    def new_parts(self) -> tuple[int, ...]:
        """The parts beyond the first that there will be."""
        return tuple(part for part in self.parts if part != 1)

    @property
    def possible_parts(self) -> tuple[int, ...]:
        """The parts beyond the first that there may be while it is being done."""
        return tuple(sorted({*self.new_parts, *self.old}))


@dataclass(frozen=True)
class ApplyResult:
    """`revision` of the first part; `manifests` of each, as Git states them, hooks left out."""

    revision: int
    manifests: list[tuple[Release, str]]

    @property
    def manifest(self) -> str:
        return "\n---\n".join(text for _, text in self.manifests)


async def shape(
    context: ReleaseContext, plan: RenderPlan, bundle: str, options: Options, old: Entry | None
) -> ReleaseWork:
    """Decide what helm will be given. Raises UsageError with the numbers for what no record can
    hold, ToolFailed, ClusterUnreachable.
    """
    workdir = context.state_dir / "work" / bundle
    has_release = (
        old is not None
        and bool(old.release)
        and (old.release, old.namespace) == (plan.release, plan.namespace)
    )
    if not context.kube.is_there:
        run_change = partial(context.sandbox.change, subject=f"bundle {bundle}")
        prepared = await chart_builder.prepare(
            plan, workdir, kustomize=context.kustomize, deadline=context.seconds, change=run_change
        )
        return ReleaseWork(plan, options, workdir, {1: prepared})
    scopes = await context.kube.scopes() if plan.forced_namespace else None
    make = _shape_chart if plan.is_helm else _shape_content
    return await make(
        context,
        ReleaseWork(plan, options, workdir, {}, scopes=scopes),
        old if has_release else None,
    )


async def _shape_chart(
    context: ReleaseContext, work: ReleaseWork, old: Entry | None
) -> ReleaseWork:
    plan = work.plan
    await asyncio.to_thread(
        refuse_too_large, b"", plan.release, files_in_record(plan.files, plan.chart, plan.values)
    )
    # Up to 20,000 files: not in the event loop.
    work.parts[1] = await asyncio.to_thread(
        chart_builder.chart, plan, work.workdir, context.kustomize, await _extra(context, work, old)
    )
    work.shared = await _shared_definitions(context, work)
    return work


async def _shape_content(
    context: ReleaseContext, work: ReleaseWork, old: Entry | None
) -> ReleaseWork:
    plan = work.plan
    run_change = partial(context.sandbox.change, subject=f"bundle {plan.chart_name}")
    content = await chart_builder.content(
        plan,
        work.workdir,
        kustomize=context.kustomize,
        deadline=context.seconds,
        scopes=work.scopes,
        change=run_change,
    )
    text = content.text
    if old:
        objects = await asyncio.to_thread(definitions.documents, text)
        substitutes = await preserved_fields.substitutes(
            context.kube, rules_of(work.options), objects, plan.namespace
        )
        text, work.before = await asyncio.to_thread(substituted, text, substitutes, plan.namespace)
        work.old = old.parts
    work.first_definitions = await asyncio.to_thread(definitions.read, text)
    if content.engine:
        await asyncio.to_thread(
            refuse_too_large,
            text,
            plan.release,
            [text, *(file.data for file in content.engine.values())],
        )
        work.parts[1] = chart_builder.generated(
            plan, work.workdir, replace(content, text=text), await _extra(context, work, old)
        )
    elif not work.old and (
        surely_fits(text) or await asyncio.to_thread(packed_size, text, [text]) <= MAX_BYTES
    ):
        work.parts[1] = chart_builder.generated(plan, work.workdir, replace(content, text=text))
    else:
        await _spread_over_parts(context, work, text, old)
    return work


async def _extra(context: ReleaseContext, work: ReleaseWork, old: Entry | None) -> Extra:
    """For a template engine's output, which nobody has seen yet, the objects that were applied last
    tell what others own.
    """
    objects = await _last_applied_objects(context, old) if old else []
    substitutes = await preserved_fields.substitutes(
        context.kube, rules_of(work.options), objects, work.plan.namespace
    )
    applied_digests = [
        definitions.digest(item) for item in objects if item.get("kind") == definitions.KIND
    ]
    return Extra(work.scopes, substitutes, applied_digests)


async def _last_applied_objects(context: ReleaseContext, old: Entry) -> list[JsonObject]:
    applied = context.last_applied.get(old.bundle)
    if applied is not None:
        return applied.objects
    try:
        manifest = await context.helm.manifest(
            Release(old.release, old.namespace), deadline=context.seconds
        )
        return await asyncio.to_thread(definitions.documents, manifest)
    except ToolFailed:  # nothing of it was ever deployed
        return []


async def _spread_over_parts(
    context: ReleaseContext, work: ReleaseWork, text: bytes, old: Entry | None
) -> None:
    """Whole objects over several releases; each keeps the one it is in."""
    plan = work.plan
    pieces_of_text = await asyncio.to_thread(pieces, text, plan.namespace)
    known_parts: dict[Key, int] = {}
    if old:
        known_parts, work.moved_items = await part_placement.find_parts(
            context, old, pieces_of_text
        )
    parts = await asyncio.to_thread(assign_parts, pieces_of_text, known_parts)
    part_of_key = {piece.key: part for part, part_pieces in parts.items() for piece in part_pieces}
    for piece in pieces_of_text:
        part = part_of_key[piece.key]
        if not piece.hook and known_parts.get(piece.key, part) != part:
            release = Release(part_name(plan.release, part), plan.namespace)
            work.moving += [(item, release) for item in definitions.documents(piece.text)]
    work.moved_items += [item for item, _ in work.moving]
    for part, part_pieces in parts.items():
        work.parts[part] = chart_builder.generated(
            plan, work.workdir / f"part-{part}", Content(join_pieces(part_pieces))
        )


async def _shared_definitions(context: ReleaseContext, work: ReleaseWork) -> list[JsonObject]:
    """The definitions of the chart's `crds` folders, which helm installs once and never
    upgrades.
    """
    plan = work.plan
    if plan.confined or not chart_builder.has_crds(plan) or not isinstance(context.helm, HelmCli):
        return []
    try:
        return definitions.read(
            await chart_builder.crds(
                plan, work.workdir / "crds", context.helm, deadline=context.seconds
            )
        )
    except (RenderFailed, ToolFailed) as why:
        kind = RenderFailed if isinstance(why, RenderFailed) else ToolFailed
        raise kind(
            f"the chart's crds cannot be read: {why.summary}",
            subject=why.subject,
            next_step=why.next_step,
        ) from why


async def apply(context: ReleaseContext, work: ReleaseWork, upgrade: Upgrade) -> ApplyResult:
    """Give helm every part, with what must be there before. Raises FleetError; begun again it ends
    in the same state.
    """
    plan, kube = work.plan, context.kube
    release = Release(plan.release, plan.namespace)
    takes_ownership = bool(work.options.helm and work.options.helm.take_ownership)
    if work.first_definitions or work.shared:
        failpoint("before-definitions")
        await crds.apply_definitions(
            kube, release, work.first_definitions, takes_ownership=takes_ownership, claim=work.claim
        )
        await crds.apply_definitions(
            kube, release, work.shared, takes_ownership=False, is_shared=True
        )
        failpoint("after-definitions")
    await handover.begin(kube, work.moving)
    revisions: list[Revision] = []
    for part, prepared in work.parts.items():
        change = _change(part, len(work.parts))
        revisions.append(
            await _upgrade_part(
                context,
                work,
                Release(part_name(plan.release, part), plan.namespace),
                prepared,
                change,
                upgrade,
            )
        )
        failpoint("after-part")
    for part in sorted(set(work.old) - set(work.parts), reverse=True):
        await _drop_part(context, work, part, upgrade)
    await handover.end(kube, work.moved_items, plan.namespace)
    if len(work.parts) > 1:
        manifests = [revision.manifest for revision in revisions]
        await part_placement.wait_until_ready(
            kube, work.options.helm or HelmOptions(), plan.namespace, manifests
        )
    part_releases = [Release(part_name(plan.release, part), plan.namespace) for part in work.parts]
    return ApplyResult(
        revisions[0].number,
        [
            (release_of_part, restore_stated(revision.manifest, work, plan.namespace))
            for release_of_part, revision in zip(part_releases, revisions, strict=True)
        ],
    )


def _change(part: int, parts: int) -> FlagChange:
    """Parts do not wait for each other: what one waits for may be in the next. So none is rolled
    back by itself either.
    """

    def change(flags: UpgradeFlags) -> UpgradeFlags:
        labels = dict(flags.labels) | ({PART: str(part)} if part > 1 else {})
        if parts > 1:
            return replace(flags, labels=labels, timeout=0, atomic=False)
        return replace(flags, labels=labels)

    return change


async def _upgrade_part(
    context: ReleaseContext,
    work: ReleaseWork,
    release: Release,
    prepared: Prepared,
    change: FlagChange,
    upgrade: Upgrade,
) -> Revision:
    """One release; a chart that needs definitions of its own stops helm once, before anything is
    touched.
    """
    out_file = work.workdir / chart_builder.DEFINITIONS
    takes_ownership = bool(work.options.helm and work.options.helm.take_ownership)

    async def run() -> Revision:
        return await upgrade(release, prepared, change)

    while True:
        try:
            return await (crds.retry_unserved(run) if work.first_definitions else run())
        except RecordTooLarge as why:
            raise await _measure_record(context, work, prepared, why) from why
        except ToolFailed as why:
            if isinstance(why, NotDecodable):
                raise await decode_errors.locate_mistake(context, work, prepared, why) from why
            if not out_file.exists() and not (
                crds.is_unserved(why) and chart_builder.unsettle(work.workdir)
            ):
                raise
        if out_file.exists():
            definitions_out = json.loads(out_file.read_bytes())
            out_file.unlink()
            await crds.apply_definitions(
                context.kube,
                release,
                definitions_out,
                takes_ownership=takes_ownership,
                claim=work.claim,
            )
            chart_builder.settle(
                work.workdir, [definitions.digest(definition) for definition in definitions_out]
            )
            failpoint("after-definitions")


async def _measure_record(
    context: ReleaseContext, work: ReleaseWork, prepared: Prepared, why: RecordTooLarge
) -> FleetError:
    """With the numbers, which only a rendering tells."""
    if not isinstance(context.helm, HelmCli):
        return why
    plan = work.plan
    try:
        text = await decode_errors.render_text(context, work, prepared)
        await asyncio.to_thread(
            refuse_too_large,
            text,
            plan.release,
            files_in_record(plan.files, plan.chart, plan.values),
        )
    except FleetError as size_error:
        return size_error
    return why


async def _drop_part(
    context: ReleaseContext, work: ReleaseWork, part: int, upgrade: Upgrade
) -> None:
    """A part that is not needed any more: first it lets go of everything, because an uninstall
    would not see what was handed over.
    """
    release = Release(part_name(work.plan.release, part), work.plan.namespace)
    empty = chart_builder.generated(work.plan, work.workdir / f"part-{part}", Content(b""))
    await upgrade(release, empty, _change(part, 2))
    await context.helm.uninstall(release, deadline=context.seconds)
    failpoint("after-part")


def restore_stated(manifest: str, work: ReleaseWork, namespace: str) -> str:
    """helm's manifest as Git states it: what is kept and compared is never a live value."""
    before_file = work.workdir / chart_builder.BEFORE
    stated_documents = [
        *work.before,
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
