"""Shortens lists: "a, b and 3 more". No other module spells "more"."""

from __future__ import annotations

from collections.abc import Sequence


def list_names(names: Sequence[str], most: int | None = None, *, count: int = 0) -> str:
    """Return `a, b and 3 more` with at most `most` names. `count`: their number, if `names` is only
    a part of them.
    """
    listed_names = names[:most]
    rest = max(count, len(names)) - len(listed_names)
    text = ", ".join(listed_names)
    return f"{text} and {rest:,} more" if rest > 0 else text


def count_others(amount: int, noun: str = "") -> str:
    """Return ` (and 3 more)` or ` (and 3 more objects)` for the text after the first item, "" if
    there are no others.
    """
    if amount <= 0:
        return ""
    words = f" {noun}{'s' if amount > 1 else ''}" if noun else ""
    return f" (and {amount:,} more{words})"


def count_hidden(amount: int) -> str:
    """Return `… and 3 more` for the last line of a list that hides so many lines."""
    return f"… and {amount:,} more"
