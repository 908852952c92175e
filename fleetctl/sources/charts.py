"""The one door to charts that are not in the repository: chart repositories, OCI registries and tarball URLs, with their dependencies.

Rule: every address, each redirect included, passes the egress policy; a credential goes to its own origin only; archives are unpacked in
memory, regular files alone. helm never fetches anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import ssl
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from fleetctl.core.bundle import File, check_path
from fleetctl.core.errors import DeadlineError, LoginError, SourceError
from fleetctl.core.scan import ChartRequest
from fleetctl.core.semver import best
from fleetctl.core.yamldoc import load
from fleetctl.sources.addresses import EgressPolicy, mirrored, origin, shown
from fleetctl.sources.git import Credential

NO_EGRESS = EgressPolicy()
_REDIRECTS = 5
_DEPTH = 4
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@dataclass(frozen=True)
class ChartLimits:
    """Bytes of an index, of a chart's archive, and of what it unpacks to; `seconds` for one chart with all it depends on."""

    index: int = 50 * 1024 * 1024
    archive: int = 10 * 1024 * 1024
    unpacked: int = 64 * 1024 * 1024
    seconds: float = 120.0


@dataclass(frozen=True)
class Chart:
    """`files` by their path below the chart's root; `digest` is the SHA-256 of the archive."""

    name: str
    version: str
    digest: str
    files: dict[str, File] = field(repr=False)


async def fetch_chart(
    request: ChartRequest,
    *,
    credential: Credential | None = None,
    mirrors: Mapping[str, str] | None = None,
    egress: EgressPolicy = NO_EGRESS,
    limits: ChartLimits = ChartLimits(),
) -> Chart:
    """The chart, its version resolved. Raises SourceError, RefusedError, LoginError, UsageError, DeadlineError in one line."""
    name = f"chart {request.chart}" + (f" of {shown(request.repo)}" if request.repo else "")
    try:
        async with asyncio.timeout(limits.seconds):
            door = _Door(credential, origin(request.repo or request.chart), mirrors or {}, egress, limits)
            return await door.chart(request, 0)
    except TimeoutError as why:
        raise DeadlineError(f"{name} could not be fetched within {limits.seconds:g} s", subject=name, next_step="Try again.") from why


class _Door:
    def __init__(
        self,
        credential: Credential | None,
        home: tuple[str, str, int],
        mirrors: Mapping[str, str],
        egress: EgressPolicy,
        limits: ChartLimits,
    ) -> None:
        self._credential, self._home, self._mirrors, self._egress, self._limits = credential, home, mirrors, egress, limits

    async def chart(self, request: ChartRequest, depth: int) -> Chart:
        data = await self._archive(request)
        chart = _unpacked(data, request.chart, self._limits)
        return Chart(chart.name, chart.version, chart.digest, await self._with_dependencies(chart, depth))

    async def _archive(self, request: ChartRequest) -> bytes:
        if request.chart.startswith("oci://") or request.repo.startswith("oci://"):
            place = request.chart if request.chart.startswith("oci://") else f"{request.repo.rstrip('/')}/{request.chart}"
            mirror = mirrored(place, self._mirrors)
            return await (self._oci(place, request.version) if mirror == place else self.get(mirror, self._limits.archive))
        if not request.repo:
            return await self.get(request.chart, self._limits.archive)
        return await self._from_index(request)

    async def _from_index(self, request: ChartRequest) -> bytes:
        base = request.repo.rstrip("/") + "/"
        index = load(await self.get(base + "index.yaml", self._limits.index), file=f"index of {shown(base)}")
        entries = index.get("entries") if isinstance(index, dict) else None
        known = {str(e.get("version")): e for e in (entries or {}).get(request.chart) or [] if isinstance(e, dict)}
        if not known:
            step = "Correct helm.chart or helm.repo."
            raise SourceError(f"{shown(base)} has no chart {request.chart}", subject=request.chart, next_step=step)
        version = request.version if request.version in known else best(request.version, known)
        if version is None:
            newest = ", ".join(list(known)[:5])
            summary = f"{shown(base)} has no version {request.version} of {request.chart}"
            raise SourceError(summary, subject=request.chart, next_step=f"It has for example {newest}.")
        urls = known[version].get("urls") or [f"{request.chart}-{version}.tgz"]
        data = await self.get(urljoin(base, str(urls[0])), self._limits.archive)
        wanted = str(known[version].get("digest") or "").removeprefix("sha256:")
        if wanted and hashlib.sha256(data).hexdigest() != wanted:
            raise SourceError(f"chart {request.chart} {version} is not what its index says", next_step="Tell who keeps the repository.")
        return data

    async def _oci(self, place: str, version: str) -> bytes:
        parts = urlsplit(place)
        api = f"https://{parts.netloc}/v2/{parts.path.strip('/')}"
        tag = version
        if best(version, [version]) is None or not version:
            tags = load(await self.get(f"{api}/tags/list", self._limits.index), file=place).get("tags") or []
            tag = best(version, [str(t).replace("_", "+") for t in tags]) or ""
            if not tag:
                raise SourceError(f"{place} has no version {version or 'at all'}", subject=place, next_step="Correct helm.version.")
        manifest = load(await self.get(f"{api}/manifests/{tag.replace('+', '_')}", self._limits.index, accept=_MANIFEST), file=place)
        layers = [x for x in manifest.get("layers") or [] if x.get("mediaType") == _LAYER]
        if not layers:
            raise SourceError(f"{place} is not a helm chart", subject=place, next_step="Correct helm.chart.")
        digest = str(layers[0].get("digest"))
        data = await self.get(f"{api}/blobs/{digest}", self._limits.archive)
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise SourceError(f"{place} is not what its manifest says", subject=place, next_step="Fetch it again.")
        return data

    async def get(self, url: str, limit: int, *, accept: str = "*/*") -> bytes:
        """At most `limit` bytes of `url`, redirects followed one by one under the policy."""
        target, token = url, ""
        for _ in range(_REDIRECTS):
            real = mirrored(target, self._mirrors)
            if real == target:
                await self._egress.check(real)
            answer, body = await self._once(real, target, limit, accept, token)
            if answer.status_code == 401 and not token and "bearer" in answer.headers.get("www-authenticate", "").lower():
                token = await self._bearer(answer.headers["www-authenticate"])
                continue
            if answer.is_redirect:
                target = urljoin(target, answer.headers.get("location", ""))
                continue
            _check_status(answer, target)
            return body
        raise SourceError(f"{shown(url)} redirects too often", subject=shown(url), next_step="Correct the address.")

    async def _once(self, real: str, target: str, limit: int, accept: str, token: str) -> tuple[httpx.Response, bytes]:
        held = self._credential
        mine = held is not None and bool(held.username) and origin(target) == self._home
        auth = httpx.BasicAuth(held.username, held.password) if held is not None and mine and not token else None
        headers = {"accept": accept, "user-agent": "fleetctl"} | ({"authorization": f"Bearer {token}"} if token else {})
        found = bytearray()
        try:
            async with (
                httpx.AsyncClient(timeout=httpx.Timeout(30.0, connect=10.0), verify=_trust(held)) as client,
                client.stream("GET", real, headers=headers, auth=auth) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    found += chunk
                    if len(found) > limit:
                        raise SourceError(
                            f"{shown(target)} is larger than {limit} bytes", subject=shown(target), next_step="Use a smaller one."
                        )
                return answer, bytes(found)
        except (httpx.HTTPError, httpx.InvalidURL) as why:
            said = str(why) or type(why).__name__
            raise SourceError(f"{shown(target)} cannot be read: {said}", subject=shown(target), next_step="Look at the address.") from why

    async def _bearer(self, header: str) -> str:
        """An anonymous or basic token as the registry asks for."""

        said = dict(re.findall(r'(\w+)="([^"]*)"', header))
        url = str(httpx.URL(said.get("realm", ""), params={k: said[k] for k in ("service", "scope") if k in said}))
        found = load(await self.get(url, 1024 * 1024), file=shown(url))
        return str(found.get("token") or found.get("access_token") or "")

    async def _with_dependencies(self, chart: Chart, depth: int) -> dict[str, File]:
        """Dependencies that are named with a repository and not inside the chart already, below `charts/`."""
        files = dict(chart.files)
        for wanted in _meta(files).get("dependencies") or []:
            name, repo = str(wanted.get("name")), str(wanted.get("repository") or "")
            inside = any(p.startswith((f"charts/{name}/", f"charts/{name}-")) for p in files)
            if inside or not repo or repo.startswith("file://"):
                continue
            if depth >= _DEPTH:
                raise SourceError(f"chart {chart.name} depends on more than {_DEPTH} levels of charts", next_step="Package it with them.")
            inner = await self.chart(ChartRequest(name, repo, str(wanted.get("version") or "")), depth + 1)
            files |= {f"charts/{name}/{path}": file for path, file in inner.files.items()}
        return files


def _trust(credential: Credential | None) -> Any:

    context = ssl.create_default_context()
    if credential is not None and credential.ca_pem:
        context.load_verify_locations(cadata=credential.ca_pem.decode("ascii", "replace"))
    return context


def _check_status(answer: httpx.Response, target: str) -> None:
    if answer.status_code in {401, 403}:
        step = "Give the chart repository's user and password as helmSecretName."
        raise LoginError(f"{shown(target)} wants a login", subject=shown(target), next_step=step)
    if answer.status_code != 200:
        step = "Correct the address, or try again."
        raise SourceError(f"{shown(target)} answered {answer.status_code}", subject=shown(target), next_step=step)


def _meta(files: Mapping[str, File]) -> dict[str, Any]:
    found = load(files["Chart.yaml"].data, file="Chart.yaml") if "Chart.yaml" in files else {}
    return found if isinstance(found, dict) else {}


def _unpacked(data: bytes, name: str, limits: ChartLimits) -> Chart:
    """The files of a chart's tarball, its one top folder cut off. Anything but regular files in it is left out or refused."""
    files: dict[str, File] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for info in tar:
                path = info.name.removeprefix("./").partition("/")[2]
                if not info.isreg():
                    if info.issym() or info.islnk():
                        raise SourceError(f"chart {name} holds a link: {info.name!r}", subject=name, next_step="Package it without links.")
                    continue
                total += info.size
                why = check_path(path)
                if why or total > limits.unpacked:
                    summary = f"chart {name}: {info.name!r} {why or 'makes it too large'}"
                    raise SourceError(summary, subject=name, next_step="Package it again.")
                handle = tar.extractfile(info)
                assert handle is not None
                files[path] = File(handle.read(), executable=bool(info.mode & 0o100))
    except (tarfile.TarError, OSError, EOFError) as why:
        raise SourceError(f"chart {name} is not a gzipped tar: {why}", subject=name, next_step="Correct its address.") from why
    meta = _meta(files)
    if not meta.get("name"):
        raise SourceError(f"chart {name} has no Chart.yaml", subject=name, next_step="Correct its address.")
    return Chart(str(meta["name"]), str(meta.get("version")), hashlib.sha256(data).hexdigest(), files)
