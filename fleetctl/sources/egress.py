"""Addresses: what may be shown, and which hosts a repository's content may make us ask."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from fleetctl.core.formats.redact import MASK, redacted_login
from fleetctl.core.model.errors import RefusedError, SourceError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Clouds answer questions about the machine itself here; these two stand outside the link-local
# ranges.
_METADATA = (ipaddress.ip_network("fd00:ec2::254/128"), ipaddress.ip_network("100.100.100.200/32"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def printable_url(url: str) -> str:
    """`url` as it may be printed: without a user, secrets, a fragment and control characters."""
    url = redacted_login("".join(c for c in url if c.isprintable()))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return url.replace(f"{MASK}@", "", 1)
    if not host:
        return url.replace(f"//{MASK}@", "//", 1)
    host = f"[{host}]" if ":" in host else host
    return urlunsplit(
        (parts.scheme, host + (f":{port}" if port else ""), parts.path, parts.query, "")
    )


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port); an address that cannot be read is the origin of nothing."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme,
            parts.hostname or "",
            parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0),
        )
    except ValueError:
        return "", url, -1


@dataclass(frozen=True)
class EgressPolicy:
    """Loopback, link-local and metadata addresses are refused unless `allow` (CIDRs and host names)
    lists them.

    Private ranges are allowed unless `deny` (CIDRs) lists them.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    async def addresses(self, url: str, purpose: str = "charts") -> list[str]:
        """What the host of `url` resolves to; connect to these and look up no more, or a name could
        change its mind meanwhile.

        Raises RefusedError when any of them is forbidden, SourceError when there is none.
        """
        _, host, port = origin(url)
        if urlsplit(url).scheme not in {"http", "https"} or not host or port <= 0:
            raise RefusedError(
                f"{printable_url(url)} is not an http or https address",
                subject=printable_url(url),
                next_step="Correct it.",
            )
        try:
            results = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise SourceError(
                f"{host} cannot be resolved",
                subject=printable_url(url),
                next_step="Correct the host, or wait for DNS.",
            ) from error
        texts = list(dict.fromkeys(str(info[4][0]) for info in results))
        for text in texts if host not in self.allow else ():
            if self._is_forbidden(ipaddress.ip_address(text.partition("%")[0])):
                step = f"Start the manager with --allow-egress {host}, if this is intended."
                raise RefusedError(
                    f"{host} is at {text}, which {purpose} may not be read from",
                    subject=printable_url(url),
                    next_step=step,
                )
        return texts

    def _is_forbidden(self, address: _Address) -> bool:
        address = _inner(address)
        if any(address in net for net in _networks(self.allow)):
            return False
        if any(address in net for net in (*_METADATA, *_networks(self.deny))):
            return True
        return (
            address.is_loopback
            or address.is_link_local
            or address.is_unspecified
            or address.is_multicast
            or _is_reserved(address)
        )


def _is_reserved(address: _Address) -> bool:
    # "This network" (0.0.0.0/8) reaches the machine itself on Linux.
    return address.is_reserved or (
        address.version == 4 and address in ipaddress.ip_network("0.0.0.0/8")
    )


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _networks(texts: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue  # a host name
    return networks
