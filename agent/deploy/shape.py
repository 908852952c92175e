"""Decides what helm is given for a bundle: one release or several, with what must exist before.

Rule: everything that can be refused is refused here, before anything is touched.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.core.model.errors import RenderFailed, ToolFailed
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import Options
from fleetctl.core.rendering.release_size import (
    MAX_BYTES,
    files_in_record,
    packed_size,
    refuse_too_large,
    surely_fits,
)
from fleetctl.core.rendering.render import RenderPlan, part_name
from fleetctl.tools import crds as definitions
from fleetctl.tools.chart_builder import build
from fleetctl.tools.chart_builder.build import ChartContent
from fleetctl.tools.chart_builder.examine import has_crds
from fleetctl.tools.chart_builder.plugin import Extra, PreparedChart
from fleetctl.tools.field_substitution import Key, substituted
from fleetctl.tools.helm import HelmCli, Release

from ..drift.ignore_rules import rules_of
from ..release import preserved_fields
from ..release.ownership import OwnershipClaim
from ..release.parts import assign_parts, join_pieces, pieces
from ..state.journal import Entry
from . import part_placement

if TYPE_CHECKING:
    from .context import ReleaseContext


@dataclass
class ReleaseWork:
    """What helm is given for one bundle.

    `parts`: the chart of each part, by number. `first_definitions`: applied before helm runs, and
    `shared_definitions` those of a chart's `crds` folder. `stated`: documents as Git states them
    where live values took the place of some fields. `moves`: objects that change their part, with
    the release of the new part; `moved_items`: those, and what a cut-off attempt has moved.
    `old_parts`: the parts beyond the first that existed. `scopes`: as in `post_renderer.Changes`.
    `claim`: whose objects the bundle may take.
    """

    plan: RenderPlan
    options: Options
    workdir: Path
    parts: dict[int, PreparedChart]
    first_definitions: list[JsonObject] = field(default_factory=list)
    shared_definitions: list[JsonObject] = field(default_factory=list)
    stated_documents: list[JsonObject] = field(default_factory=list)
    moves: list[tuple[JsonObject, Release]] = field(default_factory=list)
    moved_items: list[JsonObject] = field(default_factory=list)
    old_parts: tuple[int, ...] = ()
    scopes: dict[str, bool] | None = None
    claim: OwnershipClaim | None = None

    @property
    def new_parts(self) -> tuple[int, ...]:
        """The parts beyond the first that there will be."""
        return tuple(part for part in self.parts if part != 1)

    @property
    def possible_parts(self) -> tuple[int, ...]:
        """The parts beyond the first that there may be while it is being done."""
        return tuple(sorted({*self.new_parts, *self.old_parts}))


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
        helm_input = await build.prepare(
            plan, workdir, kustomize=context.kustomize, deadline=context.seconds, change=run_change
        )
        return ReleaseWork(plan, options, workdir, {1: helm_input})
    scopes = await context.kube.discovery.scopes() if plan.forced_namespace else None
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
        build.build_chart, plan, work.workdir, context.kustomize, await _extra(context, work, old)
    )
    work.shared_definitions = await _read_shared_definitions(context, work)
    return work


async def _shape_content(
    context: ReleaseContext, work: ReleaseWork, old: Entry | None
) -> ReleaseWork:
    plan = work.plan
    run_change = partial(context.sandbox.change, subject=f"bundle {plan.chart_name}")
    content = await build.build_content(
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
        text, work.stated_documents = await asyncio.to_thread(
            substituted, text, substitutes, plan.namespace
        )
        work.old_parts = old.parts
    work.first_definitions = await asyncio.to_thread(definitions.read, text)
    if content.engine:
        await asyncio.to_thread(
            refuse_too_large,
            text,
            plan.release,
            [text, *(file.data for file in content.engine.values())],
        )
        work.parts[1] = build.generate_chart(
            plan, work.workdir, replace(content, text=text), await _extra(context, work, old)
        )
    elif not work.old_parts and (
        surely_fits(text) or await asyncio.to_thread(packed_size, text, [text]) <= MAX_BYTES
    ):
        work.parts[1] = build.generate_chart(plan, work.workdir, replace(content, text=text))
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
    last_applied = context.last_applied.get(old.bundle)
    if last_applied is not None:
        return last_applied.objects
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
            work.moves += [(item, release) for item in definitions.documents(piece.text)]
    work.moved_items += [item for item, _ in work.moves]
    for part, part_pieces in parts.items():
        work.parts[part] = build.generate_chart(
            plan, work.workdir / f"part-{part}", ChartContent(join_pieces(part_pieces))
        )


async def _read_shared_definitions(context: ReleaseContext, work: ReleaseWork) -> list[JsonObject]:
    """The definitions of the chart's `crds` folders, which helm installs once and never
    upgrades.
    """
    plan = work.plan
    if plan.confined or not has_crds(plan) or not isinstance(context.helm, HelmCli):
        return []
    try:
        return definitions.read(
            await build.render_crds(
                plan, work.workdir / "crds", context.helm, deadline=context.seconds
            )
        )
    except (RenderFailed, ToolFailed) as error:
        kind = RenderFailed if isinstance(error, RenderFailed) else ToolFailed
        raise kind(
            f"the chart's crds cannot be read: {error.summary}",
            subject=error.subject,
            next_step=error.next_step,
        ) from error
