"""Reads the plainest form of a GET without the general HTTP parser, which calls back for each
header.

Rule: what is accepted here has one meaning only, and the general parser reads it alike
(`tests/property/manager/test_plain_get.py`). Anything else is for the general parser: another
version or method, any header that is not listed, a value with spaces, more bytes behind the
request.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_BYTES = 4096
_REQUEST = re.compile(
    rb"GET (/[!-\"$->@-~]{0,255}) HTTP/1\.1\r\n((?:[A-Za-z-]{2,40}: [!-~]{1,1024}\r\n){1,24})\r\n"
)
_NAMES = frozenset(
    {
        b"host",
        b"accept",
        b"accept-encoding",
        b"connection",
        b"user-agent",
        b"if-none-match",
        b"fleet-agent",
        b"fleet-time",
        b"fleet-nonce",
        b"fleet-instance",
        b"fleet-signature",
        b"fleet-session",
    }
)


class PlainGet(NamedTuple):
    """`path` without a query; `headers`: names in lower case, each at most once, Host among
    them.
    """

    path: bytes
    headers: list[tuple[bytes, bytes]]


def parse_plain_get(data: bytes) -> PlainGet | None:
    """The request, when `data` is exactly one plain GET; else None."""
    if len(data) > _MAX_BYTES or not data.startswith(b"GET /"):
        return None
    match = _REQUEST.fullmatch(data)
    if match is None:
        return None
    headers = []
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        headers.append((name.lower(), value))
    fields = dict(headers)
    if len(fields) != len(headers) or not _NAMES.issuperset(fields) or b"host" not in fields:
        return None
    if fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return PlainGet(match[1], headers)
