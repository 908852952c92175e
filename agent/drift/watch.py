"""Watches of the API server: which objects of ours have changed, noticed at once.

One watch for each kind, of names and versions only (PartialObjectMetadata): it says *that*
something changed, and whoever looks reads the object with its bundle's rights. Rule: list from the
API server's cache, then watch with bookmarks; begin again from a list when the version is no longer
known, and every ten minutes as a net under it all; a silent connection is a dead one; what fails is
tried again with growing pauses and full jitter; the number of watches is bounded, and what is not
watched is polled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from fleetctl import jitter
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    ForbiddenRequest,
    NotFound,
    ThrottledRequest,
    ToolFailed,
    WatchExpired,
)
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools.helm_marks import MANAGED_BY, MANAGED_LABEL, kept_by_upgrade, owner_text

from ..host.log import event
from ..kube.client import METADATA, METADATA_LIST, Kube
from ..kube.stream import SILENT_SECONDS, follow

MOST_WATCHES = 24
NET_SECONDS = 600.0
_WATCH_SECONDS = (300, 600)
_REFUSED_SECONDS = 600.0
_SHORT_SECONDS = 5.0  # a watch that ends sooner has failed, whatever it says
_RETRY = Backoff(2.0, 30.0, jitter=1.0)
_SELECTOR = quote(f"{MANAGED_LABEL}={MANAGED_BY}")


class WatchScope(NamedTuple):
    """What one watch sees: a kind, in one namespace or ("") in all, with the rights of `user`."""

    user: str
    api_version: str
    kind: str
    namespace: str = ""


class WatchedObject(NamedTuple):
    """What a watch tells of an object. `release`: the one that it says it belongs to, "" for one
    that never is too many: another object owns it, or it was kept on purpose.
    """

    namespace: str
    name: str
    version: str
    release: str


class WatchHandler(Protocol):
    """Whoever is told. `there` is false for one that is gone or has lost helm's label; `refused`:
    something more must be polled; `away`: why the API server does not answer, time after time, or
    "" once it has.
    """

    def on_change(self, scope: WatchScope, item: WatchedObject, *, exists: bool) -> None: ...
    def on_list(self, scope: WatchScope, objects: Sequence[WatchedObject]) -> None: ...
    def on_throttle(self, seconds: float) -> None: ...
    def on_refusal(self) -> None: ...
    def on_contact(self, problem: str) -> None: ...


class _WatchMeta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    owner_references: list[msgspec.Raw] | None = None


class _Item(msgspec.Struct):
    metadata: _WatchMeta


class _ListMeta(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion", default="")
    continue_token: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] = []


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


class Watches:
    """The watches that run: at most `most`, the kinds of which most objects are ours first.
    `silent`: seconds after which one is dead.
    """

    def __init__(
        self,
        kube: Kube,
        handler: WatchHandler,
        *,
        limit: int = MOST_WATCHES,
        silent: float = SILENT_SECONDS,
    ) -> None:
        self._kube, self._handler, self._limit, self._silent = kube, handler, limit, silent
        self._tasks: dict[WatchScope, asyncio.Task[None]] = {}
        self._refused_until: dict[WatchScope, float] = {}
        self._object_counts: dict[WatchScope, Mapping[str, int]] = {}
        self.unwatched_scopes: set[WatchScope] = set()

    def set_targets(self, object_counts: dict[WatchScope, Mapping[str, int]]) -> None:
        """`wish`: for each kind (in all namespaces) the number of objects of this agent in each
        namespace, "" for kinds without namespaces.
        """
        self._object_counts = object_counts
        totals: dict[WatchScope, int] = {}
        for scope, counts in object_counts.items():
            # where reading all namespaces is not granted, reading each of ours may be
            if self._is_refused(scope):
                totals |= {scope._replace(namespace=name): count for name, count in counts.items()}
            else:
                totals[scope] = sum(counts.values())
        permitted_scopes = [scope for scope in totals if not self._is_refused(scope)]
        watch_scopes = set(
            sorted(permitted_scopes, key=lambda scope: (-totals[scope], scope))[: self._limit]
        )
        self.unwatched_scopes = set(totals) - watch_scopes
        for scope in set(self._tasks) - watch_scopes:
            self._tasks.pop(scope).cancel()
        for scope in watch_scopes - set(self._tasks):
            self._tasks[scope] = asyncio.create_task(self._follow(scope))

    def running(self) -> set[WatchScope]:
        return set(self._tasks)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_refused(self, scope: WatchScope) -> bool:
        return self._refused_until.get(scope, 0.0) > time.monotonic()

    async def _follow(self, scope: WatchScope) -> None:
        try:
            await _Watch(
                self._kube.acting_as(scope.user), scope, self._handler, self._silent
            ).follow()
        except ForbiddenRequest as error:
            self._refuse(scope, error)

    def _refuse(self, scope: WatchScope, error: ForbiddenRequest) -> None:
        """Said once; tried again every ten minutes, since rights change."""
        if scope not in self._refused_until:
            event(
                "not watched but polled",
                kind=scope.kind,
                namespace=scope.namespace or "all",
                why=error.summary,
            )
        self._refused_until[scope] = time.monotonic() + _REFUSED_SECONDS * jitter.between(0.9, 1.1)
        self._tasks.pop(scope, None)
        self.set_targets(self._object_counts)
        self._handler.on_refusal()


class _Watch:
    """One watch that never ends. `version`: where it continues; "" lists the objects again."""

    def __init__(
        self, kube: Kube, scope: WatchScope, handler: WatchHandler, silence_seconds: float
    ) -> None:
        self._kube, self._scope, self._handler, self._silent = kube, scope, handler, silence_seconds
        self._version, self._listed_at, self._failures = "", 0.0, 0

    async def follow(self) -> None:
        """Until it is cancelled. Raises ForbiddenRequest."""
        while True:
            started_at, pause, is_healthy = time.monotonic(), 0.0, False
            try:
                await self._list_and_follow()
                is_healthy = time.monotonic() - started_at >= _SHORT_SECONDS
            except ForbiddenRequest:
                raise
            except WatchExpired:
                self._version, is_healthy = "", time.monotonic() - started_at >= _SHORT_SECONDS
            except ThrottledRequest as error:
                pause = error.after
                self._handler.on_throttle(pause)
            except NotFound:
                self._version = ""
                self._kube.discovery.forget(self._scope.api_version, self._scope.kind)
            except ClusterUnreachable as error:
                # a connection that is cut now and then says nothing of the API server
                if self._failures:
                    self._handler.on_contact(error.summary)
            except (ToolFailed, msgspec.DecodeError):
                pass  # the look says what is wrong with the cluster
            self._failures = 0 if is_healthy else self._failures + 1
            await asyncio.sleep(pause + _RETRY.seconds(self._failures, jitter.fraction()))

    async def _list_and_follow(self) -> None:
        scope = self._scope
        if not self._version or time.monotonic() - self._listed_at > NET_SECONDS:
            started_at = time.monotonic()
            objects, self._version = await _list_objects(self._kube, scope)
            self._listed_at = started_at
            self._handler.on_contact("")
            self._handler.on_list(scope, objects)
        seconds = round(jitter.between(*_WATCH_SECONDS))
        path = await self._kube.collection(scope.api_version, scope.kind, scope.namespace)
        query = f"labelSelector={_SELECTOR}&timeoutSeconds={seconds}"
        await follow(
            self._kube,
            f"{path}?watch=true&allowWatchBookmarks=true&{query}&resourceVersion={quote(self._version)}",
            METADATA,
            seconds,
            self._handle_line,
            silent=self._silent,
        )

    def _handle_line(self, line: bytes) -> None:
        self._handler.on_contact("")
        watch_event = msgspec.json.decode(line, type=_Event)
        if watch_event.type == "ERROR":
            failure = msgspec.json.decode(watch_event.object, type=_Failure)
            kind = WatchExpired if failure.code == 410 else ToolFailed
            raise kind(f"the API server reports: {failure.message}", subject=self._scope.kind)
        meta = msgspec.json.decode(watch_event.object, type=_Item).metadata
        if watch_event.type != "BOOKMARK":
            self._handler.on_change(
                self._scope, _to_watched_object(meta), exists=watch_event.type != "DELETED"
            )
        self._version = meta.resource_version or self._version


async def _list_objects(kube: Kube, scope: WatchScope) -> tuple[list[WatchedObject], str]:
    """List the objects, and the version from which a watch continues. The answer comes from the
    cache of the API server; the watch then reports newer changes.
    """
    path = await kube.collection(scope.api_version, scope.kind, scope.namespace)
    objects: list[WatchedObject] = []
    continue_token = ""
    while True:
        query = f"labelSelector={_SELECTOR}&limit=500&resourceVersion=0" + (
            f"&continue={quote(continue_token)}" if continue_token else ""
        )
        page = msgspec.json.decode(
            await kube.read("GET", f"{path}?{query}", headers=METADATA_LIST), type=_List
        )
        objects += [
            _to_watched_object(msgspec.json.decode(item, type=_Item).metadata)
            for item in page.items
        ]
        continue_token = page.metadata.continue_token
        if not continue_token:
            return objects, page.metadata.version


def _to_watched_object(meta: _WatchMeta) -> WatchedObject:
    annotations: JsonObject = meta.annotations or {}
    release = (
        "" if meta.owner_references or kept_by_upgrade(annotations) else owner_text(annotations)
    )
    return WatchedObject(meta.namespace, meta.name, meta.resource_version, release)
