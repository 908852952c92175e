"""Worker threads of the HTTP side: CPU work on request bodies runs here, never on the event loop
and never in the default pool.

Both a queue length and a deadline bound each worker. A thread cannot be stopped, so every piece of
work must be bounded by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fleetctl.core.model.errors import TooBusy

T = TypeVar("T")


class ServerWorker:
    """`threads` run at once, `queued` calls may wait; each caller waits at most `seconds`."""

    def __init__(self, name: str, *, threads: int, queued: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._limit, self._seconds = threads + queued, seconds
        self._lock = threading.Lock()
        self._pending = 0

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """The result of `work(*args)`. Raises TooBusy when the queue is full or the deadline is
        over, and what `work` raises.
        """
        with self._lock:
            if self._pending >= self._limit:
                raise TooBusy("the manager is parsing too many requests", retry_after=5)
            self._pending += 1
        future = self._pool.submit(work, *args)
        future.add_done_callback(self._finish)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise TooBusy(
                "the manager did not parse the request in time", retry_after=15
            ) from error

    def _finish(self, _: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1


PARSING = ServerWorker("parse", threads=2, queued=2_000, seconds=20.0)
PLANS = ServerWorker("parse-plan", threads=1, queued=8, seconds=60.0)
FILES = ServerWorker("read-file", threads=2, queued=20_000, seconds=60.0)
