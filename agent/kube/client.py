"""The agent's own calls to the API server: a small client for what helm does not tell (health,
drift, release records).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from fleetctl import jitter
from fleetctl.core.formats.url_path import below, url_path
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    NotFound,
    ThrottledRequest,
    UsageError,
)
from fleetctl.core.model.json_object import JsonObject

from ..controlplane.http import httpx
from . import kubeconfig
from .errors import refuse

__all__ = ["Kube", "NoCluster"]
_SECONDS = 30.0
_BUSY_PAUSES, _MOST_BUSY_SECONDS = (0.5, 1.0, 2.0, 4.0), 5.0
_PAGE = 100  # so that a page of large objects stays small
# Media types. The metadata forms answer with labels and annotations, a few hundred bytes an object.
METADATA = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
METADATA_LIST = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
_APPLY_PATCH = {"content-type": "application/apply-patch+yaml"}
_MERGE_PATCH = {"content-type": "application/merge-patch+json"}
_JSON = {"content-type": "application/json"}
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class _PageMeta(msgspec.Struct):
    continuation: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw]


class Kube:
    """One cluster. Every call ends within 30 s.

    `user`: whose rights its calls have, "" those of the kubeconfig. Of a service account the API
    server knows the groups itself (system:serviceaccounts, system:serviceaccounts:NS,
    system:authenticated), so that the agent needs the right to impersonate service accounts and no
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
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def acting_as(self, user: str) -> Kube:
        """The same cluster with the rights of `user` ("" gives this one): shares the connection and
        what is known of kinds.
        """
        return _ImpersonatedKube(self, user) if user and self.is_there else self

    def connection(self) -> httpx.AsyncClient:
        """The connection, opened at the first call."""
        if self._client is None:
            now = self._access
            # The audit log of the API server names whoever asks.
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
        """After a refused login or certificate: whether the kubeconfig or its files say something
        else by now, which is used from then on.

        What still runs over the old connection may end by itself; it is closed when the next one
        retires.
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
        """Raises NotFound, ClusterUnreachable, ToolFailed (the API server's own words)."""
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
        """Delete the object at `path`. With `uid` only that very object: another one that has the
        same name by now raises WriteConflict. Raises as `call`.
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
        """The answer as it came, for who decodes only a part of it. Raises as `call`."""
        request_headers = self.with_user(headers)
        answer = await self._request(method, path, body, request_headers)
        if answer.status_code == 401 and await self.renew():
            answer = await self._request(method, path, body, request_headers)
        refuse(answer.status_code, answer.content, answer.headers, path)
        return answer.content

    async def _read_patiently(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> bytes:
        """As client-go does: the API server sheds load by the second, and one refusal should not
        undo what was begun.
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
        """`headers`, and whose rights are asked for."""
        return {**(headers or {}), **({"impersonate-user": self.user} if self.user else {})}

    @property
    def server(self) -> str:
        return self._access.server

    async def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """An answer of whatever status. Raises ClusterUnreachable."""
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

    async def path(self, api_version: str, kind: str) -> tuple[str, bool]:
        """(path of the kind's collection without namespace, whether it has namespaces). Raises
        NotFound for an unknown kind.
        """
        key = (api_version, kind)
        if key not in self._kinds:
            root = _root_of(api_version, kind)
            for resource in (await self.call("GET", root)).get("resources") or []:
                if "/" not in resource["name"]:
                    place = "|".join((root, resource["name"]))
                    self._kinds[api_version, resource["kind"]] = (
                        place,
                        bool(resource["namespaced"]),
                    )
        if key not in self._kinds:
            raise NotFound(f"the cluster has no kind {kind} in {api_version}", subject=kind)
        return self._kinds[key]

    async def scopes(self) -> dict[str, bool]:
        """Of every kind that the cluster knows now, by `apiVersion/kind`, whether it has
        namespaces. Raises ClusterUnreachable.
        """
        scopes: dict[str, bool] = {}
        for root in ("/api", "/apis"):
            answer = await self.call("GET", root, headers={"accept": _DISCOVERY})
            if answer.get("kind") == "APIGroupDiscoveryList":
                scopes |= _scopes_of(answer)
            else:  # before Kubernetes 1.27
                versions = answer.get("versions") or [
                    v["groupVersion"] for g in answer.get("groups") or [] for v in g["versions"]
                ]
                for version in versions:
                    resources = (await self.call("GET", below(root, *version.split("/")))).get(
                        "resources"
                    ) or []
                    scopes |= {
                        f"{version}/{r['kind']}": bool(r["namespaced"])
                        for r in resources
                        if "/" not in r["name"]
                    }
        return scopes

    async def object_path(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        """Raises as `path`; NotFound also for a name that no object can have."""
        try:
            return below(await self.collection(api_version, kind, namespace), name)
        except UsageError as error:
            raise NotFound(
                f"{kind} {namespace}/{name[:100]}: {error.summary}", subject=kind
            ) from error

    async def collection(self, api_version: str, kind: str, namespace: str = "") -> str:
        """The path of all objects of the kind, or of those in one namespace. Raises as `path`."""
        place, is_namespaced = await self.path(api_version, kind)
        root, _, plural = place.partition("|")
        return (
            below(root, "namespaces", namespace, plural)
            if is_namespaced and namespace
            else below(root, plural)
        )

    def forget(self, api_version: str, kind: str) -> None:
        """The kind may be another one by now: look again at the next call."""
        self._kinds.pop((api_version, kind), None)

    async def items(
        self, api_version: str, kind: str, namespace: str, selector: str
    ) -> AsyncIterator[msgspec.Raw]:
        """All objects of the kind with the labels, in one namespace or ("") in all, as they are
        now: undecoded, a page at a time.
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
    """Another's rights over the connection of `base`, which alone closes it."""

    def __init__(self, base: Kube, user: str) -> None:
        self._base, self.user = base, user

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

    async def path(self, api_version: str, kind: str) -> tuple[str, bool]:
        return await self._base.path(api_version, kind)

    async def scopes(self) -> dict[str, bool]:
        return await self._base.scopes()

    def forget(self, api_version: str, kind: str) -> None:
        self._base.forget(api_version, kind)


class NoCluster(Kube):
    """Where manifests go into a directory there is no cluster to ask."""

    is_there = False

    def __init__(self) -> None:
        self._client = self._old_client = None

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        raise UsageError(
            "a directory target has no cluster to read from",
            subject=path,
            next_step="Leave out valuesFrom, or use a cluster.",
        )


def _root_of(api_version: str, kind: str) -> str:
    """`/api/v1` or `/apis/GROUP/VERSION`. Raises NotFound for what is no API version."""
    parts = api_version.split("/")
    try:
        if len(parts) <= 2:
            return url_path("api" if len(parts) == 1 else "apis", *parts)
    except UsageError:
        pass
    raise NotFound(f"the cluster has no kind {kind} in {api_version[:100]}", subject=kind)


def _scopes_of(answer: JsonObject) -> dict[str, bool]:
    """The kinds of an APIGroupDiscoveryList; subresources are none of their own."""
    scopes: dict[str, bool] = {}
    for item in answer.get("items") or []:
        group = (item.get("metadata") or {}).get("name") or ""
        for version in item.get("versions") or []:
            head = f"{group}/{version['version']}" if group else version["version"]
            for resource in version.get("resources") or []:
                kind = (resource.get("responseKind") or {}).get("kind")
                if kind:
                    scopes[f"{head}/{kind}"] = resource.get("scope") == "Namespaced"
    return scopes
