"""How a live object differs from what was applied: only fields that the manifest states count. Pure.

What the API server writes in another form (quantities, defaults in lists) would look like drift: so the differences seen right after an
apply are remembered as `accepted` and are none.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)([eE][+-]?\d+|[numkKMGTPE]i?)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SKIPPED = frozenset({"/status", "/apiVersion", "/metadata/namespace", "/metadata/creationTimestamp", "/stringData"})
_MOST_PATCH = 2048


def differences(wanted: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """{JSON pointer: live value} of each stated field that the live object has otherwise; a missing one is None."""
    found: dict[str, Any] = {}
    _compare(wanted, live, "", found)
    return found


def patch(differing: dict[str, Any]) -> str:
    """For people: what someone changed, pointer by pointer, at most 2 KiB."""
    return msgspec.json.encode(differing).decode()[:_MOST_PATCH]


def _compare(wanted: Any, live: Any, path: str, found: dict[str, Any]) -> None:
    if path in _SKIPPED or wanted is None or (wanted in ({}, [], "") and live in (None, {}, [], "")):
        return
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            _compare(value, live.get(key), f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}", found)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for at, (one, other) in enumerate(zip(wanted, live, strict=True)):
            _compare(one, other, f"{path}/{at}", found)
    elif not _same(wanted, live):
        found[path] = live


def _same(wanted: Any, live: Any) -> bool:
    if wanted == live:
        return True
    if isinstance(wanted, bool) or isinstance(live, bool):
        return False
    if isinstance(wanted, str | int | float) and isinstance(live, str | int | float):
        one, other = _amount(str(wanted)), _amount(str(live))
        return one is not None and one == other
    return False


def _amount(text: str) -> Decimal | None:
    """A Kubernetes quantity as a number, so that 1000m is 1 and 0.5Gi is 512Mi."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        return None
    unit = match[2] or ""
    try:
        number = Decimal(match[1])
        if unit in _BINARY:
            return number * Decimal(1024 ** _BINARY[unit])
        return number.scaleb(_POWERS[unit]) if unit in _POWERS else Decimal(match[1] + unit)
    except InvalidOperation:
        return None
