"""Waiting, in one way only: poll a level until it holds or a total deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.localkube.errors import NotReady

T = TypeVar("T")


def wait_for(
    probe: Callable[[], T | None],
    seconds: float,
    what: Callable[[], str],
    every: float = 0.05,
) -> T:
    """Return the first value of ``probe()`` that is not None; raise NotReady(what()) after
    ``seconds``.

    ``what`` is called only on failure, so that it can tell the last state seen.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value is not None:
            return value
        if time.monotonic() >= deadline:
            raise NotReady(f"not within {seconds:g} s: {what()}")
        time.sleep(every)


def holds(condition: bool) -> bool | None:
    """``True`` or None: makes a condition into what ``wait_for`` asks for."""
    return True if condition else None
