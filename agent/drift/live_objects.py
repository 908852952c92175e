"""Reads live objects with a bundle's rights: one call for each, or pages of a list where many of
one kind and namespace are wanted.

Rule: one object at a time is decoded, and none is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import msgspec

from fleetctl.core.model.errors import ForbiddenRequest, WatchExpired
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.helm_marks import MANAGED_BY, MANAGED_LABEL

from ..kube.client import Kube
from ..state.last_applied import ObjectKey

_LIST_FROM = 4


class _Meta(msgspec.Struct):
    name: str
    namespace: str = ""


class _ListItem(msgspec.Struct):
    metadata: _Meta


async def read_all(
    kube: Kube, places: Collection[ObjectKey]
) -> AsyncIterator[tuple[ObjectKey, JsonObject | None]]:
    """Each of `places`, which have kind and namespace in common, with the live object or None.
    Raises NotFound for a kind that the cluster has not got, ToolFailed, ClusterUnreachable.
    """
    remaining = dict.fromkeys(places)
    if len(remaining) >= _LIST_FROM:
        async for place, item in _list_items(kube, next(iter(remaining))):
            if place in remaining:
                del remaining[place]
                yield place, msgspec.json.decode(item)
    for place in remaining:  # those that have lost helm's label, or are gone
        yield place, await read_object(kube, place)


async def read_object(kube: Kube, place: ObjectKey) -> JsonObject | None:
    path = await kube.object_path(place.api_version, place.kind, place.namespace, place.name)
    return await kube.find(path)


async def _list_items(kube: Kube, like: ObjectKey) -> AsyncIterator[tuple[ObjectKey, msgspec.Raw]]:
    """What can be listed; nothing more once that is refused, and the rest is read by name."""
    try:
        async for item in kube.items(
            like.api_version, like.kind, like.namespace, f"{MANAGED_LABEL}={MANAGED_BY}"
        ):
            meta = msgspec.json.decode(item, type=_ListItem).metadata
            yield like._replace(namespace=meta.namespace, name=meta.name), item
    except (ForbiddenRequest, WatchExpired):
        return
