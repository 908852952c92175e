"""Measures how late the event loop is, and feeds systemd's watchdog from it: a manager that hangs
is restarted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from . import log

WARN_SECONDS = 1.0
_BEAT_SECONDS = 1.0
_WINDOW_SECONDS = 60.0


class LoopLag:
    """`last`: seconds by which the last beat was late. `largest()`: of the last minute."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self.last = 0.0
        self.beats = 0
        # (time, lag), larger lags first: only these can become the largest
        self._lags: deque[tuple[float, float]] = deque()

    async def run(self, feed: Callable[[], None], watchdog_seconds: float = 0.0) -> None:
        """Measure for ever; call `feed` at each beat, at least twice in `watchdog_seconds` when
        that is not 0.
        """
        beat = min(_BEAT_SECONDS, watchdog_seconds / 4) if watchdog_seconds else _BEAT_SECONDS
        while True:
            feed()
            began = self._clock()
            await self._sleep(beat)
            self._note(max(0.0, self._clock() - began - beat))

    def _note(self, lag: float) -> None:
        now = self._clock()
        self.last = lag
        self.beats += 1
        while self._lags and self._lags[-1][1] <= lag:
            self._lags.pop()
        self._lags.append((now, lag))
        self._drop_old(now)
        if lag > WARN_SECONDS:
            log.warning("event loop late", seconds=round(lag, 2))

    def largest(self) -> float:
        self._drop_old(self._clock())
        return self._lags[0][1] if self._lags else 0.0

    def _drop_old(self, now: float) -> None:
        while self._lags and self._lags[0][0] < now - _WINDOW_SECONDS:
            self._lags.popleft()

    def detail(self) -> str:
        """A line for people when the loop was late within the last minute, else ""."""
        largest = self.largest()
        return (
            f"the event loop was {largest:.1f} s late within the last minute\n"
            if largest > WARN_SECONDS
            else ""
        )

    def as_metrics(self) -> dict[str, float]:
        return {
            "fleet_event_loop_lag_seconds": round(self.last, 4),
            "fleet_event_loop_lag_max_seconds": round(self.largest(), 4),
        }
