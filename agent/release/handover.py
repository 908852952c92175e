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
from typing import Any

import msgspec

from fleetctl.core.model.errors import NotFound
from fleetctl.tools.field_substitution import key_of
from fleetctl.tools.helm import Release

from ..deploy.preserved_fields import read_live
from ..kube.client import Kube
from ..state.last_applied import RELEASE_NAME, RELEASE_NAMESPACE

_KEEP, _HANDOVER = "helm.sh/resource-policy", "fleetctl-handed-over"
_MERGE = {"content-type": "application/merge-patch+json"}


async def begin(kube: Kube, moves: Iterable[tuple[dict[str, Any], Release]]) -> None:
    """From now on each belongs to its new release, and helm leaves it whatever release lets it
    go.
    """
    for item, release in moves:
        live = await read_live(kube, item, release.namespace)
        if live is not None:
            keep_annotations = (
                {} if _annotations(live).get(_KEEP) else {_KEEP: "keep", _HANDOVER: "true"}
            )
            marks = {RELEASE_NAME: release.name, RELEASE_NAMESPACE: release.namespace}
            await _annotate(kube, item, release.namespace, {**marks, **keep_annotations})


async def mark_kept(kube: Kube, objects: Iterable[dict[str, Any]], release: Release) -> None:
    """From now on helm does not delete those of `objects` that belong to the release."""
    for item in objects:
        live = await read_live(kube, item, release.namespace)
        notes = _annotations(live) if live is not None else {}
        owner = (notes.get(RELEASE_NAME), notes.get(RELEASE_NAMESPACE))
        if owner == (release.name, release.namespace) and not notes.get(_KEEP):
            await _annotate(kube, item, release.namespace, {_KEEP: "keep", _HANDOVER: "true"})


async def end(kube: Kube, objects: Iterable[dict[str, Any]], namespace: str) -> None:
    """Helm may delete them again; a mark that somebody else put there stays."""
    for item in objects:
        live = await read_live(kube, item, namespace)
        if live is not None and is_marked(live):
            await _annotate(kube, item, namespace, {_KEEP: None, _HANDOVER: None})


def is_marked(live: dict[str, Any]) -> bool:
    """Whether the live object is on its way from one release to another."""
    return _HANDOVER in _annotations(live)


def _annotations(live: dict[str, Any]) -> dict[str, Any]:
    return (live.get("metadata") or {}).get("annotations") or {}


async def _annotate(
    kube: Kube, item: dict[str, Any], namespace: str, notes: Mapping[str, str | None]
) -> None:
    _, kind, place, name = key_of(item, namespace)
    path = await kube.object_path(str(item.get("apiVersion")), kind, place, name)
    body = msgspec.json.encode({"metadata": {"annotations": notes}})
    try:
        await kube.call("PATCH", f"{path}?fieldManager=fleetctl", body, _MERGE)
    except NotFound:
        return
