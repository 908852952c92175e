"""Go's regular expressions: RE2, which takes time linear in the text whatever the pattern is.

`compile_regex` is the only way to a pattern that a repository, a person or an API client has
written. Python's `re` backtracks, and a pattern of 20 characters can occupy it for years; it is for
patterns of this source code only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MAX_PATTERN = 1_000
# Bytes of one compiled pattern with its automaton; at most _CACHED patterns are kept.
_MEMORY = 512 * 1024
_CACHE_SIZE = 64
_SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")

Span = tuple[int, int]


class InvalidRegex(ValueError):
    """The text is no regular expression of Go, or its program is too large."""


class Regex:
    """A compiled pattern. `size`: instructions of its program, by which the time of a search
    grows.
    """

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern
        self.size = int(pattern.programsize)
        self.groups: dict[str, int] = {
            name.decode() if isinstance(name, bytes) else name: index
            for name, index in pattern.groupindex.items()
        }

    def is_match(self, text: str) -> bool:
        """Whether the pattern matches anywhere in `text`."""
        return self.search(text.encode("utf-8", "replace")) is not None

    def search(self, data: bytes, start: int = 0) -> list[Span] | None:
        """The leftmost match from `start`: its span and those of its groups, (-1, -1) for an unused
        group.
        """
        match = self._pattern.search(data, start)
        if match is None:
            return None
        return [match.span(group) for group in range(self._pattern.groups + 1)]

    def matches(self, data: bytes) -> Iterator[tuple[int, list[Span]]]:
        """(where the search began, spans) of each match, as Go's FindAll and ReplaceAll walk over a
        text: an empty match right after another match is left out.
        """
        start, previous = 0, -1
        while start <= len(data):
            spans = self.search(data, start)
            if spans is None:
                return
            begin, end = spans[0]
            position = start
            start = end if end > start else start + _width(data, start)
            if begin != end or begin != previous:
                yield position, spans
            previous = end


def _width(data: bytes, at: int) -> int:
    """Bytes of the UTF-8 character at `at`; 1 at the end."""
    lead = data[at] if at < len(data) else 0
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


@lru_cache(maxsize=_CACHE_SIZE)
def compile_regex(pattern: str) -> Regex:
    """Raises InvalidRegex with Go's words as far as RE2 has them."""
    # Loaded on the first pattern: it costs an idle agent 4.4 MiB and a command 57 ms.
    import re2

    if len(pattern) > MAX_PATTERN:
        raise InvalidRegex(f"a pattern longer than {MAX_PATTERN} characters")
    if _SINGLE_BYTE.search(pattern):
        raise InvalidRegex("error parsing regexp: invalid escape sequence: `\\C`")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return Regex(re2.compile(pattern.encode(), options))
    except re2.error as error:
        raise InvalidRegex(f"error parsing regexp: {_words(error)}") from error
    finally:
        re2.purge()  # its own cache would keep 128 patterns more


def _words(error: Exception) -> str:
    detail = error.args[0] if error.args else ""
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
