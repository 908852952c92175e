"""Rate limits: token buckets over a clock that the caller gives.

Rule: how much a cluster can make this agent ask is bounded by time, not by how often things change
there (I10).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class TokenBucket:
    """`rate` tokens a second on average, `burst` at once. It may go below zero: a cost that exceeds
    the balance is waited for afterwards.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._updated_at = burst, clock()

    def take(self, cost: float = 1.0) -> None:
        self._fill()
        self._tokens -= cost

    def wait(self) -> float:
        """Seconds until there is a token, 0.0 for now."""
        self._fill()
        return max(0.0, (1.0 - self._tokens) / self._rate)

    def pause(self, seconds: float) -> None:
        """Give no token for so long (Retry-After)."""
        self._fill()
        self._tokens = min(self._tokens, 1.0 - seconds * self._rate)

    @property
    def is_full(self) -> bool:
        self._fill()
        return self._tokens >= self._burst

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated_at) * self._rate)
        self._updated_at = now


class KeyedTokenBuckets:
    """One bucket for each key; a key whose bucket is full again costs no memory after `sweep`."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[Hashable, TokenBucket] = {}

    def take(self, key: Hashable) -> float:
        """Take a token of `key`. Returns the seconds until the caller may use it."""
        bucket = self._buckets.setdefault(key, TokenBucket(self._rate, self._burst, self._clock))
        wait = bucket.wait()
        bucket.take()
        return wait

    def sweep(self) -> None:
        """Forget the keys whose bucket is full."""
        self._buckets = {k: bucket for k, bucket in self._buckets.items() if not bucket.is_full}
