"""Lists of names in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def list_names(names: Sequence[str], most: int | None = None, *, count: int = 0) -> str:
    """Return `a, b and 3 more` with at most `most` names. `count`: how many there are in all, when
    `names` is a part of them.
    """
    listed_names = names[:most]
    rest = max(count, len(names)) - len(listed_names)
    text = ", ".join(listed_names)
    return f"{text} and {rest} more" if rest > 0 else text


def count_others(amount: int) -> str:
    """Return ` (and 3 more)` after the first of several, "" when there is no other."""
    return f" (and {amount} more)" if amount > 0 else ""
