"""Which clusters are silent, kept in a queue in the order of their last contacts.

Rule: a request of a cluster costs the same in a small and a large fleet, and looking for silent
clusters costs as much as there are clusters that became silent, not as there are clusters.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Mapping
from math import floor
from types import MappingProxyType

from fleetctl.core.model.ids import ClusterId

HEARD, UNKNOWN, OFFLINE = "heard", "unknown", "offline"
LastContact = Callable[[ClusterId], float | None]


class SilenceQueue:
    """Times are seconds by the steady clock; `last_contact` returns that of a cluster, None for one
    that is not enrolled. May be used from any thread.

    All silent clusters have the same health: the manager has listened long enough to call each of
    them offline, or none.
    """

    def __init__(self, last_contact: LastContact) -> None:
        self._last_contact = last_contact
        self._lock = threading.Lock()
        # The clusters of a second by their contacts in it. A cluster that was heard again is also
        # in a later second; its earlier entries are ignored.
        self._seconds: dict[int, list[ClusterId]] = {}
        self._order: list[int] = []  # a heap of the seconds
        self._silent: set[ClusterId] = set()
        self._turned: set[ClusterId] = set()
        self._snapshot: Mapping[ClusterId, str] = MappingProxyType({})
        self._is_snapshot_current = False
        self._limit = 0.0  # the silence in seconds at the last look
        self._health = UNKNOWN

    def add(self, cluster: ClusterId, last_contact: float) -> None:
        """Note a contact, which ends the silence of a cluster."""
        with self._lock:
            self._queue(cluster, last_contact)
            if cluster in self._silent:
                self._turn(cluster, is_silent=False)

    def _queue(self, cluster: ClusterId, last_contact: float) -> None:
        second = floor(last_contact)
        clusters = self._seconds.get(second)
        if clusters is None:
            clusters = self._seconds[second] = []
            heapq.heappush(self._order, second)
        clusters.append(cluster)

    def discard(self, cluster: ClusterId) -> None:
        """Forget a cluster that is not enrolled any more. Its entries are ignored from now on."""
        with self._lock:
            if cluster in self._silent:
                self._turn(cluster, is_silent=False)

    def look(self, now: float, limit: float, start_time: float) -> Mapping[ClusterId, str]:
        """The silent clusters at `now` with their health; `limit`: how many seconds a cluster may
        be silent; `start_time`: since when this manager listens. The result is never changed.
        """
        with self._lock:
            if limit > self._limit:
                self._end_silences(now - limit)
            self._limit = limit
            while self._order and self._order[0] + 1 <= now - limit:
                self._expire(heapq.heappop(self._order), now - limit)
            health = OFFLINE if now - start_time > limit else UNKNOWN
            if health != self._health or not self._is_snapshot_current:
                self._health = health
                self._snapshot = MappingProxyType(dict.fromkeys(self._silent, health))
                self._is_snapshot_current = True
            return self._snapshot

    def _expire(self, second: int, before: float) -> None:
        for cluster in self._seconds.pop(second):
            last_contact = self._last_contact(cluster)
            is_silent = last_contact is not None and last_contact < before
            if is_silent and cluster not in self._silent:
                self._turn(cluster, is_silent=True)

    def _end_silences(self, before: float) -> None:
        """Clusters may be silent for longer now: those that are not silent any more go back."""
        for cluster in list(self._silent):
            last_contact = self._last_contact(cluster)
            if last_contact is None or last_contact < before:
                continue
            self._turn(cluster, is_silent=False)
            self._queue(cluster, last_contact)

    def _turn(self, cluster: ClusterId, *, is_silent: bool) -> None:
        (self._silent.add if is_silent else self._silent.discard)(cluster)
        self._turned.add(cluster)
        self._is_snapshot_current = False

    def take_turned(self) -> set[ClusterId]:
        """The clusters that became silent, or ended their silence, since the last call."""
        with self._lock:
            turned, self._turned = self._turned, set()
            return turned
