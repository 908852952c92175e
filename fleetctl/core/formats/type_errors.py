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
    """Rewrite a sentence of msgspec that has no path: `expected a map, got a whole number`."""
    if types := _TYPES.fullmatch(text):
        accepted_types = [
            _WORDS.get(word, word) for word in types[1].split(" | ") if word != "null"
        ]
        accepted_text = " or ".join(accepted_types) or "nothing"
        return f"expected {accepted_text}, got {_WORDS.get(types[2], types[2])}"
    for pattern, plain in _REST:
        if pattern.fullmatch(text):
            return pattern.sub(plain, text)
    return text[:1].lower() + text[1:]


def describe_with_path(text: str) -> str:
    """Rewrite a sentence of msgspec, path first: `helm.values: expected a map, got text`."""
    sentence, _, location = text.partition(" - at `")
    path = location.rstrip("`").removeprefix("$").removeprefix(".")
    return f"{path}: {describe_type_error(sentence)}" if path else describe_type_error(sentence)
