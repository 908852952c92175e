"""Which addresses get the login of a GitRepo's `helmSecretName`: those that `helmRepoURLRegex`
names.

Rule: the pattern is matched from the start of an address in canonical form (scheme, host, port,
path), and has to match at least the whole of scheme, host and port. User, query and fragment are
not part of that text, so another host cannot match by what it has there. In Fleet a match may end
inside the host. Patterns are Go's (RE2): linear time.

Canonical form: scheme and host in lower case; `.` and `..` segments of the path are resolved, as
HTTP clients do; the default port may be written in the pattern or not. A pattern without a scheme
is matched from the host on, for https and oci. An address that readers could understand in two
ways (a user, a backslash, a host that is not ASCII, a final dot, an encoded dot segment) gets no
login.
"""

from __future__ import annotations

import re

from fleetctl.core.formats.regex import InvalidRegex, Regex, compile_regex
from fleetctl.core.model.errors import UsageError

_MAX_ADDRESS = 2_048
_MAX_SEGMENTS = 32
_ADDRESS = re.compile(
    r"(https?|oci)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(\d{1,5}))?"
    r"((?:/[^?#\\\s\x00-\x20\x7f]*)?)(?:[?#].*)?",
    re.IGNORECASE | re.ASCII,
)
# What servers may decode once or twice, and what stands before a `;` in a segment (RFC 3986, 3.3).
_ENCODED_SEPARATOR = re.compile(r"%(?:25)*(?:2f|5c)", re.IGNORECASE)
_ENCODED_DOT = re.compile(r"%(?:25)*2e", re.IGNORECASE)
_DEFAULT_PORTS = {"https": "443", "http": "80", "oci": "443"}
# A pattern whose host can be read off: no wildcard, group or class before the first slash.
_LITERAL_HOST = re.compile(
    r"(?:\^|\\A)?(?:(?:https\??|oci):/{2})?"
    r"(?:(?:[a-z0-9_-]|\\[.-])+|\\\[[0-9a-f:]+\\\])(?::\d{1,5})?"
    r"(?:\$|\\z|\\?/(?![?*{]).*)?"
)


def check_pattern(pattern: str, subject: str) -> None:
    """Raises UsageError when `helmRepoURLRegex` is no regular expression of Go."""
    try:
        _anchor(pattern)
    except InvalidRegex as error:
        summary = f"helmRepoURLRegex is not a regular expression that Go accepts: {error}"
        step = "Correct it; look-ahead and back-references do not exist in Go."
        raise UsageError(summary, subject=subject, next_step=step) from error


def describe_wide_pattern(pattern: str) -> str:
    """A warning when the host of the pattern is not literal, so that it may fit other hosts, or
    "".
    """
    alternatives = [pattern] if "(" in pattern else pattern.split("|")
    if not pattern or all(_LITERAL_HOST.fullmatch(part) for part in alternatives):
        return ""
    return (
        "the host in helmRepoURLRegex is not literal, so the login may also go to other hosts: "
        r"write it in lower case with `\.` for a dot and a slash after it, "
        r"such as https://charts\.example\.com/"
    )


def may_have_login(pattern: str, address: str) -> bool:
    """Whether the pattern names the address. No pattern names none, as in Fleet."""
    if not pattern:
        return False
    try:
        regex = _anchor(pattern)
    except InvalidRegex:
        return False
    return any(
        regex.is_match(authority + path[:end])
        for authority, path in _canonical_forms(address)
        for end in _segment_ends(path)
    )


def _segment_ends(path: str) -> list[int]:
    """Where a match may end: before and after each slash, and at the end."""
    slashes = [at for at, character in enumerate(path) if character == "/"][:_MAX_SEGMENTS]
    return sorted({0, len(path), *slashes, *(at + 1 for at in slashes)})


def _anchor(pattern: str) -> Regex:
    """Raises InvalidRegex. A pattern that is not valid alone must not close the group around it."""
    compile_regex(pattern)
    return compile_regex(rf"\A(?:{pattern})\z")


def _canonical_forms(address: str) -> list[tuple[str, str]]:
    """(scheme, host and port; path) in each way in which a pattern may write them."""
    match = _ADDRESS.fullmatch(address) if len(address) <= _MAX_ADDRESS else None
    if match is None:
        return []
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    path = _resolve_path(match[4])
    if path is None:
        return []
    default = _DEFAULT_PORTS[scheme]
    ports = ["", f":{default}"] if port in {None, default} else [f":{int(port)}"]
    schemes = [f"{scheme}://"] if scheme == "http" else [f"{scheme}://", ""]
    return [(f"{before}{host}{after}", path) for before in schemes for after in ports]


def _resolve_path(path: str) -> str | None:
    """The path without dot segments (RFC 3986, 5.2.4); None when servers may read it
    differently.
    """
    segments = path.split("/")
    if any(_hides_dots(segment) for segment in segments):
        return None
    resolved_segments: list[str] = []
    for segment in segments:
        if segment == ".." and len(resolved_segments) > 1:
            resolved_segments.pop()
        elif segment not in {".", ".."}:
            resolved_segments.append(segment)
    if segments[-1] in {".", ".."}:
        resolved_segments.append("")
    return "/".join(resolved_segments)


def _hides_dots(segment: str) -> bool:
    """Whether a server that decodes the segment, or cuts it at `;`, finds `.` or `..` in it."""
    plain = _ENCODED_SEPARATOR.sub("/", _ENCODED_DOT.sub(".", segment))
    parts = [part.partition(";")[0] for part in plain.split("/")]
    return segment not in {".", ".."} and any(part in {".", ".."} for part in parts)
