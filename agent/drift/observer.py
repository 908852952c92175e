"""Looks at objects of releases: whether they are there, ready, and as they were applied.

Rule: the comparison of stated fields is the filter; where it finds something, a dry run decides.
The objects of a release lie on disk beside the journal; neither they nor the live ones stay in
memory between two looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.core.model.errors import NotFound, ToolFailed
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.status import ResourceStatus
from fleetctl.tools.helm_marks import kept_by_upgrade, owner_text

from ..kube.client import Kube
from ..state.last_applied import LastApplied, ObjectKey
from .diff import FieldChange, differences, patch, sentence, to_changes, to_differences
from .dry_run import DryRun
from .field_owners import controller_pointers
from .health import NOT_READY, health
from .ignore_rules import NONE, Rules, outside_pointers, without
from .live_objects import read_all, read_object


@dataclass(frozen=True)
class Subject:
    """What to look at of one bundle, with whose rights; `only` these places, or all. `extra`:
    objects that may say they are of one of its `releases` (NAMESPACE/NAME) though its manifest has
    them not.
    """

    bundle: BundleName
    kube: Kube
    rules: Rules = NONE
    only: frozenset[ObjectKey] | None = None
    extra: frozenset[ObjectKey] = frozenset()
    releases: frozenset[str] = frozenset()


@dataclass
class Observation:
    """What was found of one bundle. `states`: None for an object that the rules leave to itself and
    that is not there. `versions`: uid and resourceVersion at which it was judged, "" for one that
    is not there. `accepted`: for `Observer.accept`, from the first look at all objects after an
    apply.
    """

    states: dict[ObjectKey, ResourceStatus | None] = field(default_factory=dict)
    versions: dict[ObjectKey, tuple[str, str]] = field(default_factory=dict)
    accepted_pointers: dict[str, list[str]] | None = None


@dataclass
class _Work:
    """`known`: what differed right after the apply, by place; None when this look is the first one
    since.
    """

    subject: Subject
    accepted_before: dict[str, list[str]] | None
    observation: Observation = field(default_factory=Observation)
    accepted_now: dict[str, list[str]] = field(default_factory=dict)


_Group = dict[ObjectKey, list[tuple[_Work, msgspec.Raw]]]


class Observer:
    def __init__(
        self, kube: Kube, last_applied: LastApplied, dry_run: DryRun | None = None
    ) -> None:
        self._kube, self._last_applied, self._dry_run = kube, last_applied, dry_run or DryRun()

    async def places(self, bundle: BundleName) -> set[ObjectKey] | None:
        """Where the objects of the bundle are; None for a bundle of which nothing is known. Raises
        ClusterUnreachable.
        """
        applied_objects, scopes = self._last_applied.each(bundle), _Scopes(self._kube)
        return (
            None
            if applied_objects is None
            else {await scopes.resolve(place) for place, _ in applied_objects}
        )

    async def look(self, subjects: Sequence[Subject]) -> dict[BundleName, Observation]:
        """The state of each object, by its bundle's own rules of what does not count. Raises
        ClusterUnreachable.
        """
        works = [
            _Work(subject, self._last_applied.accepted(subject.bundle)) for subject in subjects
        ]
        groups: dict[tuple[str, ...], _Group] = {}
        scopes = _Scopes(self._kube)
        for work in works:
            only = work.subject.only
            for place, raw in self._last_applied.each(work.subject.bundle) or ():
                located_key = await scopes.resolve(place)
                if only is None or located_key in only:
                    group = groups.setdefault((work.subject.kube.user, *located_key[:3]), {})
                    group.setdefault(located_key, []).append((work, raw))
        for group in groups.values():
            await self._group(group)
        for work in works:
            await _extras(work)
            if (
                work.accepted_before is None
                and work.subject.only is None
                and work.observation.states
            ):
                work.observation.accepted_pointers = work.accepted_now
        return {work.subject.bundle: work.observation for work in works}

    def accept(self, bundle: BundleName, pointers: dict[str, list[str]]) -> None:
        """Keep what differed right after the apply: it is no drift."""
        self._last_applied.accept(bundle, pointers)

    async def _group(self, group: _Group) -> None:
        """Objects of one kind in one namespace, read together with the same rights."""
        remaining, state, problem = dict(group), "", ""
        kube = next(iter(group.values()))[0][0].subject.kube
        try:
            async for place, live in read_all(kube, list(group)):
                for work, raw in remaining.pop(place):
                    await self._put(work, place, raw, live)
        except NotFound:
            state, problem = "Missing", "the cluster does not have this kind"
        except ToolFailed as error:
            state, problem = "Unknown", error.summary
        for place, works_at_place in remaining.items() if state else ():
            for work, _ in works_at_place:
                work.observation.states[place] = _status(place, state, problem)

    async def _put(
        self, work: _Work, place: ObjectKey, raw: msgspec.Raw, live: JsonObject | None
    ) -> None:
        if live is not None:
            try:
                work.observation.states[place] = await self._judge(
                    work, place, msgspec.json.decode(raw), live
                )
                work.observation.versions[place] = _version(live)
                return
            except NotFound:
                pass  # gone between two calls
        whole = {
            "apiVersion": place.api_version,
            "kind": place.kind,
            "metadata": {"name": place.name, "namespace": place.namespace},
        }
        is_ignored = work.subject.rules.passes_over(whole)
        work.observation.states[place] = (
            None if is_ignored else _status(place, "Missing", "does not exist")
        )
        work.observation.versions[place] = ("", "")

    async def _judge(
        self, work: _Work, place: ObjectKey, manifest: JsonObject, live: JsonObject
    ) -> ResourceStatus:
        rules = work.subject.rules
        live = {**live, "apiVersion": place.api_version, "kind": place.kind}
        if place.kind == "Secret":
            manifest, live = self._last_applied.hiding.comparable(manifest, live)
        state, message = health(rules.healthy_view(live))
        if rules.passes_over(live):
            return _status(place, state, message)
        own_release, live_release = (
            owner_text(item["metadata"].get("annotations")) for item in (manifest, live)
        )
        if own_release and live_release and own_release != live_release:
            state_and_message = (
                (state, message)
                if state == NOT_READY
                else ("Modified", f"belongs to release {live_release} now")
            )
            return _status(place, *state_and_message, owner=live_release)
        field_changes = await self._find_changes(work, place, manifest, live)
        if not field_changes:
            return _status(place, state, message)
        details: JsonObject = {
            "patch": patch(place.kind, field_changes),
            "differences": to_differences(place.kind, field_changes),
        }
        return _status(
            place,
            *(
                (state, message)
                if state == NOT_READY
                else ("Modified", sentence(place.kind, field_changes))
            ),
            **details,
        )

    async def _find_changes(
        self, work: _Work, place: ObjectKey, manifest: JsonObject, live: JsonObject
    ) -> list[FieldChange]:
        """What is not as stated, without what the rules leave alone and what a controller owns.
        Raises NotFound.
        """
        kube, pointers = work.subject.kube, work.subject.rules.pointers(live)
        desired_part = without(manifest, pointers)
        differing = differences(desired_part, without(live, pointers))
        if not differing:
            self._dry_run.forget(kube, place)
            return []
        # A Secret's values are not here to be applied; nothing in a Secret is rewritten by the API
        # server either.
        dry_run_changes = (
            None
            if place.kind == "Secret"
            else await self._dry_run.changes(kube, place, manifest, live, differing)
        )
        field_changes = (
            self._fallback(work, place, to_changes(desired_part, differing))
            if dry_run_changes is None
            else outside_pointers(dry_run_changes, pointers)
        )
        controller_owned = controller_pointers(live, field_changes)
        return [change for change in field_changes if change.pointer not in controller_owned]

    @staticmethod
    def _fallback(
        work: _Work, place: ObjectKey, field_changes: list[FieldChange]
    ) -> list[FieldChange]:
        """Without a dry run: what differed right after the apply, by the API server's way of
        writing, is no drift.
        """
        if work.accepted_before is None:
            work.accepted_now[str(place)] = [change.pointer for change in field_changes]
            return []
        accepted_before = work.accepted_before.get(str(place), ())
        return [change for change in field_changes if change.pointer not in accepted_before]


class _Scopes:
    """Which kinds have namespaces, asked once a look for those that the cluster has not got."""

    def __init__(self, kube: Kube) -> None:
        self._kube, self._unknown_kinds = kube, set[tuple[str, str]]()

    async def resolve(self, place: ObjectKey) -> ObjectKey:
        """The place without the namespace if the kind has none; unchanged for an unknown kind.
        Raises ClusterUnreachable.
        """
        kind = place[:2]
        if kind in self._unknown_kinds:
            return place
        try:
            resource = await self._kube.discovery.resource(*kind)
        except (NotFound, ToolFailed):
            self._unknown_kinds.add(kind)
            return place
        return place if resource.is_namespaced else place._replace(namespace="")


async def _extras(work: _Work) -> None:
    """An object that carries our release's marks and is not in its manifest; not one that another
    object owns, or that was kept on purpose, or that is going.
    """
    for place in work.subject.extra:
        try:
            live = await read_object(work.subject.kube, place) or {}
        except (NotFound, ToolFailed):
            continue
        meta = live.get("metadata") or {}
        annotations = meta.get("annotations") or {}
        is_excused = (
            meta.get("deletionTimestamp")
            or meta.get("ownerReferences")
            or kept_by_upgrade(annotations)
        )
        if (
            not is_excused
            and owner_text(annotations) in work.subject.releases
            and not work.subject.rules.passes_over(
                {**live, "apiVersion": place.api_version, "kind": place.kind}
            )
        ):
            work.observation.states[place] = _status(
                place, "Orphaned", "is marked as the release's and is not in the bundle"
            )


def _status(place: ObjectKey, state: str, message: str, **details: Any) -> ResourceStatus:
    return ResourceStatus(
        api_version=place.api_version,
        kind=place.kind,
        namespace=place.namespace,
        name=place.name,
        state=state,
        message=message,
        **details,
    )


def _version(live: JsonObject) -> tuple[str, str]:
    meta = live.get("metadata") or {}
    return str(meta.get("uid", "")), str(meta.get("resourceVersion", ""))


def is_ready(resources: Iterable[ResourceStatus]) -> bool:
    return all(r.state not in {NOT_READY, "Unknown"} for r in resources)


def list_drifted(resources: Iterable[ResourceStatus]) -> list[ResourceStatus]:
    """What is not as Git states it, also where it is not ready."""
    return [r for r in resources if r.drifted]
