"""The errors of templates, and the limits of their work."""

from __future__ import annotations

from typing import Any

import msgspec


class TemplateMistake(Exception):
    """A problem whose place is not known yet."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem)
        self.problem, self.next_step = problem, next_step


class TemplateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`steps`: evaluations; `size`: characters of one text and of the output; `items`: of one list;
    `depth`: of templates in templates; `work`: of a `Budget`.
    """

    steps: int = 100_000
    size: int = 1024 * 1024
    items: int = 50_000
    depth: int = 50
    work: int = 20_000_000


DEFAULT_LIMITS = TemplateLimits()
_ITEM = 16  # an item of a list or map needs as much memory as so many characters,
_VISIT = 32  # and a look at a value as much time


class TemplateBudget:
    """Counts what templates read and produce: each character once, each item of a list or map as 16
    characters.

    Steps do not bound the work: one call can produce a gigabyte, and a list that is doubled 40
    times prints as a billion items. Every function and every walk over a value spends before it
    works. One budget may serve several templates. Raises Mistake.
    """

    def __init__(self, limits: TemplateLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._rest = limits.work

    def spend(self, amount: int) -> None:
        self._rest -= amount
        if self._rest < 0:
            problem = f"the templates read and produce more than {self.limits.work} characters"
            raise TemplateMistake(
                problem, "Use shorter texts and lists, or compute the values in the chart."
            )

    def visit(self, count: int = 1) -> None:
        """Spend for a walk over `count` values."""
        self.spend(count * _VISIT)

    def fits(self, size: int) -> None:
        """Refuse a text of `size` characters before it is built."""
        if size > self.limits.size:
            raise TemplateMistake(f"a text longer than {self.limits.size} characters")
        if size > self._rest:
            self.spend(size)

    def fits_items(self, count: int) -> None:
        """Refuse a list or map of `count` items before it is built."""
        if count > self.limits.items:
            raise TemplateMistake(f"more than {self.limits.items} items")
        if count * _ITEM > self._rest:
            self.spend(count * _ITEM)

    def produce(self, value: Any) -> None:
        """Spend for a new value; what a list or map holds was spent for when it was made."""
        if isinstance(value, str):
            self.fits(len(value))
            self.spend(len(value))
        elif isinstance(value, list | dict):
            self.fits_items(len(value))
            self.spend(len(value) * _ITEM)
