"""Suggestions for a word that is not known: the nearest known word. All three programs use them.

Rule: no suggestion is better than a wrong one. A suggestion never leads to `--yes`, never from a
long option to a short one, and only to a word that is near.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEVER = frozenset({"-y", "--yes"})
_NEAR = 0.7


def close_words(
    word: str, candidates: Iterable[str], *, most: int = 1, cutoff: float = 0.6
) -> list[str]:
    """Return at most `most` candidates that are similar to `word`, the most similar first.
    `cutoff`: the least similarity, from 0 to 1.
    """
    return difflib.get_close_matches(word, list(candidates), most, cutoff=cutoff)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The known word that `word` most likely means, in the spelling of `candidates`; "" when none
    is near.
    """
    by_lower = {candidate.lower(): candidate for candidate in candidates if candidate not in _NEVER}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    near = close_words(word.lower(), by_lower, cutoff=_NEAR)
    return by_lower[near[0]] if near else ""


def nearest_option(option: str, candidates: Iterable[str]) -> str:
    """As `nearest`, between options of the same form: `--long` is never answered with `-s`."""
    is_long = option.startswith("--")
    return (
        nearest(
            option, [candidate for candidate in candidates if candidate.startswith("--") == is_long]
        )
        if is_long
        else ""
    )


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`Did you mean CANDIDATE? `, or "" when no candidate is near."""
    return question(nearest(word, candidates))


def question(word: str) -> str:
    """`Did you mean WORD? ` or ""."""
    return f"Did you mean {word}? " if word else ""
