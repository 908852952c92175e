"""Go's printing of values: `%v` and its relatives (Go's fmt), and JSON as encoding/json writes it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from fleetctl.core.template.errors import Mistake


class Int64(int):
    """An int64, where Go's int is an int of Python."""


def wrapped(value: int) -> Int64:
    """64 bits, as Go counts."""
    return Int64((int(value) + 2**63) % 2**64 - 2**63)


def text_of(value: Any, *, inside: bool = False) -> str:
    """`%v`. Only at the top nil is `<no value>`, as text/template prints it."""
    if value is None:
        return "<nil>" if inside else "<no value>"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return "[" + " ".join(text_of(item, inside=True) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{text_of(value[key], inside=True)}" for key in sorted(value)) + "]"
    return str(value)


def number(value: float, big: int = 6, small: int = -4) -> str:
    """A float64 by `%v`: the shortest digits that read back, with an exponent below `small` and from `big` on."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    digits, exponent = f"{value!r}".lower(), 0
    sign = "-" if digits.startswith("-") else ""
    digits = digits.lstrip("-")
    if "e" in digits:
        digits, _, power = digits.partition("e")
        exponent = int(power)
    whole, _, rest = digits.partition(".")
    rest = rest.rstrip("0") if rest else ""
    plain = (whole + rest).lstrip("0")
    if not plain:
        return sign + "0"
    exponent += len(whole) - 1 if whole.strip("0") else -(len(rest) - len(rest.lstrip("0"))) - 1
    plain = plain.rstrip("0") or "0"
    if exponent < small or exponent >= big:
        mantissa = plain[0] + ("." + plain[1:] if len(plain) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{plain}"
    body = plain.ljust(exponent + 1, "0")
    return sign + body[: exponent + 1] + ("." + body[exponent + 1 :] if len(body) > exponent + 1 else "")


def type_of(value: Any) -> str:
    """`%T`."""
    if value is None:
        return "<nil>"
    for kind, name in ((bool, "bool"), (Int64, "int64"), (int, "int"), (float, "float64"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def kind_of(value: Any) -> str:
    """reflect.Kind."""
    if value is None:
        return "invalid"
    return "slice" if isinstance(value, list) else "map" if isinstance(value, dict) else type_of(value)


def quoted(text: str) -> str:
    """`%q`."""
    marks = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}
    found = []
    for char in text:
        if char in marks:
            found.append(marks[char])
        elif char.isprintable():
            found.append(char)
        else:
            code = ord(char)
            found.append(f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")
    return '"' + "".join(found) + '"'


_VERB = re.compile(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d*|\*))?(.)?", re.DOTALL)
_MOST = 10_000


def sprintf(form: str, args: list[Any]) -> str:
    """fmt.Sprintf, its own way of telling mistakes included."""
    left = list(args)
    used = False

    def one(match: re.Match[str]) -> str:
        nonlocal used
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        sizes = []
        for size in (width, precision):
            if size == "*":
                value = left.pop(0) if left else None
                sizes.append(value if isinstance(value, int) else None)
            else:
                sizes.append(int(size) if size else (0 if size == "" else None))
        if any(size is not None and abs(size) > _MOST for size in sizes):
            raise Mistake(f"a width beyond {_MOST}")
        if not left:
            return f"%!{verb}(MISSING)"
        return _formatted(left.pop(0), verb, flags, sizes[0], sizes[1])

    made = _VERB.sub(one, form)
    if left:
        made += "%!(EXTRA " + ", ".join(f"{type_of(a)}={text_of(a, inside=True)}" for a in left) + ")"
    return made


def _formatted(value: Any, verb: str, flags: str, width: int | None, precision: int | None) -> str:
    if verb == "T":
        return _padded(type_of(value), value, "s", flags, width, None)
    if isinstance(value, list | dict) and not (verb == "v" and "#" in flags):
        return _each(value, verb, flags, width, precision)
    text = _go_syntax(value) if verb == "v" and "#" in flags else _verb(value, verb, flags, precision)
    if text is None:
        # The mistake shows the value by %v, with the same flags.
        shown = f"{type_of(value)}={_formatted(value, 'v', flags, width, precision)}" if value is not None else "<nil>"
        return f"%!{verb}({shown})"
    return _padded(text, value, verb, flags, width, precision)


def _each(value: Any, verb: str, flags: str, width: int | None, precision: int | None) -> str:
    """A verb of a list or map is that of its items, the width too."""
    if isinstance(value, list):
        return "[" + " ".join(_item(item, verb, flags, width, precision) for item in value) + "]"
    pairs = [_item(key, verb, flags, width, precision) + ":" + _item(value[key], verb, flags, width, precision) for key in sorted(value)]
    return "map[" + " ".join(pairs) + "]"


def _item(value: Any, verb: str, flags: str, width: int | None, precision: int | None) -> str:
    if value is None:
        return _padded("<nil>", None, "s", flags, width, None)
    return _formatted(value, verb, flags, width, precision)


def _padded(text: str, value: Any, verb: str, flags: str, width: int | None, precision: int | None) -> str:
    width = width or 0
    if "-" in flags:
        return text.ljust(width)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if "0" in flags and not (is_int and precision is not None) and verb not in "cU":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        sign = text[:1] if is_number and text[:1] in "+-" else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _verb(value: Any, verb: str, flags: str, precision: int | None) -> str | None:
    """None where the verb does not fit the value."""
    if verb == "v":
        return _v(value, precision)
    if isinstance(value, str) and verb in "sqxX":
        cut = value[:precision] if precision is not None else value
        if verb in "xX":
            found = cut.encode().hex()
            return found.upper() if verb == "X" else found
        return quoted(cut) if verb == "q" else cut
    if isinstance(value, bool):
        return text_of(value) if verb == "t" else None
    if isinstance(value, int):
        return _int_verb(int(value), verb, flags, precision)
    if isinstance(value, float) and verb in "feEgGxXbF":
        return _float_verb(value, verb, flags, precision)
    return None


def _v(value: Any, precision: int | None) -> str:
    if isinstance(value, float):
        return _float_verb(value, "g", "", precision)
    if isinstance(value, int) and not isinstance(value, bool):
        return ("-" if value < 0 else "") + str(abs(int(value))).rjust(precision or 0, "0")
    return value[:precision] if isinstance(value, str) and precision is not None else text_of(value, inside=True)


def _plus(text: str, flags: str) -> str:
    if text[:1] in "+-":
        return text
    return "+" + text if "+" in flags else " " + text if " " in flags else text


def _int_verb(value: int, verb: str, flags: str, precision: int | None) -> str | None:
    if verb in "eEfFgG":
        return None
    if verb in "cqU":
        char = chr(value) if 0 <= value < 0x110000 else "\ufffd"
        shown = "'\"'" if char == '"' else "'\\''" if char == "'" else "'" + quoted(char)[1:-1] + "'"
        return {"c": char, "q": shown, "U": f"U+{value & 0xFFFFFFFFFFFFFFFF:04X}"}[verb]
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
        text = f"{mantissa.rstrip('0').rstrip('.')}p{power[0]}{power[1:].rjust(2, '0')}" if value else "0x0p+00"
    elif verb == "b":
        part, power2 = math.frexp(value)
        text = f"{int(part * 2**53)}p{power2 - 53:+d}"
    else:
        text = format(value, f".{6 if precision is None else precision}{verb}")
    return _plus(text.upper() if verb in "EGX" else text, flags)


def _go_syntax(value: Any) -> str:
    """`%#v`."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_syntax(item) for item in value) + "}"
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{quoted(k)}:{_go_syntax(value[k])}" for k in sorted(value)) + "}"
    return "interface {}(nil)" if value is None else text_of(value)


def to_json(value: Any, *, pretty: bool = False, html: bool = True) -> str:
    """encoding/json: keys sorted, < > & escaped unless `html` is False."""
    text = _json(value, "\n" if pretty else "")
    for char in "\u2028\u2029" + ("<>&" if html else ""):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _json(value: Any, line: str) -> str:
    """`line`: the line end and indentation of what stands around, "" for one line."""
    deeper = line and line + "  "
    if isinstance(value, dict):
        colon = ": " if line else ":"
        parts = [f"{deeper}{json.dumps(key, ensure_ascii=False)}{colon}{_json(value[key], deeper)}" for key in sorted(value)]
        return "{" + ",".join(parts) + (line if parts else "") + "}"
    if isinstance(value, list):
        items = [deeper + _json(item, deeper) for item in value]
        return "[" + ",".join(items) + (line if items else "") + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Mistake("a number that JSON cannot hold")
        return number(value, 21, -6).replace("e-0", "e-")
    return str(int(value)) if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
