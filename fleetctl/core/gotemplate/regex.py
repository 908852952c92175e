"""The regular expressions of templates: Go's (fleetctl/core/formats/regex.py), with the budget of
the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleetctl.core.formats.regex import InvalidRegex, Regex, Span, compile_regex
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake

_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
# Instructions and bytes of one search that cost as much as one character. The slowest engine of RE2
# takes 10 ns for each.
_SCANNED_BYTES, _AHEAD = 32, 128


def compile_pattern(pattern: str) -> Regex:
    """Raises Mistake."""
    try:
        return compile_regex(pattern)
    except InvalidRegex as error:
        raise TemplateMistake(str(error)) from error


def is_match(budget: TemplateBudget, pattern: str, text: str) -> bool:
    return _search(budget, compile_pattern(pattern), text.encode()) is not None


def find(budget: TemplateBudget, pattern: str, text: str) -> str:
    """The first match, "" for none."""
    data = text.encode()
    spans = _search(budget, compile_pattern(pattern), data)
    return _slice(data, spans[0]) if spans else ""


def find_all(budget: TemplateBudget, pattern: str, text: str, count: int) -> list[str]:
    """All matches; at most `count` of them unless it is negative."""
    data = text.encode()
    parts: list[str] = []
    for spans in _matches(budget, compile_pattern(pattern), data):
        if 0 <= count <= len(parts):
            break
        parts.append(_slice(data, spans[0]))
        budget.fits_items(len(parts))
    return parts


def split(budget: TemplateBudget, pattern: str, text: str, count: int) -> list[str]:
    """Go's Regexp.Split: at most `count` parts unless it is negative, the last one unsplit."""
    if count == 0:
        return []
    data = text.encode()
    if pattern and not data:
        return [""]
    parts: list[str] = []
    start = end = 0
    for spans in _matches(budget, compile_pattern(pattern), data):
        if 0 < count <= len(parts) + 1:
            break
        end, after = spans[0]
        if after:
            parts.append(_slice(data, (start, end)))
            budget.fits_items(len(parts))
        start = after
    return [*parts, _slice(data, (start, len(data)))] if end != len(data) else parts


def replace_all(
    budget: TemplateBudget, pattern: str, text: str, replacement: str, *, literal: bool = False
) -> str:
    """Every match replaced. Unless `literal`, `$1`, `${name}` and `$$` in the replacement are
    expanded; an unknown group is empty.
    """
    regex = compile_pattern(pattern)
    data = text.encode()
    pieces = [replacement.encode()] if literal else _pieces(regex, replacement)
    parts: list[bytes] = []
    start = size = 0
    for spans in _matches(budget, regex, data):
        begin, after = spans[0]
        budget.spend(len(pieces))
        new = [
            data[start:begin],
            *(
                piece if isinstance(piece, bytes) else _group(data, spans, piece)
                for piece in pieces
            ),
        ]
        size += sum(map(len, new))
        budget.fits(size)
        parts += new
        start = after
    return b"".join([*parts, data[start:]]).decode("utf-8", "replace")


def _pieces(regex: Regex, replacement: str) -> list[bytes | int]:
    """The replacement as literal bytes and numbers of groups; -1 is a group that does not exist."""
    pieces: list[bytes | int] = []
    start = 0
    for match in _REFERENCE.finditer(replacement):
        pieces.append(replacement[start : match.start()].encode())
        name = match[1] or match[2]
        if name is None:
            pieces.append(b"$")
        else:
            pieces.append(
                int(name)
                if name.isascii() and name.isdigit() and len(name) < 5
                else regex.groups.get(name, -1)
            )
        start = match.end()
    return [piece for piece in (*pieces, replacement[start:].encode()) if piece != b""]


def _group(data: bytes, spans: list[Span], number: int) -> bytes:
    begin, end = spans[number] if 0 <= number < len(spans) else (-1, -1)
    return data[begin:end] if begin >= 0 else b""


def _search(budget: TemplateBudget, regex: Regex, data: bytes) -> list[Span] | None:
    budget.spend(len(data) * regex.size // _SCANNED_BYTES)
    return regex.search(data)


def _matches(budget: TemplateBudget, regex: Regex, data: bytes) -> Iterator[list[Span]]:
    """The budget pays for what a match has passed, and in part for the rest, which the search may
    have read to decide.
    """
    budget.spend(len(data) * regex.size // _SCANNED_BYTES)
    for position, spans in regex.matches(data):
        skipped_bytes, ahead = spans[0][1] - position, len(data) - position
        budget.spend(
            1 + skipped_bytes * regex.size // _SCANNED_BYTES + ahead * regex.size // _AHEAD
        )
        yield spans


def _slice(data: bytes, span: Span) -> str:
    return data[span[0] : span[1]].decode("utf-8", "replace")
