"""Shows how far a command is: on stderr, and only there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from fleetctl.cli.display import output
from fleetctl.core.text.listing import count_others

_COUNT_FROM, _COUNT_EVERY = 100, 100
_MOST_LINES = 5  # of what a wait still lacks


@contextlib.contextmanager
def open_count(total: int, verb: str) -> Iterator[Callable[[int], None]]:
    """A function that takes how many items are done.

    A terminal shows a bar; anything else a line for each 100 items. Nothing for less than 100.
    """
    if total < _COUNT_FROM or not verb:
        yield lambda finished_items: None
    elif not output.is_terminal(sys.stderr):
        yield lambda finished_items: _print_count(finished_items, total, verb)
    else:
        # rich costs 60 ms, and only a long command on a terminal needs it
        from fleetctl.cli.display.terminal.progress import open_bar

        with open_bar(total, verb) as update:
            yield update


def _print_count(finished_items: int, total: int, verb: str) -> None:
    if finished_items % _COUNT_EVERY == 0:
        output.say(f"{verb} {finished_items} of {total}")


@contextlib.contextmanager
def open_wait(*, is_live: bool) -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that takes what is missing, in words, the most important first.

    A terminal shows it in place with the time; anything else a line whenever it changes.
    """
    if not is_live:
        yield _WaitLines()
        return
    from fleetctl.cli.display.terminal.progress import open_wait_view

    with open_wait_view() as update:
        yield lambda missing: update(missing[:_MOST_LINES], len(missing))


class _WaitLines:
    """Prints one line whenever it changes. The causes are in the error at the end."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, missing: Sequence[str]) -> None:
        suffix = count_others(len(missing) - 1)
        text = missing[0].partition(": ")[0] + suffix
        if text != self._last:
            output.say(f"waiting: {text}")
        self._last = text
