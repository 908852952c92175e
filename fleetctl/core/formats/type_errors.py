"""Writes msgspec's sentences about wrong types in the words that the rest of the program uses.
Pure.
"""

from __future__ import annotations

import re

_WORDS = {
    "object": "a map",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "empty",
}
_TYPES = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_REST = (
    (re.compile(r"Object missing required field `([^`]+)`"), r"the key `\1` is missing"),
    (re.compile(r"Object contains unknown field `([^`]+)`"), r"the key `\1` is unknown"),
    (re.compile(r"Invalid enum value (.+)"), r"\1 is not a valid value"),
    (re.compile(r"Expected `[^`]+` (>=|<=|>|<) (\S+)"), r"the value must be \1 \2"),
)


def describe_type_error(text: str) -> str:
    """A sentence of msgspec without its path, for example `it is a whole number, it takes a
    map`.
    """
    if types := _TYPES.fullmatch(text):
        wanted = [_WORDS.get(word, word) for word in types[1].split(" | ") if word != "null"]
        return (
            f"it is {_WORDS.get(types[2], types[2])}, it takes {' or '.join(wanted) or 'nothing'}"
        )
    for pattern, plain in _REST:
        if pattern.fullmatch(text):
            return pattern.sub(plain, text)
    return text[:1].lower() + text[1:]


def describe_with_path(text: str) -> str:
    """A whole sentence of msgspec: the path first, for example `helm.values: it is text, it takes a
    map`.
    """
    sentence, _, where = text.partition(" - at `")
    path = where.rstrip("`").removeprefix("$").removeprefix(".")
    return f"{path}: {describe_type_error(sentence)}" if path else describe_type_error(sentence)
