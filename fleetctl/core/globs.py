"""Go's `filepath.Match`: `*` and `?` stop at a slash, `[^a-z]` negates, a backslash takes the next character as it is."""

from __future__ import annotations

import re
from functools import lru_cache

from fleetctl.core.errors import UsageError


def matches(pattern: str, name: str) -> bool:
    """Whether the whole of `name` fits `pattern`. Raises UsageError on a malformed pattern."""
    return _compiled(pattern).fullmatch(name) is not None


def is_glob(text: str) -> bool:
    return any(c in text for c in "*?[\\")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    at, out = 0, ""
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            # Stars in a row say no more than one, and would make the search slow.
            out += "" if out.endswith("[^/]*") else "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            text, at = _class(pattern, at)
            out += text
        elif char == "\\":
            if at >= len(pattern):
                raise _malformed(pattern)
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(char)
    return re.compile(out, re.DOTALL)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The class that begins at `at`, behind its bracket, as one of Python's, and where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges = ""
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _one(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _one(pattern, at + 1)
        if low <= high:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
        else:
            raise _malformed(pattern)
    # A slash is in no class, also not in a negated one.
    return (f"[^/{ranges}]" if negated else f"(?!/)[{ranges}]"), at + 1


def _one(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise _malformed(pattern)
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise _malformed(pattern)
    return pattern[at], at + 1


def _malformed(pattern: str) -> UsageError:
    step = "Write * ? [a-z] [^a-z], and a backslash before a special character."
    return UsageError(f"{pattern!r} is not a valid pattern", next_step=step)
