"""From a plan to what it would change in objects: one cluster of each group is rendered, before and
after, by the code that agents run.

Rule: what cannot be rendered here (no helm, a chart that fails) is shown file by file, and says so;
the values of Secrets are not shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.cli.preview.object_changes import Key, ObjectChange, changes_of, key_of
from fleetctl.cli.preview.renderer import Renderer, RenderResult
from fleetctl.core.charts.capabilities import HELM_DEFAULT, Capabilities, capabilities_of_version
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import ToolMissing
from fleetctl.core.model.ids import BundleName, ClusterName, Digest, Workspace
from fleetctl.core.model.options import Options, downstream_of
from fleetctl.core.rollout.impact import (
    Impact,
    ImpactGroup,
    Plan,
    PlanFacts,
    Side,
    What,
    option_paths,
)
from fleetctl.core.scan.scan import ScannedBundle
from fleetctl.core.targeting.target import Match

Archive = Callable[[Digest], bytes]
_SECRET = re.compile(
    rb"""(?m)^[\s-]*["']?kind["']?\s*:\s*["']?Secret["']?\s*,?\s*(#.*)?$|"kind"\s*:\s*"Secret"|secretGenerator"""
)
_PLAIN = (".yaml", ".yml", ".json", ".tpl", ".md", ".txt")


@dataclass(frozen=True)
class Picture:
    """What one group would see. `options`: paths of the options that differ; `failure`: why the new
    side cannot be rendered, with `status`; `rendered` False: the changes are files, not objects.
    """

    changes: list[ObjectChange] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    is_rendered: bool = True


@dataclass
class Pictures:
    """One for each group, in order, by bundle. `hints`: what the person at this machine should
    know, each once.
    """

    of: dict[BundleName, list[Picture]] = field(default_factory=dict)
    hints: dict[str, None] = field(default_factory=dict)

    @property
    def has_failures(self) -> bool:
        return any(picture.failure for pictures in self.of.values() for picture in pictures)


def render_pictures(
    plan: Plan,
    archive: Archive,
    *,
    show_secrets: bool = False,
    diffs: bool = True,
    capabilities: Capabilities = HELM_DEFAULT,
) -> Pictures:
    """`archive` fetches one by its digest. One bundle after the other, so that only its archives
    are held. Raises what `archive` raises.
    """
    result = Pictures()
    for impact in plan.bundles:
        result.of[impact.bundle] = _Bundle(
            plan,
            impact,
            archive,
            result.hints,
            show_secrets=show_secrets,
            capabilities=capabilities,
        ).all(diffs=diffs)
    return result


class _Bundle:
    def __init__(
        self,
        plan: Plan,
        impact: Impact,
        archive: Archive,
        hints: dict[str, None],
        *,
        show_secrets: bool,
        capabilities: Capabilities,
    ) -> None:
        self._capabilities = capabilities
        self._plan, self._impact, self._archive, self._hints, self._show = (
            plan,
            impact,
            archive,
            hints,
            show_secrets,
        )
        self._archives: dict[Digest, bytes] = {}

    def all(self, *, diffs: bool) -> list[Picture]:
        groups = self._impact.groups
        drawn_groups = [group for group in groups if diffs and self._is_drawn(group)]
        sides = [(group, side) for group in drawn_groups for side in (group.old, group.new) if side]
        results = (
            self._renderer().all([self._pair(group, side) for group, side in sides])
            if sides
            else []
        )
        by_side = {
            (id(group), id(side)): result
            for (group, side), result in zip(sides, results, strict=True)
        }
        return [self._picture(group, by_side) for group in groups]

    def _renderer(self) -> Renderer:
        """Charts see the Kubernetes version that each representative reports."""
        versions = {
            str(name): capabilities_of_version(facts.kube_version)
            for name, facts in self._plan.facts.items()
        }
        return Renderer(hooks=True, crds=True, capabilities=self._capabilities, reported=versions)

    def _is_drawn(self, group: ImpactGroup) -> bool:
        """A cluster that gains or loses a bundle that stays is only counted."""
        if group.what is What.CHANGED:
            return True
        return group.what.value == self._impact.what.value and group.what in {
            What.ADDED,
            What.REMOVED,
        }

    def _pair(self, group: ImpactGroup, side: Side) -> tuple[ScannedBundle, Match]:
        facts = self._plan.facts.get(group.representative, PlanFacts())
        space = Workspace(self._plan.workspace)
        cluster = Cluster(
            workspace=space,
            name=ClusterName(group.representative),
            labels=facts.labels,
            annotations=facts.annotations,
            values=facts.values,
        )
        spec = BundleSpec(workspace=space, name=self._impact.bundle, archive=side.archive)
        match = Match(
            cluster=cluster,
            target="",
            customization=side.customization,
            options=self._options(side),
        )
        return ScannedBundle(spec=spec, archive=self._bytes(side.archive)), match

    def _bytes(self, digest: Digest) -> bytes:
        if digest not in self._archives:
            self._archives[digest] = self._archive(digest)
        return self._archives[digest]

    def _options(self, side: Side | None) -> Options:
        raw = self._plan.options.get(side.options) if side else None
        return msgspec.json.decode(raw, type=Options) if raw else Options()

    def _paths(self, group: ImpactGroup) -> list[str]:
        if not (group.old and group.new) or group.old.options == group.new.options:
            return []
        old, new = (msgspec.to_builtins(self._options(side)) for side in (group.old, group.new))
        return option_paths(old, new)

    def _picture(
        self, group: ImpactGroup, results: Mapping[tuple[int, int], RenderResult]
    ) -> Picture:
        options, notes = self._paths(group), self._notes(group)
        old, new = (
            results.get((id(group), id(side))) if side else None for side in (group.old, group.new)
        )
        if old is None and new is None:
            return Picture(options=options, notes=notes)
        errors = [side.error for side in (old, new) if side and side.error]
        if not errors:
            return Picture(self._objects(old, new), options, notes)
        failure = ""
        if any(isinstance(error, ToolMissing) for error in errors):
            self._hints[
                f"{errors[0].summary}: files are shown instead of rendered objects."
                f" {errors[0].next_step}"
            ] = None
        elif new and new.error and old and old.error:
            notes.append(f"cannot be rendered, now as before: {new.error.summary}")
        elif new and new.error:
            failure = new.error.summary
        else:
            notes.append(f"the deployed version cannot be rendered: {errors[0].summary}")
        return Picture(self._files(group), options, notes, failure, is_rendered=False)

    def _objects(self, old: RenderResult | None, new: RenderResult | None) -> list[ObjectChange]:
        before, after = (
            {key_of(side, item): item for item in side.objects} if side else {}
            for side in (old, new)
        )
        return changes_of(before, after, show_secrets=self._show)

    def _files(self, group: ImpactGroup) -> list[ObjectChange]:
        old, new = (
            unpack(self._bytes(side.archive)) if side else {} for side in (group.old, group.new)
        )
        secret = any(
            b"secretGenerator" in file.data for files in (old, new) for file in files.values()
        )
        changes = []
        for path in sorted(old.keys() | new.keys()):
            old_file, new_file = old.get(path), new.get(path)
            if old_file == new_file:
                continue
            kind = "added" if old_file is None else "removed" if new_file is None else "changed"
            key = Key(self._impact.bundle, "", "File", "", path)
            is_masked = not self._show and any(
                _hides(path, file, is_generated=secret) for file in (old_file, new_file) if file
            )
            changes.append(
                ObjectChange(key, kind, _file_diff(key, old_file, new_file, is_masked=is_masked))
            )
        return changes

    def _notes(self, group: ImpactGroup) -> list[str]:
        """What a rendering here cannot know."""
        options = self._options(group.new or group.old)
        raw = self._plan.options.get(group.new.options) if group.new else None
        notes = []
        if options.helm and options.helm.values_from:
            notes.append("helm.valuesFrom is read on each cluster, and is not included")
        copies = [f"{resource.kind} {resource.name}" for resource in downstream_of(options)]
        if copies:
            notes.append(f"copies from the manager: {', '.join(copies)}")
        if raw and b"${" in bytes(raw) and group.clusters > 1:
            notes.append(
                f"rendered for {group.representative}; templates in the options may give"
                " other clusters other values"
            )
        return notes


def _hides(path: str, file: File, *, is_generated: bool) -> bool:
    """Whether the file may hold what a Secret is made of."""
    return (
        bool(_SECRET.search(file.data))
        or "secret" in path.lower()
        or (is_generated and not path.endswith(_PLAIN))
    )


def _file_diff(key: Key, old: File | None, new: File | None, *, is_masked: bool) -> str:
    if is_masked:
        return f"--- {key} (before)\n+++ {key} (after)\n(it may contain a Secret, and is not shown)"
    try:
        before, after = ((file.data.decode().splitlines() if file else []) for file in (old, new))
    except UnicodeDecodeError:
        return f"--- {key} (before)\n+++ {key} (after)\n(not text)"
    text = "\n".join(
        difflib.unified_diff(before, after, f"{key} (before)", f"{key} (after)", lineterm="")
    )
    return (
        text or f"--- {key} (before)\n+++ {key} (after)\n(its mode or its last line's end differs)"
    )


def as_document(plan: Plan, pictures: Pictures) -> dict[str, Any]:
    """For programs: the plan without what it takes to render it, and with the differences."""
    document: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(plan, options={}, facts={})
    )
    for impact, bundle in zip(plan.bundles, document.get("bundles", []), strict=True):
        for group, picture in zip(
            bundle.get("groups", []), pictures.of.get(impact.bundle, []), strict=False
        ):
            group["changes"] = [
                {**c.key._asdict(), "what": c.what, "diff": c.text} for c in picture.changes
            ]
            group["options"], group["notes"] = picture.options, picture.notes
            group["failure"], group["rendered"] = picture.failure, picture.is_rendered
    return document
