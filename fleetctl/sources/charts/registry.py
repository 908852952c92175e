"""Charts in OCI registries, as helm reads them.

An address is `oci://HOST/PATH[:TAG][@DIGEST]`; the version is a tag, a range of versions, a tag
with a digest (`1.2.3@sha256:…`), or empty for the newest. A tag in the address is taken as it is.
With a tag and a digest the tag may be missing, but may not stand for something else (as in helm).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fleetctl.core.formats.semver import best, parse
from fleetctl.core.model.errors import SourceError, UsageError
from fleetctl.sources.charts.http import Web, decode_json

_PAGES = 50
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_EXACT = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_TAG = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._+-]{0,127}")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYERS = ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip")


@dataclass(frozen=True)
class Reference:
    """`place`: the address without tag and digest. `version`: a tag as a version, or a range."""

    place: str
    version: str = ""
    digest: str = ""
    is_tag: bool = False

    @property
    def chart(self) -> str:
        return self.place.rpartition("/")[2]


@dataclass(frozen=True)
class ReadLimits:
    """Bytes of a manifest or a page of tags, and of an archive."""

    index: int
    archive: int


def parse_reference(address: str, version: str) -> Reference:
    """Raises UsageError when address and version contradict each other, or cannot be read."""
    version, _, version_digest = version.partition("@")
    rest, _, digest = address.rstrip("/").partition("@")
    last = rest.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    # In `oci://HOST:PORT` the colon belongs to the host.
    if urlsplit(rest).path.strip("/") == "":
        colon = tag = ""
    place = rest.removesuffix(f":{tag}") if colon else rest
    for text in (digest, version_digest):
        if text and not _DIGEST.fullmatch(text):
            step = "Write @sha256: and 64 hexadecimal digits."
            raise UsageError(
                f"{address}: {text[:80]!r} is no digest", subject=address, next_step=step
            )
    if colon and not _TAG.fullmatch(tag):
        raise UsageError(
            f"{address}: {tag[:80]!r} is no tag", subject=address, next_step="Correct it."
        )
    if digest and version_digest and digest != version_digest:
        raise _contradiction(address, version_digest)
    tag = tag.replace("_", "+")
    if tag and version and version.replace("_", "+") != tag:
        raise _contradiction(address, version)
    return Reference(place, tag or version, digest or version_digest, is_tag=bool(tag))


def _contradiction(address: str, version: str) -> UsageError:
    summary = f"{address} and helm.version {version} name two versions"
    return UsageError(summary, subject=address, next_step="Leave one of them out.")


def api_address(place: str) -> str:
    """The registry's own address for what people write as `oci://`."""
    parts = urlsplit(place)
    scheme = "https" if parts.scheme == "oci" else parts.scheme
    return f"{scheme}://{parts.netloc}/v2{parts.path}"


async def fetch_archive(web: Web, address: str, version: str, limits: ReadLimits) -> bytes:
    """The chart's archive. Raises SourceError, UsageError, and what the server has against it."""
    return await _Registry(web, limits, parse_reference(address, version)).archive()


class _Registry:
    def __init__(self, web: Web, limits: ReadLimits, reference: Reference) -> None:
        self._web, self._limits, self._reference = web, limits, reference
        self._place, self._api = reference.place, api_address(reference.place)

    async def archive(self) -> bytes:
        manifest = await self._manifest()
        layers = [
            layer
            for layer in manifest.get("layers") or []
            if isinstance(layer, dict) and layer.get("mediaType") in _LAYERS
        ]
        digest = str(layers[0].get("digest")) if layers else ""
        if not _DIGEST.fullmatch(digest):
            raise self._error("is not a helm chart", "Correct helm.repo.")
        answer = await self._web.get(f"{self._api}/blobs/{digest}", self._limits.archive)
        assert answer is not None
        if _sha256(answer.body) != digest:
            raise self._error(
                "is not what its manifest says", "Report it to the administrator of the registry."
            )
        return answer.body

    async def _manifest(self) -> dict[str, Any]:
        """By the digest where there is one, else by the tag."""
        digest = self._reference.digest
        tag = await self._tag()
        body = await self._read(tag) if tag else None
        if digest:
            if body is not None and _sha256(body) != digest:
                step = "Correct the version or the digest."
                raise self._error(f"has another digest at {tag} than {digest}", step)
            body = await self._read(digest)
            if body is None or _sha256(body) != digest:
                raise self._error(f"has no {digest}", "Correct the digest, or push the chart.")
        elif body is None:
            raise describe_missing(self._place, self._reference, await self._tags())
        return _json(body or b"", self._place)

    async def _tag(self) -> str:
        version = self._reference.version
        if self._reference.is_tag or _EXACT.fullmatch(version):
            return version
        if self._reference.digest:
            return ""
        tags = await self._tags()
        tag = version if version in tags else best(version, tags)
        if tag is None:
            raise describe_missing(self._place, self._reference, tags)
        return tag

    async def _read(self, name: str) -> bytes | None:
        url = f"{self._api}/manifests/{name.replace('+', '_')}"
        answer = await self._web.get(url, self._limits.index, accept=_MANIFEST, may_be_absent=True)
        return answer.body if answer else None

    async def _tags(self) -> list[str]:
        """All tags of the registry, page by page, as versions."""
        tags: list[str] = []
        url = f"{self._api}/tags/list"
        for _ in range(_PAGES):
            answer = await self._web.get(url, self._limits.index, may_be_absent=True)
            if answer is None:
                raise self._error("is not there", "Correct helm.repo.")
            page = _json(answer.body, self._place).get("tags") or []
            tags += [str(tag).replace("_", "+") for tag in page] if isinstance(page, list) else []
            url = answer.link
            if not url:
                break
        return tags

    def _error(self, summary: str, step: str) -> SourceError:
        return SourceError(f"{self._place} {summary}", subject=self._place, next_step=step)


def describe_missing(
    place: str, reference: Reference, versions: list[str] | Mapping[str, Any]
) -> SourceError:
    """The error for a version that is not there, with the newest ones that are."""
    newest = sorted((v for v in versions if parse(v)), key=lambda v: parse(v) or (), reverse=True)[
        :5
    ]
    step = f"It has for example {', '.join(newest)}." if newest else "Push one first."
    version = f"version {reference.version}" if reference.version else "released version"
    summary = f"{place} has no {version} of {reference.chart}"
    return SourceError(summary, subject=place, next_step=step)


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _json(data: bytes, place: str) -> dict[str, Any]:
    try:
        document = decode_json(data)
    except (msgspec.DecodeError, RecursionError) as error:
        summary = f"{place} does not answer as an OCI registry"
        raise SourceError(summary, subject=place, next_step="Correct helm.repo.") from error
    return document if isinstance(document, dict) else {}
