"""Many requests at once: the order of the answers, and what is known after an error."""

from __future__ import annotations

import threading

import pytest

from fleetctl.cli.parallel import run_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    first = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            first.wait(5)
        elif item == 3:
            first.set()
        return item * 2

    assert list(run_parallel(range(20), work)) == [(n, n * 2) for n in range(20)]


def test_after_an_error_nothing_more_begins_and_what_succeeded_is_reported() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 2:
            raise ValueError(item)
        done.append(item)
        return item

    reported: list[int] = []

    def collect() -> None:
        for item, _ in run_parallel(range(1000), work):
            reported.append(item)

    with pytest.raises(ValueError, match="2"):
        collect()
    assert sorted(reported) == sorted(done)
    assert len(done) < 1000


def test_a_caller_that_stops_begins_nothing_more() -> None:
    """As Ctrl-C does."""
    done: list[int] = []
    closing = threading.Event()

    def work(item: int) -> None:
        if item:
            closing.wait(5)
        done.append(item)

    results = run_parallel(range(1000), work)
    next(results)
    threading.Timer(0.1, closing.set).start()  # the requests in flight end after the cancellation
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 1000
