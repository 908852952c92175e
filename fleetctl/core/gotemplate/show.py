"""Go's printing of values: `%v` and its relatives (Go's fmt), and JSON as encoding/json writes
it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from fleetctl.core.formats.go_float import number
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake


class Int64(int):
    """An int64, where Go's int is an int of Python."""


class StringList(list[str]):
    """A []string, where other lists are []interface {}. An empty one may be nil, which JSON
    shows.
    """

    is_nil = False


class StringMap(dict[str, str]):
    """A map[string]string, which functions that take a map[string]interface {} refuse."""


class NilList(list[Any]):
    """A nil []interface {}: empty everywhere, but null in JSON."""


class IntList(list[int]):
    """A []int."""


def wrap_int64(value: int) -> Int64:
    """64 bits, as Go counts."""
    return Int64((int(value) + 2**63) % 2**64 - 2**63)


def text_of(budget: TemplateBudget, value: Any, *, inside: bool = False) -> str:
    """`%v`. Only at the top nil is `<no value>`, as text/template prints it."""
    if value is None:
        return "<nil>" if inside else "<no value>"
    if isinstance(value, str):
        budget.spend(len(value))
        return value
    if isinstance(value, list | dict):
        budget.visit(1 + len(value))
        if isinstance(value, list):
            return "[" + " ".join(text_of(budget, item, inside=True) for item in value) + "]"
        return (
            "map["
            + " ".join(
                f"{_key(budget, key)}:{text_of(budget, value[key], inside=True)}"
                for key in sorted(value)
            )
            + "]"
        )
    return scalar(value)


def scalar(value: bool | int | float) -> str:
    """`%v` of a number or a bool."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else str(value)


def _key(budget: TemplateBudget, key: str) -> str:
    budget.spend(len(key))
    return key


def type_of(value: Any) -> str:
    """`%T`."""
    if value is None:
        return "<nil>"
    for kind, name in (
        (bool, "bool"),
        (Int64, "int64"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
    ):
        if isinstance(value, kind):
            return name
    if isinstance(value, list):
        return _list_type_of(value)
    return "map[string]string" if isinstance(value, StringMap) else "map[string]interface {}"


def _list_type_of(value: list[Any]) -> str:
    """The Go type of a list."""
    if isinstance(value, StringList):
        return "[]string"
    return "[]int" if isinstance(value, IntList) else "[]interface {}"


def kind_of(value: Any) -> str:
    """reflect.Kind."""
    if value is None:
        return "invalid"
    return (
        "slice" if isinstance(value, list) else "map" if isinstance(value, dict) else type_of(value)
    )


def quote(text: str) -> str:
    """`%q`."""
    marks = {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
    characters = []
    for char in text:
        if char in marks:
            characters.append(marks[char])
        elif char.isprintable():
            characters.append(char)
        else:
            code = ord(char)
            characters.append(
                f"\\x{code:02x}"
                if code < 128
                else f"\\u{code:04x}"
                if code < 65536
                else f"\\U{code:08x}"
            )
    return '"' + "".join(characters) + '"'


def to_json(budget: TemplateBudget, value: Any, *, pretty: bool = False, html: bool = True) -> str:
    """encoding/json: keys sorted, < > & escaped unless `html` is False."""
    text = _json(budget, value, "\n" if pretty else "")
    for char in "\u2028\u2029" + ("<>&" if html else ""):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _json(budget: TemplateBudget, value: Any, line: str) -> str:
    """`line`: the line end and indentation of what stands around, "" for one line."""
    deeper = line and line + "  "
    budget.visit()
    budget.spend(len(deeper))
    if isinstance(value, dict):
        colon = ": " if line else ":"
        parts = [
            f"{deeper}{_json(budget, key, '')}{colon}{_json(budget, value[key], deeper)}"
            for key in sorted(value)
        ]
        return "{" + ",".join(parts) + (line if parts else "") + "}"
    if isinstance(value, list):
        if isinstance(value, NilList) or (isinstance(value, StringList) and value.is_nil):
            return "null"
        items = [deeper + _json(budget, item, deeper) for item in value]
        return "[" + ",".join(items) + (line if items else "") + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TemplateMistake("a number that JSON cannot hold")
        return number(value, 21, -6).replace("e-0", "e-")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    budget.spend(len(value) if isinstance(value, str) else 4)
    return json.dumps(value, ensure_ascii=False)
