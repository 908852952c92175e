"""Addresses: mirrors, what may be shown, and which hosts a repository's content may make us ask."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from fleetctl.core.errors import RefusedError, SourceError


def mirrored(url: str, mirrors: Mapping[str, str]) -> str:
    """`url` with the longest matching prefix exchanged; `oci://` prefixes are matched as they are written."""
    prefix = max((p for p in mirrors if url.startswith(p)), key=len, default="")
    return mirrors[prefix] + url[len(prefix) :] if prefix else url


def shown(url: str) -> str:
    """`url` without a user's name or password."""
    parts = urlsplit(url)
    if not parts.hostname:
        return url
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, host + (f":{parts.port}" if parts.port else ""), parts.path, parts.query, ""))


def origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


@dataclass(frozen=True)
class EgressPolicy:
    """Loopback, link-local and metadata addresses are refused unless `allow` (CIDRs and host names) lists them."""

    allow: tuple[str, ...] = ()

    async def check(self, url: str) -> None:
        """Look the host up and refuse it when any of its addresses is forbidden. Raises RefusedError, SourceError."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host:
            raise RefusedError(f"{shown(url)} is not an http or https address", subject=shown(url), next_step="Correct it.")
        if host in self.allow:
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        except OSError as why:
            raise SourceError(f"{host} cannot be resolved", subject=shown(url), next_step="Correct the host, or wait for DNS.") from why
        for info in found:
            address = ipaddress.ip_address(info[4][0])
            if self._forbidden(address):
                step = f"Start the manager with --allow-egress {host}, if this is meant."
                raise RefusedError(f"{host} is at {address}, which charts may not be read from", subject=shown(url), next_step=step)

    def _forbidden(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        for text in self.allow:
            try:
                if address in ipaddress.ip_network(text, strict=False):
                    return False
            except ValueError:
                continue  # a host name
        return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved
