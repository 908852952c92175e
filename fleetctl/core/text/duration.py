"""Durations in Go's syntax: `90s`, `1h30m`, `1.5h`.

The grammar is that of Go's time.ParseDuration without a sign: one or more pairs of a decimal number
and a unit, or `0`. Digits below a nanosecond are cut off, as in Go.
"""

from __future__ import annotations

import re

_PAIR = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h|d)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
}
_LONGEST = 2**63 - 1  # nanoseconds: Go's durations are 64 bits
_MOST_CHARACTERS = 100
_PRINTED_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class DurationTooLong(ValueError):
    """The duration does not fit into the 64 bits of Go's durations."""


def parse_duration(text: str, *, days: bool = False) -> float:
    """Return the duration in seconds. `days`: the unit `d`, which Go does not have, is allowed.

    Raises ValueError with a message for the user, such as `'5x' is not a duration`, or
    DurationTooLong.
    """
    total = 0 if text == "0" else _nanoseconds(text, days=days)
    if total is None:
        raise ValueError(f"{text[:40]!r} is not a duration")
    if total > _LONGEST:
        raise DurationTooLong(f"{text[:40]!r} is longer than 292 years")
    return total / 10**9


def format_duration(seconds: float) -> str:
    """Return whole hours, minutes and seconds without the units that are 0: `1h30m`."""
    rest, text = seconds, ""
    for unit, size in _PRINTED_UNITS.items():
        if rest >= size:
            text, rest = text + f"{int(rest // size)}{unit}", rest % size
    return text or f"{seconds:g}s"


def _nanoseconds(text: str, *, days: bool) -> int | None:
    """Return None for text that is not a duration."""
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    total = position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return None
        whole, fraction, unit = match[1], match[2] or "", match[3]
        if not whole + fraction or (unit == "d" and not days):
            return None
        size = _NANOSECONDS[unit]
        total += int(whole or 0) * size + int(fraction or 0) * size // 10 ** len(fraction)
        position = match.end()
    return total
