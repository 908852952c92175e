"""A template's text as tokens (the words of Go's text/template)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

from fleetctl.core.model.errors import TemplateError


class TemplateToken(NamedTuple):
    """`kind`: text, open, close, space, field, variable, word, number, char, string, raw, or the
    sign itself. `at`: offset in the text.
    """

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:\\.|[^"\\\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:\\.|[^'\\\n])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>:=|=|\||\(|\)|,|\.)""",
    re.VERBOSE,
)


def tokens(text: str, delims: tuple[str, str]) -> Iterator[TemplateToken]:
    """Raises TemplateError."""
    left, right = delims
    at = 0
    trim = False
    while True:
        start = text.find(left, at)
        piece = text[at:] if start < 0 else text[at:start]
        behind = start + len(left)
        trims_before = (
            start >= 0
            and text[behind : behind + 1] == "-"
            and text[behind + 1 : behind + 2].isspace()
        )
        piece = piece.lstrip(" \t\r\n") if trim else piece
        piece = piece.rstrip(" \t\r\n") if trims_before else piece
        if piece:
            yield TemplateToken("text", piece, at)
        if start < 0:
            return
        inner = behind + (2 if trims_before else 0)
        comment = _comment(text, inner, right, start)
        if comment:
            at, trim = comment
            continue
        yield TemplateToken("open", left, start)
        at, trim = yield from _action(text, inner, right, start)


def _comment(text: str, at: int, right: str, start: int) -> tuple[int, bool] | None:
    """Where a comment ends and whether it trims what follows, or None."""
    if not text.startswith("/*", at):
        return None
    end = text.find("*/", at)
    if end < 0:
        raise place(text, start, "unclosed comment")
    for closing, trims in ((right, False), (" -" + right, True)):
        if text.startswith(closing, end + 2):
            return end + 2 + len(closing), trims
    raise place(text, start, "comment ends before closing delimiter")


def _action(
    text: str, at: int, right: str, start: int
) -> Generator[TemplateToken, None, tuple[int, bool]]:
    """The words of one action; returns where the text goes on, and whether its spaces are
    trimmed.
    """
    depth = 0
    while True:
        trims = at < len(text) and text[at].isspace() and text.startswith("-" + right, at + 1)
        if trims or text.startswith(right, at):
            if depth:
                raise place(text, start, "unclosed left paren")
            yield TemplateToken("close", right, at)
            return at + len(right) + (2 if trims else 0), trims
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _strange(text, at, start)
        # ` -}` belongs to the end: only the space before it is taken.
        end = match.end()
        if match.lastgroup == "space":
            while end - at > 1 and text.startswith("-" + right, end):
                end -= 1
        piece = text[at:end]
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            raise place(text, start, "unexpected right paren")
        yield TemplateToken(piece if match.lastgroup == "sign" else match.lastgroup, piece, at)
        at = end


def _strange(text: str, at: int, start: int) -> TemplateError:
    if at >= len(text):
        return place(text, start, "unclosed action")
    if text[at] in "\"'`":
        return place(text, start, "unterminated quoted text")
    return place(text, start, f"unexpected {text[at]!r}")


def place(text: str, at: int, problem: str, next_step: str = "") -> TemplateError:
    """The error at the offset `at`, with what stands there."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    ends = [end for end in (text.find("}", at), text.find("\n", at)) if end >= 0]
    piece = " ".join(text[at : min(ends, default=len(text)) + 1].split())
    excerpt = piece if len(piece) <= 80 else piece[:77] + "..."
    return TemplateError(problem, line=line, column=column, action=excerpt, next_step=next_step)
