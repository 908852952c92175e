"""Slots that several owners share fairly: none can hold all, and free ones go round."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator


class FairSlots:
    """`total` slots, of which one owner holds at most `per_owner`. A free slot goes to the waiting
    owner that holds fewest, and of several to the one whose turn was longest ago; the requests of
    one owner are served in order.
    """

    def __init__(self, total: int, per_owner: int) -> None:
        self._free, self._per_owner = total, per_owner
        self._held: Counter[str] = Counter()
        # Owners that wait, the next one first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def hold(self, owner: str) -> AsyncIterator[None]:
        grant = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(grant)
        self._grant()
        try:
            await grant
            yield
        finally:
            if grant.done() and not grant.cancelled():
                self._release(owner)
            self._grant()

    def _release(self, owner: str) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]

    def _grant(self) -> None:
        while self._free and (owner := self._next_owner()):
            queue = self._waiting[owner]
            grant = queue.popleft()
            self._waiting.move_to_end(owner)
            if grant.cancelled():
                continue
            self._free -= 1
            self._held[owner] += 1
            grant.set_result(None)

    def _next_owner(self) -> str:
        for owner in [owner for owner, queue in self._waiting.items() if not queue]:
            del self._waiting[owner]
        # min() takes the first of equals: the owner whose turn was longest ago.
        owner = min(self._waiting, key=lambda owner: self._held[owner], default="")
        return owner if self._held[owner] < self._per_owner else ""
