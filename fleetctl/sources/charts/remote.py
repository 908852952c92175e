"""The one door to charts that are not in the repository: chart repositories, OCI registries and
tarball URLs, with their dependencies.

Rule: helm never fetches anything; what a chart depends on is fetched here too and put where helm
looks for it, below `charts/`. Versions are chosen as helm chooses them, digests are compared with
what the index or the registry says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from fleetctl.core.charts.dependencies import (
    ChartDependency,
    dependencies_of,
    inside_folder,
    subcharts,
    vendored_charts,
)
from fleetctl.core.charts.reference import ChartRequest, describe_unsupported
from fleetctl.core.formats.redact import redacted_login, refuse_login
from fleetctl.core.formats.semver import best
from fleetctl.core.formats.tar import TarBudget
from fleetctl.core.model.bundle import DEFAULT_LIMITS, File
from fleetctl.core.model.errors import DeadlineError, SourceError, UsageError
from fleetctl.sources.charts import index as chartindex
from fleetctl.sources.charts.archive import Chart, meta, unpack
from fleetctl.sources.charts.http import Web
from fleetctl.sources.charts.registry import (
    ReadLimits,
    Reference,
    api_address,
    describe_missing,
    fetch_archive,
)
from fleetctl.sources.egress import EgressPolicy, printable_url
from fleetctl.sources.git.repository import Credential

__all__ = [
    "NO_EGRESS",
    "Chart",
    "ChartLimits",
    "EgressPolicy",
    "address_of",
    "fetch_chart",
    "fetch_dependencies",
]

NO_EGRESS = EgressPolicy()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ChartLimits:
    """Bytes of an index, of a chart's archive, and of all that it unpacks to with its dependencies;
    their number, nesting, and seconds.
    """

    index: int = 50 * 1024 * 1024
    archive: int = 10 * 1024 * 1024
    unpacked: int = 64 * 1024 * 1024
    charts: int = 64
    depth: int = 4
    seconds: float = 120.0


async def fetch_chart(
    request: ChartRequest,
    *,
    credential: Credential | None = None,
    mirrors: Mapping[str, str] | None = None,
    egress: EgressPolicy = NO_EGRESS,
    limits: ChartLimits = ChartLimits(),
) -> Chart:
    """The chart, its version resolved, whole. The credential goes to the origin of the request
    alone.

    Raises SourceError, RefusedError, LoginError, UsageError, DeadlineError, each in one line; what
    is not there yet is a SourceError, because a chart is often pushed after the commit that names
    it.
    """
    home = address_of(request).replace("oci://", "https://", 1)
    door = _Door(Web(credential, home, _with_registries(mirrors or {}), egress), limits)
    async with _Deadline(
        f"chart {request.chart}" + (f" of {printable_url(request.repo)}" if request.repo else ""),
        limits.seconds,
    ):
        return await door.chart(request, 0)


async def fetch_dependencies(
    files: Mapping[str, File],
    *,
    mirrors: Mapping[str, str] | None = None,
    egress: EgressPolicy = NO_EGRESS,
    limits: ChartLimits = ChartLimits(),
) -> dict[str, File]:
    """What a chart that stands in the repository lacks below `charts/`, by path from the chart's
    root; {} when it is whole.

    No credential goes along: the addresses are the chart's own words. Raises as `fetch_chart`.
    """
    name = str(meta(files, "the chart").get("name"))
    door = _Door(Web(None, "", _with_registries(mirrors or {}), egress), limits)
    async with _Deadline(f"chart {name}", limits.seconds):
        return await door.dependencies(files, f"chart {name}", 0)


class _Deadline:
    """asyncio.timeout with a line of ours."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds, self._timeout = name, seconds, asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError as cause:
            summary = f"{self._name} could not be fetched within {self._seconds:g} s"
            raise DeadlineError(
                summary, subject=self._name, next_step="Check the server; the manager tries again."
            ) from cause


class _Door:
    """One chart with all that it depends on; what is left of the limits."""

    def __init__(self, web: Web, limits: ChartLimits) -> None:
        self._web, self._limits = web, limits
        self._budget = TarBudget(bytes=limits.unpacked, entries=DEFAULT_LIMITS.files)
        self._charts = limits.charts

    async def chart(self, request: ChartRequest, depth: int) -> Chart:
        name = f"chart {request.chart}"
        self._charts -= 1
        if self._charts < 0 or depth > self._limits.depth:
            step = "Package it with them."
            raise SourceError(
                f"{name} is one of too many, or too deep, dependencies",
                subject=name,
                next_step=step,
            )
        data = await self._archive(request)
        chart = await asyncio.to_thread(unpack, data, name, self._budget)
        files = chart.files | await self.dependencies(chart.files, name, depth)
        return Chart(chart.name, chart.version, chart.digest, files)

    async def dependencies(
        self, files: Mapping[str, File], name: str, depth: int
    ) -> dict[str, File]:
        """The files of what is declared and not below `charts/` already, also of subcharts
        there.
        """
        added_files: dict[str, File] = {}
        present = vendored_charts(files)
        for dependency in dependencies_of(files, name):
            if dependency.name in present:
                continue
            inner = await self.chart(_request(dependency, name), depth + 1)
            folder = f"charts/{inner.name}/"
            if any(path.startswith(folder) for path in added_files):
                folder = f"charts/{inner.name}-{inner.version}/"
            added_files |= {folder + path: file for path, file in inner.files.items()}
        for folder in subcharts(files):
            inner_files = await self._of_subchart(
                inside_folder(files, folder), f"{folder} of {name}", depth
            )
            added_files |= {folder + path: file for path, file in inner_files.items()}
        return added_files

    async def _of_subchart(
        self, files: Mapping[str, File], name: str, depth: int
    ) -> dict[str, File]:
        if depth > self._limits.depth:
            step = "Package the chart with its dependencies."
            raise SourceError(f"{name} is too deep", subject=name, next_step=step)
        return await self.dependencies(files, name, depth + 1)

    async def _archive(self, request: ChartRequest) -> bytes:
        step = (
            "Remove it from the address; put the login into the Secret of helmSecretName of the"
            " GitRepo."
        )
        refuse_login(request.repo or request.chart, f"chart {redacted_login(request.chart)}", step)
        place = address_of(request)
        if place.startswith("oci://"):
            return await self._from_registry(place, request.version)
        if not request.repo:
            return await self._body(place)
        return await self._from_index(request)

    async def _from_registry(self, address: str, version: str) -> bytes:
        limits = ReadLimits(self._limits.index, self._limits.archive)
        return await fetch_archive(self._web, address, version, limits)

    async def _body(self, url: str) -> bytes:
        answer = await self._web.get(url, self._limits.archive)
        assert answer is not None
        return answer.body

    async def _from_index(self, request: ChartRequest) -> bytes:
        base = request.repo.rstrip("/") + "/"
        place = printable_url(base)
        answer = await self._web.get(base + "index.yaml", self._limits.index)
        assert answer is not None
        known_versions = await asyncio.to_thread(
            chartindex.versions, answer.body, request.chart, file=f"index of {place}"
        )
        if not known_versions:
            raise SourceError(
                f"{place} has no chart {request.chart}",
                subject=place,
                next_step="Correct helm.chart or helm.repo.",
            )
        version = (
            request.version
            if request.version in known_versions
            else best(request.version, known_versions)
        )
        if version is None:
            raise describe_missing(place, Reference(request.chart, request.version), known_versions)
        urls = known_versions[version].get("urls")
        url = urljoin(
            base,
            str(urls[0]) if isinstance(urls, list) and urls else f"{request.chart}-{version}.tgz",
        )
        data = (
            await self._from_registry(url, version)
            if url.startswith("oci://")
            else await self._body(url)
        )
        digest = str(known_versions[version].get("digest") or "").removeprefix("sha256:")
        if digest and hashlib.sha256(data).hexdigest() != digest:
            summary = (
                f"chart {request.chart} {version} of {place} is not what the index says: its digest"
                " is another"
            )
            raise SourceError(
                summary,
                subject=place,
                next_step="Report it to the administrator of the repository.",
            )
        return data


def _request(dependency: ChartDependency, name: str) -> ChartRequest:
    """Raises UsageError for one that is nowhere to be fetched."""
    if dependency.repository and not dependency.repository.startswith("file://"):
        return ChartRequest(dependency.name, dependency.repository, dependency.version)
    summary = (
        f"{name} depends on {dependency.name}, which is not below charts/ and has no repository"
    )
    if dependency.repository:
        summary = (
            f"{name} depends on {dependency.name} at {dependency.repository}, which it does not"
            " hold"
        )
    raise UsageError(summary, subject=name, next_step="Add it with `helm dependency build`.")


def address_of(request: ChartRequest) -> str:
    """Where the chart is: an OCI address, a tarball, or its repository. Raises UsageError.

    This address decides about a login: whoever compares it with a pattern must use no other one.
    """
    if request.chart.startswith("oci://"):
        return request.chart.rstrip("/")
    if request.repo:
        if not _NAME.fullmatch(request.chart):
            summary = f"chart name {request.chart!r} is not one that a repository can hold"
            raise UsageError(
                summary, subject=request.chart, next_step="Use letters, digits, `.`, `_` and `-`."
            )
        oci = request.repo.startswith("oci://")
        return f"{request.repo.rstrip('/')}/{request.chart}" if oci else request.repo
    problem = describe_unsupported(request.chart)
    if problem:
        raise UsageError(
            f"helm.chart {printable_url(request.chart)}: {problem[0]}",
            subject=printable_url(request.chart),
            next_step=problem[1],
        )
    if not request.chart.startswith(("http://", "https://")):
        summary = (
            f"helm.chart {printable_url(request.chart)} is not a way to a chart that is supported"
        )
        raise UsageError(
            summary,
            subject=request.chart,
            next_step="Give a path, an https:// or oci:// address, or `helm.repo` with a name.",
        )
    return request.chart


def _with_registries(mirrors: Mapping[str, str]) -> dict[str, str]:
    """A mirror of `oci://HOST/PATH` also stands for the address behind it; its URL may be http."""
    return {
        **mirrors,
        **{
            api_address(prefix): api_address(url)
            for prefix, url in mirrors.items()
            if prefix.startswith("oci://")
        },
    }
