"""The random numbers that spread work over time. No other module imports `random`.

They come from the system, because processes that were forked from one share the state of a seeded
generator and would act at the same moment.
"""

from __future__ import annotations

import random

_RANDOM = random.SystemRandom()


def fraction() -> float:
    """A number of at least 0 and below 1."""
    return _RANDOM.random()


def between(low: float, high: float) -> float:
    return _RANDOM.uniform(low, high)
