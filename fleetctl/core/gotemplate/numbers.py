"""Numbers: sprig's arithmetic, which casts what it is given, and counting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

from fleetctl.core.formats.go_float import number
from fleetctl.core.gotemplate.calling import Function
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.show import Int64, IntList, wrap_int64

_DIGITS = 1_400  # float64 values have at most 309 digits before and 1,074 after the point
_SMALLEST_QUOTIENT = Decimal("1e-16")


def to_int64(value: Any) -> Int64:
    """spf13/cast: what is no number is 0; texts may be decimal, 0x, 0b or octal."""
    if isinstance(value, bool):
        return Int64(value)
    if isinstance(value, int):
        return wrap_int64(value)
    if isinstance(value, float):
        if not -(2.0**63) <= value < 2.0**63:
            raise TemplateMistake(
                "the number does not fit into 64 bits"
            )  # Go's result depends on the CPU
        return Int64(value)
    return _parse(value) if isinstance(value, str) else Int64(0)


def _parse(text: str) -> Int64:
    bare = re.sub(r"\.0*$", "", text)
    try:
        value = int(bare, 8 if re.fullmatch(r"[+-]?0\d+", bare) else 0)
    except ValueError:
        return Int64(0)
    return Int64(value) if -(2**63) <= value < 2**63 and bare == bare.strip() else Int64(0)


def to_float64(value: Any) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        is_plain = isinstance(value, str) and value == value.strip() and value.isascii()
        return float(value) if is_plain else 0.0
    except ValueError:
        return 0.0


def _atoi(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**63 else 0


def _to_decimal(value: Any) -> Int64:
    is_padded = isinstance(value, str) and value != value.strip()
    if is_padded or not isinstance(value, str | int | float):
        return Int64(0)
    try:
        return Int64(int(number(value) if isinstance(value, float) else str(value), 8))
    except ValueError:
        return Int64(0)


def _sum(*values: Any) -> Int64:
    return wrap_int64(sum(to_int64(v) for v in values))


def _product(first: Any, *values: Any) -> Int64:
    product = int(to_int64(first))
    for value in values:
        product = int(wrap_int64(product * to_int64(value)))
    return Int64(product)


def _div(left: Any, right: Any) -> Int64:
    a, b = to_int64(left), to_int64(right)
    if b == 0:
        raise TemplateMistake("integer divide by zero")
    return wrap_int64(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _mod(left: Any, right: Any) -> Int64:
    a, b = to_int64(left), to_int64(right)
    if b == 0:
        raise TemplateMistake("integer divide by zero")
    return Int64(abs(a) % abs(b) * (-1 if a < 0 else 1))


def _decimals(step: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., float]:
    def call(first: Any, *values: Any) -> float:
        with localcontext(prec=_DIGITS):
            total = _decimal(first)
            for value in values:
                try:
                    total = step(total, _decimal(value))
                except (InvalidOperation, ZeroDivisionError) as error:
                    raise TemplateMistake("division by 0") from error
            return float(total) + 0.0

    return call


def _quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Rounded to 16 decimal places, as sprig's decimal library does."""
    return (dividend / divisor).quantize(_SMALLEST_QUOTIENT, ROUND_HALF_UP)


def _decimal(value: Any) -> Decimal:
    number = to_float64(value)
    return Decimal(repr(number)) if math.isfinite(number) else Decimal(0)


def _round(value: Any, places: int, *options: Any) -> float:
    """Half up from 0.5, or from the threshold that is given (Masterminds/sprig `round`)."""
    edge = to_float64(options[0]) if options else 0.5
    power = math.pow(10, places)
    digit = power * to_float64(value)
    whole = math.trunc(digit)
    rest = digit - whole
    return (math.ceil(digit) if rest >= edge else math.floor(digit)) / power


def _until_step(budget: TemplateBudget, start: int, stop: int, step: int) -> IntList:
    if step == 0 or (step > 0) != (stop > start):
        return IntList()
    numbers = range(start, stop, step)
    budget.fits_items(len(numbers))
    return IntList(numbers)


def _until(budget: TemplateBudget, count: int) -> IntList:
    return _until_step(budget, 0, count, -1 if count < 0 else 1)


def _seq(budget: TemplateBudget, *values: int) -> str:
    if not values or len(values) > 3:
        return ""
    start, step, stop = (
        (1, 1, values[0])
        if len(values) == 1
        else (values[0], 1, values[1])
        if len(values) == 2
        else values
    )
    if len(values) < 3 and stop < start:
        step = -1
    elif len(values) == 3 and ((step > 0) != (stop >= start) or step == 0):
        return ""
    return " ".join(
        map(
            str,
            _until_step(budget, start, stop + (1 if step > 0 else -1), step)
            or ([start] if start == stop else []),
        )
    )


FUNCTIONS: dict[str, Function] = {
    "atoi": Function("s", _atoi),
    "int": Function("n", lambda value: int(to_int64(value))),
    "int64": Function("n", to_int64),
    "float64": Function("n", to_float64),
    "toDecimal": Function("n", _to_decimal),
    "add": Function("n*", _sum),
    "add1": Function("n", lambda value: wrap_int64(to_int64(value) + 1)),
    "sub": Function("nn", lambda a, b: wrap_int64(to_int64(a) - to_int64(b))),
    "div": Function("nn", _div),
    "mod": Function("nn", _mod),
    "mul": Function("nn*", _product),
    **{
        name: Function("nn*", lambda *values: max(map(to_int64, values)))
        for name in ("max", "biggest")
    },
    "min": Function("nn*", lambda *values: min(map(to_int64, values))),
    "maxf": Function("nn*", lambda *values: max(map(to_float64, values))),
    "minf": Function("nn*", lambda *values: min(map(to_float64, values))),
    "add1f": Function("n", lambda value: _decimals(lambda a, b: a + b)(value, 1)),
    "addf": Function("n*", lambda *values: _decimals(lambda a, b: a + b)(0, *values)),
    "subf": Function("nn*", _decimals(lambda a, b: a - b)),
    "divf": Function("nn*", _decimals(_quotient)),
    "mulf": Function("nn*", _decimals(lambda a, b: a * b)),
    "ceil": Function("n", lambda value: float(math.ceil(to_float64(value)))),
    "floor": Function("n", lambda value: float(math.floor(to_float64(value)))),
    "round": Function("nia*", _round),
    "until": Function("i", _until, budget=True),
    "untilStep": Function("iii", _until_step, budget=True),
    "seq": Function("i*", _seq, budget=True),
}
