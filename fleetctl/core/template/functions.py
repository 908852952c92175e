"""The functions of a template: Go's own and sprig's, each with the types of its arguments.

Left out, as in Fleet: env, expandenv, include, tpl, getHostByName. Left out here as well, and said so: whatever gives another value each
time (now, random texts, keys, certificates), because a cluster's values would never come to rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fleetctl.core.template.errors import Limits, Mistake
from fleetctl.core.template.show import Int64, text_of, type_of


class Untyped(NamedTuple):
    """A number written in the template: it fits an int and, if whole or not, a float."""

    value: Any


# One letter a parameter: a anything, s text, i int, f float64, b bool, l list, d map; a `*` makes the last one repeat.
_NAMES = {"s": "string", "i": "int", "f": "float64", "b": "bool", "l": "[]interface {}", "d": "map[string]interface {}"}


class Function:
    def __init__(self, form: str, call: Callable[..., Any], *, limits: bool = False) -> None:
        self._form, self._call, self._limits = form.rstrip("*"), call, limits
        self._repeats = form.endswith("*")

    def __call__(self, name: str, values: Sequence[Any], limits: Limits) -> Any:
        """Raises Mistake."""
        least = len(self._form) - self._repeats
        if len(values) < least or (len(values) > len(self._form) and not self._repeats):
            want = f"at least {least}" if self._repeats else str(least)
            raise Mistake(f"wrong number of args for {name}: want {want} got {len(values)}")
        form = self._form.ljust(len(values), self._form[-1:])
        given = [_given(name, letter, value) for letter, value in zip(form, values, strict=False)]
        try:
            return self._call(limits, *given) if self._limits else self._call(*given)
        except Mistake as why:
            raise Mistake(f"{name}: {why.problem}", why.next_step) from why
        except (ValueError, OverflowError, IndexError, KeyError, TypeError, ZeroDivisionError, AttributeError) as why:
            raise Mistake(f"{name}: {_one_line(why)}") from why


def _one_line(why: Exception) -> str:
    return " ".join(str(why).split())[:200] or type(why).__name__


def _given(name: str, letter: str, value: Any) -> Any:
    if isinstance(value, Untyped):
        return _constant(name, letter, value.value)
    fits = {
        "a": True,
        "s": isinstance(value, str),
        "i": isinstance(value, int) and not isinstance(value, bool | Int64),
        "f": isinstance(value, float),
        "b": isinstance(value, bool),
        "l": isinstance(value, list),
        "d": isinstance(value, dict),
    }
    if fits[letter]:
        return value
    if value is None and letter in "ld":
        return [] if letter == "l" else {}
    got = "nil" if value is None else type_of(value)
    raise Mistake(f"{name}: wrong type for value; expected {_NAMES[letter]}; got {got}")


def _constant(name: str, letter: str, value: Any) -> Any:
    if letter == "a":
        return value
    if letter == "f":
        return float(value)
    if letter == "i" and float(value).is_integer():
        return int(value)
    raise Mistake(f"{name}: expected {'integer' if letter == 'i' else _NAMES[letter]}; found {text_of(value)}")


def truth(value: Any) -> bool:
    """Go's template.IsTrue."""
    return bool(value)


_OTHER_EACH_TIME = frozenset(
    {"now", "ago", "shuffle", "uuidv4", "bcrypt", "htpasswd", "derivePassword", "encryptAES", "decryptAES", "buildCustomCert"}
    | {f"rand{what}" for what in ("AlphaNum", "Alpha", "Ascii", "Numeric", "Bytes", "Int")}
    | {
        f"gen{what}"
        for what in ("PrivateKey", "CA", "CAWithKey", "SelfSignedCert", "SelfSignedCertWithKey", "SignedCert", "SignedCertWithKey")
    }
)
_FORBIDDEN = frozenset({"env", "expandenv", "include", "tpl", "getHostByName"})
_OF_HELM = {"toYaml": "toJson", "fromYaml": "fromJson", "required": "fail", "lookup": "", "toToml": "toJson"}
_DATES = frozenset(
    {"date", "dateInZone", "date_in_zone", "dateModify", "date_modify", "mustDateModify", "must_date_modify", "htmlDate", "htmlDateInZone"}
    | {"toDate", "mustToDate", "unixEpoch", "duration", "durationRound"}
)


def find(name: str) -> Function:
    """Raises Mistake with what to do instead."""
    table = _table()
    if name in table:
        return table[name]
    if name in _OTHER_EACH_TIME:
        raise Mistake(f"{name} would give another value each time", "Write the value down, or let the chart's own templates make it.")
    if name in _FORBIDDEN:
        raise Mistake(f"function {name!r} is not allowed here", "Use the cluster's labels, annotations or templateValues.")
    if name in _DATES:
        raise Mistake(f"{name} is not known in this version", "Write the text of the date.")
    near = _OF_HELM.get(name) or nearest(name, [*table, "and", "or"])
    raise Mistake(f'function "{name}" not defined', f"Did you mean {near}?" if near else "See sprig's functions.")


def nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, 1)
    return found[0] if found else ""


_TABLE: dict[str, Function] = {}


def _table() -> dict[str, Function]:
    if not _TABLE:
        from fleetctl.core.template import comparing, containers, numbers, strings

        for module in (strings, numbers, containers, comparing):
            _TABLE.update(module.FUNCTIONS)
    return _TABLE
