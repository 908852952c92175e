"""How deep the tests go: `make test` runs a part of what takes long, `make test-full` runs all of
it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

FULL = os.environ.get("TEST_DEPTH") == "full"


def depth(quick: int, full: int) -> int:
    """The number of examples, rounds or objects: `quick` in `make test`, `full` in `make
    test-full`.
    """
    return full if FULL else quick


def matrix(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: those in `quick` run in `make test`, all of them in
    `make test-full`.
    """
    every = list(values)
    missing = [value for value in quick if value not in every]
    if missing:
        raise ValueError(f"{missing} are not parameters")
    return [
        value if value in quick else pytest.param(value, marks=pytest.mark.full) for value in every
    ]
