"""Limits of what is under way at once: requests per caller, and bytes of request bodies in all."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from fleetctl.core.model.errors import TooBusy


class Slots:
    """At most `each` at once for one key, and `total` in all. `summary` is what a refused caller
    reads.
    """

    def __init__(
        self, summary: str, *, each: int, total: int | None = None, retry_after: int = 15
    ) -> None:
        self._summary, self._per_key, self._total, self._retry_after = (
            summary,
            each,
            total,
            retry_after,
        )
        self._counts: Counter[str] = Counter()
        self._sum = 0

    @contextlib.contextmanager
    def slot(self, key: str) -> Iterator[None]:
        """Raises TooBusy at once when there is no room: nobody queues."""
        if self._counts[key] >= self._per_key or (
            self._total is not None and self._sum >= self._total
        ):
            raise TooBusy(self._summary, retry_after=self._retry_after)
        self._counts[key] += 1
        self._sum += 1
        try:
            yield
        finally:
            self._sum -= 1
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class ByteBudget:
    """Bytes of request bodies that are in memory. A body holds what has been received of it, from
    its first chunk to its answer.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.used = limit, 0

    def take(self, count: int) -> None:
        """Raises TooBusy when the budget is spent."""
        if self.used + count > self._limit:
            raise TooBusy("the manager is receiving too many request bodies", retry_after=5)
        self.used += count

    def give_back(self, count: int) -> None:
        self.used -= count


# Bodies of callers that have not authenticated are small, and have their own budget: they cannot
# take the room of agents and people.
STRANGERS = ByteBudget(16 * 1024 * 1024)
CALLERS = ByteBudget(192 * 1024 * 1024)
