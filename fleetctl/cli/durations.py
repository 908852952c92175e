"""Durations of the command line."""

from __future__ import annotations

from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.duration import parse_duration


def seconds(text: str, *, option: str) -> float:
    """Go's durations (`15s`, `1h30m`), days (`30d`) and plain seconds (`90`). Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return float(text)
    try:
        return parse_duration(text, days=True)
    except ValueError as error:
        raise UsageError(
            str(error), subject=option, next_step="Write it like 90s, 15m or 1h30m."
        ) from error
