"""Go's `filepath.Match` in linear time for each `*`.

`*` and `?` do not match a slash, `[^a-z]` negates, a backslash escapes the next character, `**` is
`*`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from fleetctl.core.model.errors import UsageError

MAX_PATTERN: Final = 1024  # characters

# A pattern is a tuple of tokens: `_STAR`, `_ANY` for `?`, a literal character, or a class.
_STAR: Final = None
_Ranges = tuple[tuple[str, str], ...]
_Class = tuple[bool, _Ranges]  # (negated, (low, high) pairs)
_Token = str | _Class | None
_ANY: Final[_Class] = (True, ())


def matches(pattern: str, name: str) -> bool:
    """Whether the whole of `name` matches `pattern`. Raises UsageError on a malformed pattern.

    Greedy with one retry point: when a later `*` is reached, no other choice for an earlier one can
    do better. The cost is at most the product of both lengths; nothing backtracks further.
    """
    tokens = _compile(pattern)
    at = star = resume = 0
    has_star, pos, end, size = False, 0, len(name), len(tokens)
    while True:
        if at < size and tokens[at] is _STAR:
            has_star, star, resume = True, at, pos
            at += 1
        elif at == size and pos == end:
            return True
        elif at < size and pos < end and _fits(tokens[at], name[pos]):
            at, pos = at + 1, pos + 1
        elif has_star and resume < end and name[resume] != "/":
            resume += 1
            at, pos = star + 1, resume
        else:
            return False


def check_glob(pattern: str) -> None:
    """Raises UsageError when `pattern` is malformed or too long."""
    _compile(pattern)


def is_glob(text: str) -> bool:
    return any(c in text for c in "*?[\\")


def _fits(token: _Token, char: str) -> bool:
    if isinstance(token, str):
        return token == char
    if token is None or char == "/":
        return False  # no class contains a slash, not even a negated one
    is_negated, ranges = token
    return is_negated is not any(low <= char <= high for low, high in ranges)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> tuple[_Token, ...]:
    if len(pattern) > MAX_PATTERN:
        summary = f"pattern {pattern[:40]!r}… is longer than {MAX_PATTERN} characters"
        raise UsageError(summary, next_step="Shorten it.")
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not tokens or tokens[-1] is not _STAR:
                tokens.append(_STAR)
        elif char == "?":
            tokens.append(_ANY)
        elif char == "[":
            token, at = _class(pattern, at)
            tokens.append(token)
        elif char == "\\":
            if at >= len(pattern):
                raise _malformed_pattern(pattern)
            tokens.append(pattern[at])
            at += 1
        else:
            tokens.append(char)
    return tuple(tokens)


def _class(pattern: str, at: int) -> tuple[_Class, int]:
    """The class that begins at `at`, after its bracket, and the position after its end."""
    is_negated = pattern[at : at + 1] == "^"
    at += is_negated
    ranges: list[tuple[str, str]] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _class_char(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_char(pattern, at + 1)
        if low > high:
            raise _malformed_pattern(pattern)
        ranges.append((low, high))
    return (is_negated, tuple(ranges)), at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise _malformed_pattern(pattern)
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise _malformed_pattern(pattern)
    return pattern[at], at + 1


def _malformed_pattern(pattern: str) -> UsageError:
    step = "Write * ? [a-z] [^a-z], and a backslash before a special character."
    return UsageError(f"{pattern[:80]!r} is not a valid pattern", next_step=step)
