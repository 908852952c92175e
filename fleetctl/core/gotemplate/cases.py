"""Changes between snake, kebab, camel and swapped case, as sprig does with xstrings and goutils.

A text is a row of words: runs of capitals, lower-case letters (with one capital before them),
digits, connectors (`-`, `_`, white space) and punctuation. Between two words stands the connector,
with two exceptions: a number belongs to the word before it (`Bld4Floor` is `bld4_floor`), unless
lower-case letters follow it (`http2xx` is `http_2xx`). Connectors and punctuation stay where they
are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from typing import NamedTuple


class _CaseKind(Enum):
    CAPITALS = "capitals"  # also one capital and the lower-case letters after it
    LETTERS = "letters"
    NUMBER = "number"
    CONNECTOR = "connector"
    PUNCTUATION = "punctuation"
    OTHER = "other"


class _Word(NamedTuple):
    kind: _CaseKind
    text: str


_BREAKS = (_CaseKind.CONNECTOR, _CaseKind.PUNCTUATION)
_AFTER_NUMBER = (_CaseKind.LETTERS, _CaseKind.NUMBER)


def separate(text: str, connector: str) -> str:
    """The text in lower case with `connector` between its words: snake case or kebab case."""
    words = _words(text)
    parts: list[str] = []
    position = 0
    while position < len(words) - 1:
        word = words[position]
        parts.append(_lower(word, connector))
        position += 1
        if word.kind in _BREAKS:
            continue
        number = words[position]
        if word.kind is not _CaseKind.NUMBER and number.kind is _CaseKind.NUMBER:
            position += 1
            if position == len(words):
                parts.append(number.text)
                break
            if words[position].kind is not _CaseKind.LETTERS:
                parts.append(number.text)
            else:
                parts += [connector, number.text]
                position = _take_letters(words, position, parts)
        elif word.kind is _CaseKind.NUMBER:
            position = _take_letters(words, position, parts)
        if position < len(words) and words[position].kind not in _BREAKS:
            parts.append(connector)
    return "".join(parts + [_lower(word, connector) for word in words[position:]])


def camel(text: str) -> str:
    """The text without connectors between words; each word begins with one capital: `HttpServer`.

    Connectors at the ends stay, and of several connectors between words all but the last.
    """
    runs = ["".join(group) for _, group in groupby(text, _is_connector)]
    if len(runs) == 1 and _is_connector(text[0]):
        return text + text[-1]
    last = len(runs) - 1
    parts = []
    for position, word in enumerate(runs):
        if not _is_connector(word[0]):
            parts.append(_capitalize(word))
        else:
            parts.append(word if position in {0, last} else word[:-1])
    return "".join(parts)


def _capitalize(word: str) -> str:
    """`word` with a capital; more capitals after it become lower-case letters."""
    end = next((at for at, char in enumerate(word) if not char.isupper()), len(word))
    return simple_upper(word[0]) + word[1:end].lower() + word[max(1, end) :]


def swap_case(text: str) -> str:
    """Capitals for lower-case letters and the other way round; `ß` has no capital in Go.

    A word that begins with a digraph gets the title form, as in goutils: `ǆ` becomes `ǅ`.
    """
    parts = []
    starts_word = True
    for char in text:
        if char.isupper() or char.istitle():
            parts.append(char.lower() if len(char.lower()) == 1 else char)
        elif char.islower():
            title = char.title()
            parts.append(title if starts_word and len(title) == 1 else simple_upper(char))
        else:
            parts.append(char)
        starts_word = char.isspace()
    return "".join(parts)


def simple_upper(char: str) -> str:
    """Go's unicode.ToUpper, which maps one character to one."""
    upper = char.upper()
    return upper if len(upper) == 1 else char


def _take_letters(words: list[_Word], position: int, parts: list[str]) -> int:
    """Adds the letters and numbers that belong to a number. Returns the position after them."""
    while position < len(words) and words[position].kind in _AFTER_NUMBER:
        parts.append(words[position].text)
        position += 1
    return position


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    for kind, characters in _runs(text):
        if kind is _CaseKind.LETTERS and words and words[-1].kind is _CaseKind.CAPITALS:
            capitals = words.pop().text
            if len(capitals) > 1:
                words.append(_Word(_CaseKind.CAPITALS, capitals[:-1]))
            words.append(_Word(_CaseKind.CAPITALS, capitals[-1] + characters))
        else:
            words.append(_Word(kind, characters))
    return words


def _runs(text: str) -> Iterator[tuple[_CaseKind, str]]:
    """Characters of one kind after each other; `-` and `_` after punctuation are part of it."""
    kinds: list[_CaseKind] = []
    for char in text:
        continues = char in "-_" and kinds and kinds[-1] is _CaseKind.PUNCTUATION
        kinds.append(_CaseKind.PUNCTUATION if continues else _kind_of(char))
    for kind, group in groupby(zip(kinds, text, strict=True), lambda pair: pair[0]):
        yield kind, "".join(char for _, char in group)


def _kind_of(char: str) -> _CaseKind:
    if _is_connector(char):
        return _CaseKind.CONNECTOR
    category = unicodedata.category(char)
    if category == "Lu":
        return _CaseKind.CAPITALS
    kinds = {"P": _CaseKind.PUNCTUATION, "L": _CaseKind.LETTERS, "N": _CaseKind.NUMBER}
    return kinds.get(category[0], _CaseKind.OTHER)


def _is_connector(char: str) -> bool:
    return char in "-_" or char.isspace()


def _lower(word: _Word, connector: str) -> str:
    if word.kind is _CaseKind.CONNECTOR:
        return connector * len(word.text)
    return word.text.lower() if word.kind is _CaseKind.CAPITALS else word.text
