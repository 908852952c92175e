"""How often something may be done: token buckets over a given clock. Pure but for what they
remember.

Rule: what a cluster can make this agent ask is bounded by its own clock, not by how often things
change there (I10).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Bucket:
    """`rate` a second on average, `burst` at once. It may go below nothing: what costs more than
    was left is waited for afterwards.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self, cost: float = 1.0) -> None:
        self._fill()
        self._left -= cost

    def wait(self) -> float:
        """Seconds until one is left, 0.0 for now."""
        self._fill()
        return max(0.0, (1.0 - self._left) / self._rate)

    def pause(self, seconds: float) -> None:
        """Nothing is left for so long (Retry-After)."""
        self._fill()
        self._left = min(self._left, 1.0 - seconds * self._rate)

    @property
    def full(self) -> bool:
        self._fill()
        return self._left >= self._burst

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now


class Buckets:
    """One bucket for each key; a key that has been left alone costs no memory."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._known: dict[Hashable, Bucket] = {}

    def take(self, key: Hashable) -> float:
        """Seconds until this one may happen."""
        bucket = self._known.setdefault(key, Bucket(self._rate, self._burst, self._clock))
        wait = bucket.wait()
        bucket.take()
        return wait

    def sweep(self) -> None:
        """Forget those that are full again."""
        self._known = {k: b for k, b in self._known.items() if not b.full}
