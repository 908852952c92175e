"""Several requests at once, for commands about many objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fleetctl.cli.display.progress import open_count

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE = 8


def run_parallel(
    items: Sequence[T], work: Callable[[T], R], verb: str = ""
) -> Iterator[tuple[T, R]]:
    """(item, result) in the order of `items`, with 8 requests in flight.

    At the first error nothing more is begun. What was in flight and succeeded is still yielded, so
    that a person sees everything that was done; then the error is raised. `verb` names the work in
    a count on stderr, which is shown for 100 items or more.
    """
    if len(items) < 2:
        yield from ((item, work(item)) for item in items)
        return
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        with open_count(len(items), verb) as count:
            yield from _in_order(items, [pool.submit(work, item) for item in items], count)
    finally:
        pool.shutdown(cancel_futures=True)  # also after Ctrl-C: what has not begun never begins


def _in_order(
    items: Sequence[T], futures: list[Future[R]], count: Callable[[int], None]
) -> Iterator[tuple[T, R]]:
    error: Exception | None = None
    for at, (item, future) in enumerate(zip(items, futures, strict=True), 1):
        if error is not None and future.cancel():
            continue
        try:
            result = future.result()
        except Exception as cause:
            if error is None:
                error = cause
                for other in futures[at:]:
                    other.cancel()
            continue
        yield item, result
        count(at)
    if error is not None:
        raise error
