"""Small languages of the command line: durations."""

from __future__ import annotations

import re

from fleetctl.core.model.errors import UsageError

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str, *, option: str) -> float:
    """Go's durations (`15s`, `1h30m`), days (`30d`) and plain seconds (`90`). Raises UsageError."""
    if text.isascii() and text.isdigit():
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(
            f"{text!r} is not a duration",
            subject=option,
            next_step="Write it like 90s, 15m or 1h30m.",
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
