"""Laws of the glob matcher: it accepts exactly what a slow, plain reference accepts."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.core.filetree.globs import matches
from fleetctl.core.model.errors import UsageError
from tests.support.depth import depth

patterns = st.text(alphabet="ab/*?[]^-\\.", max_size=9)
names = st.text(alphabet="ab/-^].", max_size=9)


def reference(pattern: str) -> re.Pattern[str] | None:
    """Go's syntax as a backtracking regular expression; None when the pattern is malformed."""
    out, at = "", 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "[":
            found = re.compile(r"(\^?)((?:(?:\\.|[^\]\\-])(?:-(?:\\.|[^\]\\-]))?)+)\]").match(
                pattern, at
            )
            if found is None:
                return None
            ranges = re.findall(r"(\\.|[^\]\\-])(?:-(\\.|[^\]\\-]))?", found[2])
            body = ""
            for low, high in ranges:
                if (high or low)[-1] < low[-1]:
                    return None
                body += f"{re.escape(low[-1])}-{re.escape((high or low)[-1])}"
            out += f"[^/{body}]" if found[1] else f"(?!/)[{body}]"
            at = found.end()
        elif char == "\\":
            if at == len(pattern):
                return None
            out, at = out + re.escape(pattern[at]), at + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
    return re.compile(out, re.DOTALL)


@settings(max_examples=depth(600, 6000))
@given(patterns, st.lists(names, min_size=1, max_size=6))
def test_the_matcher_agrees_with_a_backtracking_reference(pattern, texts):
    """The greedy matcher loses no match."""
    expected = reference(pattern)
    for text in texts:
        try:
            result = matches(pattern, text)
        except UsageError:
            assert expected is None, pattern
        else:
            assert expected is not None, pattern
            assert result == (expected.fullmatch(text) is not None), (pattern, text)
