"""An object that changes its release without going away in between.

helm deletes what a new revision no longer holds, even when the object carries the marks of another
release by then (helm 4.2.3); it leaves what is marked `helm.sh/resource-policy: keep` at that
moment. So that mark, and the marks of the new release, which then takes the object for its own, are
put on the live object before, and the former is taken off after.

Rule: a further annotation says that the mark is ours, so that a crash in between leaves nothing
that the next attempt does not find.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.field_substitution import key_of
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_marks import KEEP, RESOURCE_POLICY, owner_annotations, owner_of

from ..kube.client import Kube
from .preserved_fields import read_live

_HANDOVER = "fleetctl-handed-over"
_KEEP_FOR_NOW = {RESOURCE_POLICY: KEEP, _HANDOVER: "true"}


async def begin(kube: Kube, moves: Iterable[tuple[JsonObject, Release]]) -> None:
    """Mark each object as its new release's, and so that helm leaves it whatever release drops
    it.
    """
    for item, release in moves:
        live = await read_live(kube, item, release.namespace)
        if live is not None:
            marks = owner_annotations(release.name, release.namespace)
            policy = {} if _annotations(live).get(RESOURCE_POLICY) else _KEEP_FOR_NOW
            await _annotate(kube, item, release.namespace, {**marks, **policy})


async def mark_kept(kube: Kube, objects: Iterable[JsonObject], release: Release) -> None:
    """Mark those of `objects` that belong to the release so that helm does not delete them."""
    for item in objects:
        live = await read_live(kube, item, release.namespace)
        annotations = _annotations(live) if live is not None else {}
        is_own = owner_of(annotations) == (release.name, release.namespace)
        if is_own and not annotations.get(RESOURCE_POLICY):
            await _annotate(kube, item, release.namespace, _KEEP_FOR_NOW)


async def end(kube: Kube, objects: Iterable[JsonObject], namespace: str) -> None:
    """Helm may delete them again; a mark that somebody else put there stays."""
    for item in objects:
        live = await read_live(kube, item, namespace)
        if live is not None and is_marked(live):
            await _annotate(kube, item, namespace, {RESOURCE_POLICY: None, _HANDOVER: None})


def is_marked(live: JsonObject) -> bool:
    """Whether the live object is on its way from one release to another."""
    return _HANDOVER in _annotations(live)


def _annotations(live: JsonObject) -> JsonObject:
    return (live.get("metadata") or {}).get("annotations") or {}


async def _annotate(
    kube: Kube, item: JsonObject, namespace: str, annotations: Mapping[str, str | None]
) -> None:
    _, kind, place, name = key_of(item, namespace)
    path = await kube.object_path(str(item.get("apiVersion")), kind, place, name)
    try:
        await kube.merge(path, {"metadata": {"annotations": annotations}}, manager="fleetctl")
    except NotFound:
        return
