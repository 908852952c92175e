"""Mirrors: addresses below one prefix are read from another place.

Rule: an address is below a prefix when scheme, host and port are equal and the path of the prefix
is made of whole segments at the start of its path. Text that only begins alike is not below it:
`https://a` does not stand for `https://a.example` or `https://a@b`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from fleetctl.core.formats.redact import redacted_login, refuse_login
from fleetctl.core.model.errors import UsageError

_PREFIX_SCHEMES = ("https", "http", "oci")
_DEFAULT_PORTS = {"https": 443, "http": 80, "oci": 443}
_EXAMPLE = "Write for example https://github.com/=https://mirror.local/."


def parse_mirrors(texts: Sequence[str]) -> dict[str, str]:
    """Prefix and address of each `PREFIX=URL`. Raises UsageError."""
    mirrors: dict[str, str] = {}
    for text in texts:
        prefix, equals, url = text.partition("=")
        if not (equals and prefix and url):
            raise UsageError(
                f"--mirror {redacted_login(text)!r} is not PREFIX=URL", next_step=_EXAMPLE
            )
        refuse_login(prefix, "--mirror", "Write the addresses without a login.")
        refuse_login(url, "--mirror", "Let this host read the mirror without a login.")
        for address in (prefix, url):
            _check(address)
        if any(_below(prefix, mirror) in {"", "/"} for mirror in mirrors):
            raise UsageError(f"--mirror names {prefix} twice", next_step="Remove one of them.")
        mirrors[prefix] = url
    return mirrors


def mirror_url(url: str, mirrors: Mapping[str, str]) -> str:
    """`url` at the mirror of the longest prefix that it is below, or as it is."""
    candidates = [
        (len(urlsplit(prefix).path.rstrip("/")), target, rest)
        for prefix, target in mirrors.items()
        if (rest := _below(url, prefix)) is not None
    ]
    if not candidates:
        return url
    _, target, rest = max(candidates)
    return target.rstrip("/") + rest if rest else target


def _check(address: str) -> None:
    parts = _split(address)
    plain = parts is not None and not (parts.query or parts.fragment) and not _has_dots(parts.path)
    if not plain or parts is None or parts.scheme not in _PREFIX_SCHEMES:
        summary = f"--mirror: {redacted_login(address)!r} is not a plain https, http or oci address"
        raise UsageError(summary, next_step=_EXAMPLE)


def _below(url: str, prefix: str) -> str | None:
    """What follows the prefix in `url`: "" or a text that begins with a slash or `?`; else None."""
    address, start = _split(url), _split(prefix)
    if address is None or start is None or _origin(address) != _origin(start):
        return None
    path = start.path.rstrip("/")
    if not f"{address.path}/".startswith(f"{path}/") or _has_dots(address.path):
        return None
    rest = address.path[len(path) :]
    return rest + (f"?{address.query}" if address.query else "")


def _split(address: str) -> SplitResult | None:
    """The parts of an address that can be read in one way only, or None."""
    if "\\" in address or any(c.isspace() or not c.isprintable() for c in address):
        return None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and "@" not in parts.netloc and port != 0 else None


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _has_dots(path: str) -> bool:
    """Whether a server could read the path as one that leads upwards."""
    return any(segment in {".", ".."} for segment in unquote(path).replace("\\", "/").split("/"))
