"""The event loop's lag: measured, warned of, forgotten after a minute; the watchdog is fed at each
beat.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from manager.event_loop_lag import LoopLag


class Loop:
    """A clock that each sleep moves on, later than asked by the next of `lags`; the last one ends
    the run.
    """

    def __init__(self, lags: list[float]) -> None:
        self.now, self.lags, self.asked = 100.0, lags, list[float]()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if not self.lags:
            raise asyncio.CancelledError
        self.asked.append(seconds)
        self.now += seconds + self.lags.pop(0)


def measured(lags: list[float], watchdog: float = 0.0) -> tuple[LoopLag, Loop, int]:
    loop, fed = Loop(lags), [0]
    lag = LoopLag(loop.clock, loop.sleep)

    def feed() -> None:
        fed[0] += 1

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(lag.run(feed, watchdog))
    return lag, loop, fed[0]


def test_a_late_loop_is_measured_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lag, loop, fed = measured([0.0, 2.5, 0.1])
    assert (round(lag.last, 3), round(lag.largest(), 3), fed) == (0.1, 2.5, 4)
    assert lag.detail() == "the event loop was 2.5 s late within the last minute\n"
    assert [record.message for record in caplog.records] == ["event loop late"]
    loop.now += 61
    assert (lag.largest(), lag.detail()) == (0.0, "")


def test_the_watchdog_is_fed_often_enough() -> None:
    _, loop, _ = measured([0.0] * 3, watchdog=2.0)
    assert loop.asked == [0.5] * 3
    _, loop, _ = measured([0.0] * 3, watchdog=60.0)
    assert loop.asked == [1.0] * 3
