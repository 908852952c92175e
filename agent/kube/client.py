"""Calls the API server for what helm does not report: health, drift and release records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from fleetctl import jitter
from fleetctl.core.formats.url_path import below
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    NotFound,
    ThrottledRequest,
    UsageError,
)
from fleetctl.core.model.json_object import JsonObject

from ..controlplane.http import httpx
from . import kubeconfig
from .discovery import Discovery
from .errors import refuse

_SECONDS = 30.0
_BUSY_PAUSES, _MOST_BUSY_SECONDS = (0.5, 1.0, 2.0, 4.0), 5.0
_PAGE = 100  # so that a page of large objects stays small
# Media types. The metadata forms answer with labels and annotations, a few hundred bytes an object.
METADATA = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
METADATA_LIST = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
_APPLY_PATCH = {"content-type": "application/apply-patch+yaml"}
_MERGE_PATCH = {"content-type": "application/merge-patch+json"}
_JSON = {"content-type": "application/json"}


class _PageMeta(msgspec.Struct):
    continuation: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw]


class Kube:
    """The API server of one cluster. Every call ends within 30 s.

    `user`: the calls have the rights of this user; "" means those of the kubeconfig. The API server
    adds the groups of a service account itself (system:serviceaccounts, system:serviceaccounts:NS,
    system:authenticated). So the agent needs the right to impersonate service accounts, and no
    group.
    """

    is_there = True
    user = ""
    namespace = "default"  # of the kubeconfig's context; in a Pod, the Pod's own

    def __init__(self, path: Path) -> None:
        self._path, self._access = path, kubeconfig.read(path)
        self.namespace = self._access.namespace
        self._client: httpx.AsyncClient | None = None
        self._old_client: httpx.AsyncClient | None = None
        self.discovery = Discovery(self)

    def acting_as(self, user: str) -> Kube:
        """A client of the same cluster with the rights of `user`; "" returns this client. Both
        share the connection and the known kinds.
        """
        return _ImpersonatedKube(self, user) if user and self.is_there else self

    def connection(self) -> httpx.AsyncClient:
        """The connection, opened at the first call."""
        if self._client is None:
            now = self._access
            # The audit log of the API server shows the client.
            headers = {"user-agent": "fleet-agent"}
            self._client = httpx.AsyncClient(
                base_url=now.server,
                verify=now.verify,
                auth=now.auth,
                timeout=_SECONDS,
                headers=headers,
            )
        return self._client

    async def close(self) -> None:
        for client in (self._client, self._old_client):
            if client:
                await client.aclose()

    async def renew(self) -> bool:
        """Read the kubeconfig again after a refused login or certificate. Returns whether it or its
        files changed.

        Calls on the old connection may end by themselves. It is closed at the next renewal.
        """
        access = await asyncio.to_thread(kubeconfig.read_if_changed, self._path, self._access)
        if access is None:
            return False
        if self._old_client:
            await self._old_client.aclose()
        self._access, self._client, self._old_client = access, None, self._client
        return True

    async def version(self) -> str:
        """The API server's version. Raises ClusterUnreachable."""
        return str((await self.call("GET", "/version")).get("gitVersion", ""))

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """Send a request and decode the answer. Raises NotFound, ClusterUnreachable, and ToolFailed
        with the message of the API server.
        """
        content = await self._read_patiently(method, path, body, headers)
        try:
            answer: JsonObject = msgspec.json.decode(content) if content else {}
            return answer
        except msgspec.DecodeError:  # a proxy, or another server on that port
            step = "Look at the address in the kubeconfig."
            raise ClusterUnreachable(
                f"{self.server} is no API server", subject="cluster", next_step=step
            ) from None

    async def find(self, path: str) -> JsonObject | None:
        """The object at `path`, None where there is none. Raises ClusterUnreachable, ToolFailed."""
        try:
            return await self.call("GET", path)
        except NotFound:
            return None

    async def find_metadata(self, path: str) -> JsonObject | None:
        """The metadata of the object at `path`, None where there is none. Raises as `find`."""
        try:
            item = await self.call("GET", path, headers=METADATA)
        except NotFound:
            return None
        metadata: JsonObject = item["metadata"]
        return metadata

    async def create(self, path: str, document: object, *, manager: str) -> JsonObject:
        """Add an object to the collection at `path`. Raises as `call`; Changed when it exists."""
        query = urlencode({"fieldManager": manager})
        return await self.call("POST", f"{path}?{query}", msgspec.json.encode(document), _JSON)

    async def apply(
        self, path: str, document: object, *, manager: str, dry_run: bool = False
    ) -> JsonObject:
        """Server-side apply with force; with `dry_run` the answer is what the object would become.
        Raises as `call`; RefusedByForm for a document that server-side apply does not take.
        """
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        body = msgspec.json.encode(document)
        return await self.call("PATCH", f"{path}?{urlencode(query)}", body, _APPLY_PATCH)

    async def replace(self, path: str, document: object) -> JsonObject:
        """Write the whole object. Raises as `call`; Changed when its resourceVersion is old."""
        return await self.call("PUT", path, msgspec.json.encode(document), _JSON)

    async def merge(self, path: str, patch: object, *, manager: str) -> JsonObject:
        """Apply a JSON merge patch. Raises as `call`."""
        query = urlencode({"fieldManager": manager})
        return await self.call("PATCH", f"{path}?{query}", msgspec.json.encode(patch), _MERGE_PATCH)

    async def delete(self, path: str, *, uid: str = "", propagation: str = "") -> None:
        """Delete the object at `path`. With `uid` only the object with this UID: a newer object of
        the same name raises WriteConflict. Raises as `call`.
        """
        options: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation:
            options["propagationPolicy"] = propagation
        if uid:
            options["preconditions"] = {"uid": uid}
        await self.call("DELETE", path, msgspec.json.encode(options), _JSON)

    async def read(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The undecoded answer, for callers that decode only a part of it. Raises as `call`."""
        request_headers = self.with_user(headers)
        answer = await self._request(method, path, body, request_headers)
        if answer.status_code == 401 and await self.renew():
            answer = await self._request(method, path, body, request_headers)
        refuse(answer.status_code, answer.content, answer.headers, path)
        return answer.content

    async def _read_patiently(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> bytes:
        """Repeat the request while the API server throttles it, as client-go does. A short overload
        must not abort an operation.
        """
        for least in _BUSY_PAUSES:
            try:
                return await self.read(method, path, body, headers)
            except ThrottledRequest as error:
                await asyncio.sleep(
                    max(least, min(_MOST_BUSY_SECONDS, error.after)) * jitter.between(1.0, 1.5)
                )
        return await self.read(method, path, body, headers)

    def with_user(self, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """`headers`, with the user to impersonate."""
        return {**(headers or {}), **({"impersonate-user": self.user} if self.user else {})}

    @property
    def server(self) -> str:
        return self._access.server

    async def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """The answer, with any status. Raises ClusterUnreachable."""
        for last in (False, True):
            try:
                async with asyncio.timeout(_SECONDS):
                    return await self.connection().request(
                        method, path, content=body, headers=dict(headers)
                    )
            except (httpx.HTTPError, TimeoutError, OSError) as error:
                if not last and isinstance(error, httpx.ConnectError) and await self.renew():
                    continue
                cause = (
                    "no answer in time"
                    if isinstance(error, TimeoutError | httpx.TimeoutException)
                    else str(error) or type(error).__name__
                )
                summary = f"the API server {self.server} does not answer: {cause}"
                raise ClusterUnreachable(
                    summary, subject="cluster", next_step="Look at the API server."
                ) from error
        raise AssertionError("the second answer is always taken")

    async def object_path(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        """The path of one object. Raises as `collection`; NotFound also for a name that no object
        can have.
        """
        try:
            return below(await self.collection(api_version, kind, namespace), name)
        except UsageError as error:
            raise NotFound(
                f"{kind} {namespace}/{name[:100]}: {error.summary}", subject=kind
            ) from error

    async def collection(self, api_version: str, kind: str, namespace: str = "") -> str:
        """The path of all objects of the kind, or of those in one namespace. Raises as
        `Discovery.resource`.
        """
        root, plural, is_namespaced = await self.discovery.resource(api_version, kind)
        return (
            below(root, "namespaces", namespace, plural)
            if is_namespaced and namespace
            else below(root, plural)
        )

    async def items(
        self, api_version: str, kind: str, namespace: str, selector: str
    ) -> AsyncIterator[msgspec.Raw]:
        """Yield all objects of the kind with the labels, undecoded, a page at a time. `namespace`
        "" means all namespaces.
        """
        place, continuation = await self.collection(api_version, kind, namespace), ""
        while True:
            query = f"labelSelector={quote(selector)}&limit={_PAGE}" + (
                f"&continue={quote(continuation)}" if continuation else ""
            )
            page = msgspec.json.decode(await self.read("GET", f"{place}?{query}"), type=_Page)
            for item in page.items:
                yield item
            continuation = page.metadata.continuation
            if not continuation:
                return

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Kube]:
        try:
            yield self
        finally:
            await self.close()


class _ImpersonatedKube(Kube):
    """A client with the rights of another user, over the connection of `base`, which closes it."""

    def __init__(self, base: Kube, user: str) -> None:
        self._base, self.user, self.discovery = base, user, base.discovery

    def acting_as(self, user: str) -> Kube:
        return self._base.acting_as(user)

    def connection(self) -> httpx.AsyncClient:
        return self._base.connection()

    async def renew(self) -> bool:
        return await self._base.renew()

    @property
    def server(self) -> str:
        return self._base.server

    async def close(self) -> None:
        """The connection is the base's."""
