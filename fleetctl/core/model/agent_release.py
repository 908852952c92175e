"""What the owner of a release key says of one `fleet-agent.pyz`, and the file that holds it. Pure:
bytes in, bytes out.

Rule: the manager only says which version; an agent runs nothing that a release key, which never
lies on the manager, has not signed. Signed is Ed25519 over a domain line and six lines: version,
Python, platform, size, SHA-256, and whether it may replace a newer version.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from fleetctl.core.model.errors import InvalidFile, UsageError

FORMAT = "fleet-agent-release-v1"
DOMAIN = f"{FORMAT}\n".encode()
MAX_BYTES = 64 * 1024 * 1024
MAX_SIGNATURE_FILE = 16 * 1024
ABOUT = "fleet-agent.json"  # the member of the .pyz that names its version, Python and platform

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_SUFFIX = re.compile(r"\.([a-z]+)-(\d)(\d+)-(.+)\.(?:so|dylib|pyd)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ORDER = re.compile(r"v?(\d+(?:\.\d+)*)([^+]*)(?:\+(.*))?")


class Runtime(NamedTuple):
    """What compiled libraries must fit, for example `cpython-3.11` and `x86_64-linux-gnu`."""

    python: str
    platform: str

    def __str__(self) -> str:
        return f"{self.python} {self.platform}"


class AgentRelease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A statement about one file. `key_id` names the key (16 hex digits of its SHA-256),
    `signature` is unpadded URL-safe base64.
    """

    version: str
    python: str
    platform: str
    size: int
    sha256: str
    replaces_newer: bool = False
    key_id: str = ""
    signature: str = ""

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.python, self.platform)


class _ReleaseFile(AgentRelease, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    format: str


def release_bytes(release: AgentRelease) -> bytes:
    """What is signed."""
    may = "replaces-newer" if release.replaces_newer else "replaces-older"
    lines = (
        release.version,
        release.python,
        release.platform,
        str(release.size),
        release.sha256,
        may,
    )
    return DOMAIN + "\n".join(lines).encode()


def check(release: AgentRelease) -> None:
    """That each word is one, so that no two statements have the same bytes. Raises UsageError."""
    good = (
        _VERSION.fullmatch(release.version)
        and _WORD.fullmatch(release.python)
        and _WORD.fullmatch(release.platform)
    )
    if not good or not _SHA256.fullmatch(release.sha256):
        summary = "the release's version, Python, platform or SHA-256 is not written as it must be"
        raise UsageError(
            summary,
            subject="agent release",
            next_step="Make the file with `make agent` and sign it again.",
        )
    if not 0 < release.size <= MAX_BYTES:
        summary = f"an agent release has 1 to {MAX_BYTES} bytes, not {release.size}"
        raise UsageError(
            summary, subject="agent release", next_step="Make the file with `make agent`."
        )


def to_file(release: AgentRelease) -> bytes:
    """The signature file: JSON with one key a line."""
    fields = {"format": FORMAT} | msgspec.to_builtins(release)
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


def of_file(data: bytes, *, file: str) -> AgentRelease:
    """The statement in a signature file; the signature is not checked here. Raises InvalidFile,
    UsageError.
    """
    step = "Make it with `fleetctl agent-release sign`."
    try:
        signature_file = msgspec.json.decode(data[: MAX_SIGNATURE_FILE + 1], type=_ReleaseFile)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidFile(
            f"not a signature of an agent: {error}", file=file, next_step=step
        ) from error
    if signature_file.format != FORMAT:
        raise InvalidFile(
            f"its format is {signature_file.format[:40]!r}, not {FORMAT}", file=file, next_step=step
        )
    release = AgentRelease(
        **{name: getattr(signature_file, name) for name in AgentRelease.__struct_fields__}
    )
    check(release)
    return release


def runtime_of(suffix: str) -> Runtime:
    """Of the first of `importlib.machinery.EXTENSION_SUFFIXES`, which names Python, machine and C
    library in one.
    """
    match = _SUFFIX.fullmatch(suffix)
    return (
        Runtime(f"{match[1]}-{match[2]}.{match[3]}", match[4])
        if match
        else Runtime("unknown", "unknown")
    )


def is_newer(version: str, other_version: str) -> bool | None:
    """Whether version `version` comes after `other_version`; None when that cannot be told."""
    first, second = _key(version), _key(other_version)
    return first > second if first and second else None


def _key(version: str) -> tuple[object, ...] | None:
    """Numbers, then prereleases before the release, then the local part."""
    match = _ORDER.fullmatch(version)
    if not match:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    rest = match[2].strip(".-_")
    after = rest.startswith("post")
    return (tuple(numbers), not rest or after, _parts(rest), _parts(match[3] or ""))


def _parts(text: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers compare as numbers, words as words."""
    pieces = re.findall(r"\d+|[A-Za-z]+", text)
    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in pieces)
