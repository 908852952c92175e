"""What the API server says an object would become if it were applied again: the true drift, asked
for by a server-side dry run.

Rule: nothing is asked twice. An answer stands for the object as it is (its uid and the stated
fields that differ), and so does a refusal, for a while: of webhooks that cannot do dry runs, of
rights that are missing. How often anything is asked is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import msgspec

from fleetctl.core.model.errors import (
    ClusterUnreachable,
    DryRunRefused,
    ForbiddenRequest,
    ThrottledRequest,
    ToolFailed,
)
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.timing.token_bucket import TokenBucket

from ..kube.client import Kube
from ..state.last_applied import ObjectKey
from .diff import FieldChange, changes

_RATE, _BURST = 5.0, 30.0
_KIND_SECONDS, _OBJECT_SECONDS = 600.0, 60.0
_TRIES = 3


@dataclass(frozen=True)
class DryRunResult:
    """`field_changes`: what a new apply would change; None if no dry run is possible before `until`
    (clock).
    """

    about: Hashable
    field_changes: list[FieldChange] | None
    until: float = float("inf")


class DryRun:
    """`clock`: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = TokenBucket(_RATE, _BURST, clock)
        self._results: dict[tuple[str, ObjectKey], DryRunResult] = {}
        self._refused_kinds: dict[tuple[str, str, str], float] = {}

    async def changes(
        self,
        kube: Kube,
        place: ObjectKey,
        manifest: JsonObject,
        live: JsonObject,
        differing: JsonObject,
    ) -> list[FieldChange] | None:
        """What would change; None when the cluster refuses to say. Raises NotFound (it is gone by
        now), Throttled.
        """
        key = (kube.user, place)
        about = (
            (live.get("metadata") or {}).get("uid"),
            hash(msgspec.json.encode([manifest, differing], order="sorted")),
        )
        cached_result = self._results.get(key)
        if (
            cached_result is not None
            and cached_result.about == about
            and self._clock() < cached_result.until
        ):
            return cached_result.field_changes
        if self._refused_kinds.get((kube.user, place.api_version, place.kind), 0.0) > self._clock():
            return None
        field_changes = await self._ask(kube, place, manifest, live)
        self._results[key] = DryRunResult(
            about,
            field_changes,
            float("inf") if field_changes is not None else self._clock() + _OBJECT_SECONDS,
        )
        return field_changes

    def forget(self, kube: Kube, place: ObjectKey) -> None:
        """The object is as it should be: nothing of it needs to be remembered."""
        self._results.pop((kube.user, place), None)

    async def _ask(
        self, kube: Kube, place: ObjectKey, manifest: JsonObject, live: JsonObject
    ) -> list[FieldChange] | None:
        path = await kube.object_path(place.api_version, place.kind, place.namespace, place.name)
        document = _body(manifest, place.namespace)
        for _ in range(_TRIES):
            self._bucket.take()
            await asyncio.sleep(self._bucket.wait())
            try:
                would_be = await kube.apply(path, document, manager="helm", dry_run=True)
            except ThrottledRequest:
                raise
            except (ToolFailed, ClusterUnreachable) as error:
                self._refuse(kube, place, error)
                return None
            if _version(would_be) == _version(live):
                break
            live = await kube.call("GET", path)  # it has changed since it was read
        return changes(would_be, live)

    def _refuse(self, kube: Kube, place: ObjectKey, error: ToolFailed | ClusterUnreachable) -> None:
        """Rights and webhooks are the kind's; anything else (a field that cannot change) is this
        object's.
        """
        seconds = 0.0
        if isinstance(error, DryRunRefused | ForbiddenRequest):
            seconds = _KIND_SECONDS
        # a webhook that does not answer: not once more for each object
        elif isinstance(error, ClusterUnreachable):
            seconds = _OBJECT_SECONDS
        if seconds:
            self._refused_kinds[kube.user, place.api_version, place.kind] = self._clock() + seconds


def _version(item: JsonObject) -> Any:
    return (item.get("metadata") or {}).get("resourceVersion")


def _body(manifest: JsonObject, namespace: str) -> JsonObject:
    meta = {key: value for key, value in manifest["metadata"].items() if key != "namespace"}
    return {**manifest, "metadata": meta | ({"namespace": namespace} if namespace else {})}
