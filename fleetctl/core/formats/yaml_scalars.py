"""Resolves YAML scalars exactly as go-yaml v2 does (`resolve.go`), which helm, kubectl and Fleet
read with.

Facts that differ from YAML 1.2 and from PyYAML: `no` is false and `0644` is 420; there are no
sexagesimal numbers; timestamps stay text; a whole number beyond 64 bits becomes a float; a float
beyond float64 stays text; an unknown tag on a scalar makes it text.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct

from fleetctl.core.formats.go_float import number

Scalar = str | int | float | bool | None
PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(
        ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True
    ),
    **dict.fromkeys(
        ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False
    ),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_DIGITS = frozenset("+-0123456789")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNDERSCORE = re.compile(r"(?<=[0-9])_(?=[0-9])")
_BASES = (
    (re.compile(r"0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"0[bB]([01]+)"), 2),
    (re.compile(r"0[oO]?([0-7]+)"), 8),
)
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_BINARY = re.compile(r"0b([-+]?[01]+)|-0b(\+?[01]+)")
_CLOCK = r"\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d+)?"
_TIMESTAMP = re.compile(
    rf"\d{{4}}-\d{{1,2}}-\d{{1,2}}(?:[Tt]{_CLOCK}(?:Z|[-+]\d\d:\d\d)| {_CLOCK})?"
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "null": type(None)}
_MOST_DIGITS = 400  # no number of more digits fits into 64 bits, or is a finite float


def resolve(text: str, tag: str | None = None) -> Scalar:
    """The value of a plain scalar, or of one with a tag. Raises ValueError when the tag does not
    fit.
    """
    if tag is None:
        return _plain(text)
    kind = tag.removeprefix(PREFIX) if tag.startswith(PREFIX) else ""
    match kind:
        case "binary":
            return _decode_binary(text)
        case "bool" | "int" | "float" | "null":
            return _read_tagged(text, kind)
        case "timestamp":
            if not _TIMESTAMP.fullmatch(text):
                raise ValueError(f"cannot decode {text[:40]!r} as a !!timestamp")
            return text
        case _:
            return text


def key_text(key: Scalar) -> str:
    """The text of a map's key, as sigs.k8s.io/yaml writes it. Raises ValueError for null."""
    if isinstance(key, str):
        return key
    if key is None:
        raise ValueError("a key must not be empty")
    if isinstance(key, int) and key >= 2**63:
        raise ValueError("a number as a key must fit into 63 bits")
    return scalar_text(key)


def scalar_text(value: bool | float) -> str:
    """A boolean or number where text is wanted, as sigs.k8s.io/yaml writes it: true, 1, 1.5,
    1e+06.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = number(_float32(value))
    return {"+Inf": ".inf", "-Inf": "-.inf", "NaN": ".nan"}.get(text, text)


def looks_like_a_number(text: str) -> bool:
    """Whether another YAML parser may read the plain `text` as a float although go-yaml does
    not.
    """
    return _FLOAT.fullmatch(text.replace("_", "")) is not None


def _plain(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first == ".":
        value = _float(_UNDERSCORE.sub("", text))
        return text if value is None else value
    if first not in _DIGITS:
        return text
    digits = text.replace("_", "")
    whole = _integer(digits)
    if whole is not None:
        return whole
    value = _float(digits)
    if value is not None:
        return value
    bits = _BINARY.fullmatch(digits)
    if bits and len(digits) < _MOST_DIGITS:
        whole = int(bits[1], 2) if bits[1] else -int(bits[2], 2)
        if bits[1] or not bits[2].startswith("+"):
            return _in_64_bits(whole, text)
    return text


def _integer(digits: str) -> int | None:
    """Go's ParseInt and ParseUint with base 0, without underscores; None for what they refuse."""
    sign = digits[0] if digits[:1] in {"+", "-"} else ""
    bare = digits[len(sign) :]
    if len(bare) > _MOST_DIGITS:
        return None
    value = _magnitude(bare)
    if value is None:
        return None
    if sign == "-":
        return -value if value <= 2**63 else None
    return value if value < (2**63 if sign else 2**64) else None


def _magnitude(bare: str) -> int | None:
    if _DECIMAL.fullmatch(bare):
        return int(bare)
    for pattern, base in _BASES:
        match = pattern.fullmatch(bare)
        if match:
            return int(match[1], base)
    return None


def _float(text: str) -> float | None:
    """A finite float, or None."""
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return None if value in {float("inf"), float("-inf")} else value


def _in_64_bits(value: int, text: str) -> int | str:
    return value if -(2**63) <= value < 2**64 else text


def _read_tagged(text: str, kind: str) -> Scalar:
    value = _plain(text)
    if type(value) is int and kind == "float":
        value = float(value)
    if not isinstance(value, _TYPES[kind]) or (kind == "int" and isinstance(value, bool)):
        raise ValueError(f"cannot decode {text[:40]!r} as a !!{kind}")
    return value


def _decode_binary(text: str) -> str:
    compact = text.replace("\n", "").replace("\r", "")
    if not _BASE64.fullmatch(compact):
        raise ValueError("a !!binary value is not base64")
    try:
        return base64.b64decode(compact).decode("utf-8", "replace")
    except binascii.Error as error:
        raise ValueError("a !!binary value is not base64") from error


def _float32(value: float) -> float:
    """The shortest decimal that reads back as the same float32."""
    try:
        data = struct.pack("f", value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == data:
            return short
    return value
