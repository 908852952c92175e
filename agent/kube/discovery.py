"""Finds the kinds that an API server serves, with their paths and scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from fleetctl.core.formats.url_path import below, url_path
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.json_object import JsonObject

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class ApiResource(NamedTuple):
    """A kind on the API server. `root`: `/api/v1` or `/apis/GROUP/VERSION`; `plural`: its
    collection below the root or below a namespace.
    """

    root: str
    plural: str
    is_namespaced: bool


class ApiServer(Protocol):
    """The call that discovery needs; `agent.kube.client.Kube` has it."""

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> JsonObject: ...


class Discovery:
    """Remembers each kind until `forget`."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._resources: dict[tuple[str, str], ApiResource] = {}

    async def resource(self, api_version: str, kind: str) -> ApiResource:
        """The resource of the kind. Raises NotFound for an unknown kind, and as `Kube.call`."""
        key = (api_version, kind)
        if key not in self._resources:
            root = _root_of(api_version, kind)
            for item in (await self._server.call("GET", root)).get("resources") or []:
                if "/" not in item["name"]:
                    self._resources[api_version, item["kind"]] = ApiResource(
                        root, item["name"], bool(item["namespaced"])
                    )
        if key not in self._resources:
            raise NotFound(f"the cluster has no kind {kind} in {api_version}", subject=kind)
        return self._resources[key]

    async def scopes(self) -> dict[str, bool]:
        """Whether each kind that the cluster serves now is namespaced, by `apiVersion/kind`. Raises
        as `Kube.call`.
        """
        scopes: dict[str, bool] = {}
        for root in ("/api", "/apis"):
            answer = await self._server.call("GET", root, headers={"accept": _DISCOVERY})
            if answer.get("kind") == "APIGroupDiscoveryList":
                scopes |= _scopes_of(answer)
                continue
            # Before Kubernetes 1.27.
            versions = answer.get("versions") or [
                v["groupVersion"] for g in answer.get("groups") or [] for v in g["versions"]
            ]
            for version in versions:
                scopes |= await self._scopes_in(root, version)
        return scopes

    async def _scopes_in(self, root: str, version: str) -> dict[str, bool]:
        answer = await self._server.call("GET", below(root, *version.split("/")))
        return {
            f"{version}/{item['kind']}": bool(item["namespaced"])
            for item in answer.get("resources") or []
            if "/" not in item["name"]
        }

    def forget(self, api_version: str, kind: str) -> None:
        """Ask the API server again at the next call: the kind may have changed."""
        self._resources.pop((api_version, kind), None)


def _root_of(api_version: str, kind: str) -> str:
    """`/api/v1` or `/apis/GROUP/VERSION`. Raises NotFound for text that is no API version."""
    parts = api_version.split("/")
    try:
        if len(parts) <= 2:
            return url_path("api" if len(parts) == 1 else "apis", *parts)
    except UsageError:
        pass
    raise NotFound(f"the cluster has no kind {kind} in {api_version[:100]}", subject=kind)


def _scopes_of(answer: JsonObject) -> dict[str, bool]:
    """The kinds of an APIGroupDiscoveryList, without subresources."""
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
