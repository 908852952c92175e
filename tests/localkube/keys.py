"""A P-256 key pair in PEM, for the service accounts of a throwaway API server.

Rule: for test clusters on loopback only. Plain Python arithmetic, not constant in time; it is here
so that a fresh machine needs neither openssl nor a package for it. (RFC 5915 and RFC 5480 give the
encodings.)
"""

from __future__ import annotations

import base64
import os
import secrets
import textwrap
from pathlib import Path

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_Point = tuple[int, int] | None


def write_pair(private: Path, public: Path) -> None:
    """Make a key pair and write it; the private file is readable by its owner alone. Existing files
    are kept.
    """
    if private.exists() and public.exists():
        return
    secret = secrets.randbelow(_N - 1) + 1
    point = _times(secret, _G)
    assert point is not None
    bits = _tlv(0x03, b"\x00\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))
    key = (
        _tlv(0x02, b"\x01")
        + _tlv(0x04, secret.to_bytes(32, "big"))
        + _tlv(0xA0, _PRIME256V1)
        + _tlv(0xA1, bits)
    )
    write_private(private, _pem("EC PRIVATE KEY", _tlv(0x30, key)))
    public.write_text(
        _pem("PUBLIC KEY", _tlv(0x30, _tlv(0x30, _EC_PUBLIC_KEY + _PRIME256V1) + bits))
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it is never, not even at first, open to others."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)


def _times(factor: int, point: _Point) -> _Point:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _plus(total, point)
        point = _plus(point, point)
        factor >>= 1
    return total


def _plus(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % _P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P)
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x81, size])
    return bytes([tag]) + length + content


def _pem(label: str, der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
