"""How a template calls a function: the number and the types of what it is given, as Go checks
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.show import Int64, StringMap, type_of


class Untyped(NamedTuple):
    """A number written in the template: it fits an int and, if whole or not, a float."""

    value: Any


# One letter a parameter: a anything, n anything that is read as a number, s text, i int, f float64,
# b bool, l list, d map; a `*` makes the last one repeat.
_NAMES = {
    "s": "string",
    "i": "int",
    "f": "float64",
    "b": "bool",
    "l": "[]interface {}",
    "d": "map[string]interface {}",
}


class Function:
    """A function of templates. With `budget` the call gets the Budget first: one that walks over
    values, or makes much of little.
    """

    def __init__(self, form: str, call: Callable[..., Any], *, budget: bool = False) -> None:
        self._form, self._call, self._takes_budget = form.rstrip("*"), call, budget
        self._repeats = form.endswith("*")

    def __call__(self, name: str, values: Sequence[Any], budget: TemplateBudget) -> Any:
        """Call with `values`; the budget pays for texts, lists and maps that go in and for a result
        that is new. Raises Mistake.
        """
        least = len(self._form) - self._repeats
        if len(values) < least or (len(values) > len(self._form) and not self._repeats):
            want = f"at least {least}" if self._repeats else str(least)
            raise TemplateMistake(f"wrong number of args for {name}: want {want} got {len(values)}")
        form = self._form.ljust(len(values), self._form[-1:])
        args = [_convert(name, letter, value) for letter, value in zip(form, values, strict=False)]
        budget.spend(
            sum(len(arg) for letter, arg in zip(form, args, strict=False) if _is_read(letter, arg))
        )
        try:
            result = self._call(budget, *args) if self._takes_budget else self._call(*args)
            if not any(result is arg for arg in args):
                budget.produce(result)
            return result
        except TemplateMistake as error:
            raise TemplateMistake(f"{name}: {error.problem}", error.next_step) from error
        except (
            ValueError,
            OverflowError,
            IndexError,
            KeyError,
            TypeError,
            ZeroDivisionError,
            AttributeError,
        ) as error:
            raise TemplateMistake(f"{name}: {_one_line(error)}") from error


def _is_read(letter: str, value: Any) -> bool:
    """Whether a call may look at each character or item of the value. A text is read as a number
    even where it is none.
    """
    return letter in "sld" or (letter == "n" and isinstance(value, str))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _convert(name: str, letter: str, value: Any) -> Any:
    if isinstance(value, Untyped):
        return _constant(name, letter, value.value)
    fits = {
        "a": True,
        "n": True,
        "s": isinstance(value, str),
        "i": isinstance(value, int) and not isinstance(value, bool | Int64),
        "f": isinstance(value, float),
        "b": isinstance(value, bool),
        "l": isinstance(value, list),
        "d": isinstance(value, dict) and not isinstance(value, StringMap),
    }
    if fits[letter]:
        return value
    type_name = "nil" if value is None else type_of(value)
    raise TemplateMistake(
        f"{name}: wrong type for value; expected {_NAMES[letter]}; got {type_name}"
    )


def _constant(name: str, letter: str, value: Any) -> Any:
    if letter in "an":
        return value
    if letter == "f":
        return float(value)
    if letter == "i" and float(value).is_integer():
        return int(value)
    raise TemplateMistake(
        f"{name}: expected {'integer' if letter == 'i' else _NAMES[letter]}; found {value}"
    )


def truth(value: Any) -> bool:
    """Go's template.IsTrue."""
    return bool(value)
