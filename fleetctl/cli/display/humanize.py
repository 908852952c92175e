"""Numbers and times as a person reads them."""

from __future__ import annotations

import re
import time
from datetime import datetime

_SINCE = re.compile(r"\bsince (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DAY = 86400


def format_count(amount: int, word: str) -> str:
    """`1 cluster`, `2 clusters`."""
    return f"{amount} {word}" + ("" if amount == 1 else "s")


def format_age(text: str, now: float | None = None) -> str:
    """The time since an ISO time, as kubectl writes it: 45s, 5m30s, 3h, 12d; - for no time."""
    if not text:
        return "-"
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return "?"
    return format_duration(int((time.time() if now is None else now) - then.timestamp()))


def format_times(text: str, now: float | None = None) -> str:
    """A sentence with its times in words.

    `since TIME` becomes `for 3h`, a past time `3h ago`, a future time `19:40 UTC (in 20m)`.
    """
    at = time.time() if now is None else now
    text = _SINCE.sub(lambda match: f"for {format_age(match[1], at)}", text)
    return _TIME.sub(lambda match: _format_moment(match[0], at), text)


def _format_moment(text: str, now: float) -> str:
    then = datetime.fromisoformat(text)
    remaining = int(then.timestamp() - now)
    if remaining <= 0:
        return f"{format_duration(-remaining)} ago"
    pattern = "%H:%M" if remaining < _DAY else "%Y-%m-%d %H:%M"
    return f"{then:{pattern}} UTC (in {format_duration(remaining)})"


def format_duration(seconds: int) -> str:
    """apimachinery `duration.HumanDuration`: two units while the first is small."""
    amount = max(0, seconds)
    minutes, hours, days = amount // 60, amount // 3600, amount // _DAY
    if amount < 120:
        return f"{amount}s"
    if amount < 600:
        return f"{minutes}m" + _unit(amount % 60, "s")
    if amount < 3 * 3600:
        return f"{minutes}m"
    if amount < 8 * 3600:
        return f"{hours}h" + _unit(minutes % 60, "m")
    if amount < 48 * 3600:
        return f"{hours}h"
    if amount < 8 * _DAY:
        return f"{days}d" + _unit(hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y" + (_unit(days % 365, "d") if days < 8 * 365 else "")


def _unit(amount: int, unit: str) -> str:
    return f"{amount}{unit}" if amount else ""
