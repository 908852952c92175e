"""The waits between tries of something that fails."""

from __future__ import annotations

from dataclasses import dataclass

_MAX_POWER = 64  # far above every cap; a float power of a larger number would overflow


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff. Every wait that grows with failures is one of these.

    first, cap: seconds of the first and of the longest wait, before jitter.
    factor: how much longer each wait is than the one before.
    jitter: the random share of a wait. 0.0 waits exactly, 0.5 between a half and the whole, 1.0
    between nothing and the whole ("full jitter").
    """

    first: float
    cap: float
    factor: float = 2.0
    jitter: float = 0.0

    def seconds(self, failures: int, fraction: float = 1.0) -> float:
        """The wait after the n-th failure in a row; 0.0 before the first one.

        fraction: a random number between 0 and 1, see fleetctl/jitter.py.
        """
        if failures <= 0:
            return 0.0
        wait = min(self.cap, self.first * self.factor ** min(failures - 1, _MAX_POWER))
        return wait * (1.0 - self.jitter * (1.0 - fraction))
