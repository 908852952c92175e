"""The agent's own calls to the API server: a small client for what helm does not tell (health, drift, release records)."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from agent.web import httpx
from fleetctl.core.errors import NotFound, ToolFailed, UnavailableError, UsageError
from fleetctl.core.yamldoc import load

_SECONDS = 30.0
_PAGE = 500
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterUnreachable(UnavailableError):
    code = "cluster-unreachable"


class Kube:
    """One cluster. Every call ends within 30 s.

    `user`: whose rights its calls have, "" those of the kubeconfig. Of a service account the API server knows the groups itself
    (system:serviceaccounts, system:serviceaccounts:NS, system:authenticated), so that the agent needs the right to impersonate service
    accounts and no group.
    """

    is_there = True
    user = ""

    def __init__(self, kubeconfig: Path) -> None:
        self._server, self._context, self._headers, self._auth = _read(kubeconfig)
        self._client: httpx.AsyncClient | None = None
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def acting_as(self, user: str) -> Kube:
        """The same cluster with the rights of `user` ("" gives this one): shares the connection and what is known of kinds."""
        return _Impersonated(self, user) if user and self.is_there else self

    def opened(self) -> httpx.AsyncClient:
        """The connection, opened at the first call."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._server, verify=self._context, headers=self._headers, auth=self._auth, timeout=_SECONDS
            )
        return self._client

    async def close(self) -> None:
        if self._client:
            await self._client.aclose()

    async def version(self) -> str:
        """The API server's version. Raises ClusterUnreachable."""
        return str((await self.call("GET", "/version")).get("gitVersion", ""))

    async def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Raises NotFound, ClusterUnreachable, ToolFailed (the API server's own words)."""
        told = {**(headers or {}), **({"impersonate-user": self.user} if self.user else {})}
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self.opened().request(method, path, content=body, headers=told)
        except (httpx.HTTPError, TimeoutError) as why:
            said = str(why) or type(why).__name__
            summary = f"the API server {self._server} does not answer: {said}"
            raise ClusterUnreachable(summary, subject="cluster", next_step="Look at the API server.") from why
        if answer.status_code == 404:
            raise NotFound(f"{path} does not exist", subject=path)
        found: dict[str, Any] = msgspec.json.decode(answer.content) if answer.content else {}
        if answer.status_code >= 400:
            kind = ClusterUnreachable if answer.status_code >= 500 or answer.status_code == 429 else ToolFailed
            raise kind(f"the API server says: {found.get('message', answer.status_code)}", subject=path, next_step="Look at its rights.")
        return found

    async def path(self, api_version: str, kind: str) -> tuple[str, bool]:
        """(path of the kind's collection without namespace, whether it has namespaces). Raises NotFound for an unknown kind."""
        key = (api_version, kind)
        if key not in self._kinds:
            root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            for resource in (await self.call("GET", root)).get("resources") or []:
                if "/" not in resource["name"]:
                    self._kinds[api_version, resource["kind"]] = (f"{root}|{resource['name']}", bool(resource["namespaced"]))
        if key not in self._kinds:
            raise NotFound(f"the cluster has no kind {kind} in {api_version}", subject=kind)
        return self._kinds[key]

    async def object_path(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        where, namespaced = await self.path(api_version, kind)
        root, _, plural = where.partition("|")
        middle = f"/namespaces/{quote(namespace)}" if namespaced else ""
        return f"{root}{middle}/{plural}/{quote(name)}"

    async def list(self, api_version: str, kind: str, selector: str) -> list[dict[str, Any]]:
        """All objects of the kind with the labels, in pages."""
        where, _ = await self.path(api_version, kind)
        root, _, plural = where.partition("|")
        found: list[dict[str, Any]] = []
        more = ""
        while True:
            query = f"labelSelector={quote(selector)}&limit={_PAGE}&resourceVersion=0" + (f"&continue={quote(more)}" if more else "")
            answer = await self.call("GET", f"{root}/{plural}?{query}")
            found += answer.get("items") or []
            more = (answer.get("metadata") or {}).get("continue") or ""
            if not more:
                return found

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Kube]:
        try:
            yield self
        finally:
            await self.close()


class _Impersonated(Kube):
    """Another's rights over the connection of `base`, which alone closes it."""

    def __init__(self, base: Kube, user: str) -> None:
        self._base, self.user = base, user

    def acting_as(self, user: str) -> Kube:
        return self._base.acting_as(user)

    def opened(self) -> httpx.AsyncClient:
        return self._base.opened()

    async def close(self) -> None:
        """The connection is the base's."""

    async def path(self, api_version: str, kind: str) -> tuple[str, bool]:
        return await self._base.path(api_version, kind)


class NoCluster(Kube):
    """Where manifests go into a directory there is no cluster to ask."""

    is_there = False

    def __init__(self) -> None:
        self._client = None

    async def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        raise UsageError(
            "a directory target has no cluster to read from", subject=path, next_step="Leave out valuesFrom, or use a cluster."
        )


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext | bool, dict[str, str], httpx.BasicAuth | None]:
    """Server, TLS, headers, login. Raises UsageError when the file says nothing usable."""
    if kubeconfig.parent == _IN_CLUSTER:
        server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
        context = ssl.create_default_context(cafile=str(_IN_CLUSTER / "ca.crt"))
        return server, context, {"authorization": f"Bearer {kubeconfig.read_text().strip()}"}, None
    try:
        doc = load(kubeconfig.read_bytes(), file=str(kubeconfig))
        current = next(c["context"] for c in doc["contexts"] if c["name"] == doc.get("current-context"))
        cluster = next(c["cluster"] for c in doc["clusters"] if c["name"] == current["cluster"])
        user: dict[str, Any] = next((u["user"] for u in doc.get("users") or [] if u["name"] == current.get("user")), {}) or {}
        server = str(cluster["server"])
    except (OSError, StopIteration, KeyError, TypeError) as why:
        step = "Give a kubeconfig with a current context."
        raise UsageError(f"{kubeconfig} names no cluster", subject=str(kubeconfig), next_step=step) from why
    headers, auth = _login(user, kubeconfig)
    return server, _tls(cluster, user, kubeconfig), headers, auth


def _login(user: dict[str, Any], kubeconfig: Path) -> tuple[dict[str, str], httpx.BasicAuth | None]:
    if user.get("token"):
        return {"authorization": f"Bearer {user['token']}"}, None
    if user.get("tokenFile"):
        return {"authorization": f"Bearer {(kubeconfig.parent / user['tokenFile']).read_text().strip()}"}, None
    if user.get("exec") or user.get("auth-provider"):
        step = "Give a kubeconfig with a certificate or a token."
        raise UsageError("a kubeconfig that runs a program to log in is not supported", subject=str(kubeconfig), next_step=step)
    return {}, httpx.BasicAuth(user["username"], user.get("password", "")) if user.get("username") else None


def _tls(cluster: dict[str, Any], user: dict[str, Any], kubeconfig: Path) -> ssl.SSLContext | bool:
    if not str(cluster["server"]).startswith("https"):
        return True
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode() if authority else None)
    if not authority and cluster.get("certificate-authority"):
        context.load_verify_locations(str(kubeconfig.parent / cluster["certificate-authority"]))
    # Some distributions issue CAs without an authority key identifier, which newer Pythons refuse in strict mode.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if user.get("client-certificate-data"):
        _load_chain(context, base64.b64decode(user["client-certificate-data"]), base64.b64decode(user["client-key-data"]))
    elif user.get("client-certificate"):
        context.load_cert_chain(str(kubeconfig.parent / user["client-certificate"]), str(kubeconfig.parent / user["client-key"]))
    return context


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python reads these from a file only: one of mode 0600 that is gone at once."""
    with tempfile.NamedTemporaryFile(prefix="fleet-agent-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)
