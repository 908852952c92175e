"""fmt.Sprintf: the verbs of Go's fmt for the values of a template."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from fleetctl.core.formats.go_float import number
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.show import quote, scalar, text_of, type_of

_VERB = re.compile(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d*|\*))?(.)?", re.DOTALL)
_INDEXED_VERB = re.compile(r"(?<!%)(?:%%)*%[-+# 0]*(?:\d+|\*)?(?:\.(?:\d*|\*))?\[")
_MAX_WIDTH = 10_000


def sprintf(budget: TemplateBudget, form: str, args: list[Any]) -> str:
    """fmt.Sprintf, its own way of telling mistakes included."""
    _refuse_indexes(form)
    remaining = list(args)
    size = len(form)

    def format_verb(match: re.Match[str]) -> str:
        nonlocal size
        text = verb_of(match)
        size += len(text)
        budget.fits(size)
        return text

    def verb_of(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        sizes = []
        for size in (width, precision):
            if size == "*":
                value = remaining.pop(0) if remaining else None
                sizes.append(value if isinstance(value, int) else None)
            else:
                sizes.append(int(size) if size else (0 if size == "" else None))
        if any(size is not None and abs(size) > _MAX_WIDTH for size in sizes):
            raise TemplateMistake(f"a width beyond {_MAX_WIDTH}")
        if not remaining:
            return f"%!{verb}(MISSING)"
        return _Verb(budget, verb, flags, sizes[0], sizes[1]).text(remaining.pop(0))

    text = _VERB.sub(format_verb, form)
    if remaining:
        text += (
            "%!(EXTRA "
            + ", ".join(f"{type_of(a)}={text_of(budget, a, inside=True)}" for a in remaining)
            + ")"
        )
    return text


def _refuse_indexes(form: str) -> None:
    if _INDEXED_VERB.search(form):
        step = "Give the arguments in the order of the verbs."
        raise TemplateMistake("argument indexes such as %[1]d are not supported", step)


class _Verb(NamedTuple):
    """One verb with its flags; `width` and `precision` are None where the format states none."""

    budget: TemplateBudget
    verb: str
    flags: str
    width: int | None
    precision: int | None

    def text(self, value: Any) -> str:
        verb = self.verb
        # Before anything is built: the width and the precision hold for each item of a list.
        self.budget.visit()
        self.budget.spend(abs(self.width or 0) + abs(self.precision or 0))
        if verb == "p" and isinstance(value, list | dict):
            raise TemplateMistake("%p prints an address of memory", "Use another verb.")
        if verb == "T":
            return self._pad(type_of(value), None)
        go_syntax = verb == "v" and "#" in self.flags
        if isinstance(value, list | dict) and not go_syntax:
            return self._format_each(value)
        go_syntax = go_syntax and value is not None  # `<nil>` here, and with its type inside a list
        text = _go_syntax(self.budget, value) if go_syntax else self._plain(value)
        if text is None:
            # The mistake shows the value by %v, with the same flags.
            result = (
                f"{type_of(value)}={self._replace(verb='v').text(value)}"
                if value is not None
                else "<nil>"
            )
            return f"%!{verb}({result})"
        return self._pad(text, value)

    def _format_each(self, value: Any) -> str:
        """A verb of a list or map is that of its items, the width too."""
        if isinstance(value, list):
            return "[" + " ".join(self._item(item) for item in value) + "]"
        return (
            "map["
            + " ".join(self._item(key) + ":" + self._item(value[key]) for key in sorted(value))
            + "]"
        )

    def _item(self, value: Any) -> str:
        if value is None:
            return self._pad("<nil>", None)
        return self.text(value)

    def _pad(self, text: str, value: Any) -> str:
        width, flags = self.width or 0, self.flags
        if "-" in flags:
            return text.ljust(width)
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if "0" in flags and not (is_int and self.precision is not None) and self.verb not in "cU":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            sign = text[:1] if is_number and text[:1] in "+-" else ""
            return sign + text[len(sign) :].rjust(width - len(sign), "0")
        return text.rjust(width)

    def _plain(self, value: Any) -> str | None:
        """None where the verb does not fit the value."""
        verb, precision = self.verb, self.precision
        if verb == "v":
            return self._v(value)
        if isinstance(value, str) and verb in "sqxX":
            return self._string(value)
        if isinstance(value, bool):
            return scalar(value) if verb == "t" else None
        if isinstance(value, int):
            return _int_verb(int(value), verb, self.flags, precision)
        if isinstance(value, float) and verb in "feEgGxXbF":
            return _float_verb(value, verb, self.flags, precision)
        return None

    def _v(self, value: Any) -> str:
        if isinstance(value, float):
            return _float_verb(value, "g", "", self.precision)
        if isinstance(value, int) and not isinstance(value, bool):
            return ("-" if value < 0 else "") + str(abs(int(value))).rjust(self.precision or 0, "0")
        text = text_of(self.budget, value, inside=True)
        return (
            text[: self.precision]
            if isinstance(value, str) and self.precision is not None
            else text
        )

    def _string(self, value: str) -> str:
        prefix = value[: self.precision] if self.precision is not None else value
        self.budget.spend(len(prefix))
        if self.verb in "xX":
            digits = ("0x" if "#" in self.flags and prefix else "") + prefix.encode().hex()
            return digits.upper() if self.verb == "X" else digits
        return quote(prefix) if self.verb == "q" else prefix


def _plus(text: str, flags: str) -> str:
    if text[:1] in "+-":
        return text
    return "+" + text if "+" in flags else " " + text if " " in flags else text


def _int_verb(value: int, verb: str, flags: str, precision: int | None) -> str | None:
    if verb in "eEfFgG":
        return None
    if verb in "cqU":
        char = chr(value) if 0 <= value < 0x110000 else "\ufffd"
        result = (
            "'\"'" if char == '"' else "'\\''" if char == "'" else "'" + quote(char)[1:-1] + "'"
        )
        return {"c": char, "q": result, "U": f"U+{value & 0xFFFFFFFFFFFFFFFF:04X}"}[verb]
    form = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}.get(verb)
    if form is None:
        return None
    digits = format(abs(value), form).rjust(precision or 0, "0")
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return _plus(("-" if value < 0 else "") + prefix + digits, flags)


def _float_verb(value: float, verb: str, flags: str, precision: int | None) -> str:
    if verb in "gG":
        text = number(value) if precision is None else format(value, f".{precision or 1}g")
    elif verb in "xX":
        mantissa, _, power = value.hex().partition("p")
        text = (
            f"{mantissa.rstrip('0').rstrip('.')}p{power[0]}{power[1:].rjust(2, '0')}"
            if value
            else "0x0p+00"
        )
    elif verb == "b":
        part, power2 = math.frexp(value)
        text = f"{int(part * 2**53)}p{power2 - 53:+d}"
    else:
        text = format(value, f".{6 if precision is None else precision}{verb}")
    return _plus(text.upper() if verb in "EGX" else text, flags)


def _go_syntax(budget: TemplateBudget, value: Any) -> str:
    """`%#v`."""
    if isinstance(value, str):
        budget.spend(len(value))
        return quote(value)
    if isinstance(value, list | dict):
        budget.visit(1 + len(value))
        if isinstance(value, list):
            return (
                type_of(value) + "{" + ", ".join(_go_syntax(budget, item) for item in value) + "}"
            )
        pairs = (
            f"{_go_syntax(budget, key)}:{_go_syntax(budget, value[key])}" for key in sorted(value)
        )
        return type_of(value) + "{" + ", ".join(pairs) + "}"
    return "interface {}(nil)" if value is None else scalar(value)
