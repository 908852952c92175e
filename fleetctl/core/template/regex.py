"""Go's regular expressions (RE2) by Python's, behind a guard: a pattern that could take for ever is refused."""

from __future__ import annotations

import re
from functools import lru_cache

from fleetctl.core.template.errors import Mistake

_MOST = 1_000
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
# A repeated group that itself repeats or chooses: the one shape that takes exponential time in a backtracking engine.
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?:[*+]|\{\d+,\d*\}|\|)(?:[^()\\]|\\.)*\)(?:[*+]|\{\d+,)")
_EXPAND = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Raises Mistake."""
    if len(pattern) > _MOST:
        raise Mistake(f"a pattern longer than {_MOST} characters")
    if _NESTED.search(pattern) or pattern.count("*") + pattern.count("+") > 20:
        raise Mistake("the pattern repeats a group that repeats", "Write it without a repetition inside a repetition.")
    text = re.sub(r"\[:(\^?)(\w+):\]", _class, pattern)
    text = text.replace("(?<", "(?P<") if re.search(r"\(\?<[A-Za-z_]", text) else text
    text = re.sub(r"\\z", r"\\Z", text)
    if re.search(r"\(\?(?:[=!]|<[=!])|\\[1-9]|[*+?]\+", text):
        raise Mistake("invalid or unsupported Perl syntax")
    try:
        return re.compile(text, re.ASCII)
    except (re.error, RecursionError, OverflowError) as why:
        raise Mistake(f"error parsing regexp: {why}") from why


def _class(match: re.Match[str]) -> str:
    if match[2] not in _CLASSES or match[1]:
        raise Mistake(f"invalid character class range {match[0]}")
    return _CLASSES[match[2]]


def expanded(text: str, match: re.Match[str]) -> str:
    """`$1`, `${name}` and `$$` in a replacement; a group that there is not is empty, as in Go."""

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except (IndexError, KeyError):
            return ""

    return _EXPAND.sub(one, text)
