"""What is to be looked at, and when. Pure but for what it remembers; the clock is given.

Rule: a change is looked at within a fraction of a second, unless the object changes all the time:
then every few seconds. Everything together is bounded too. What is not ready, or could not be
judged, is looked at again with growing pauses even if no watch says a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fleetctl.core.model.ids import BundleName
from fleetctl.core.timing.backoff import Backoff
from fleetctl.core.timing.token_bucket import KeyedTokenBuckets, TokenBucket

from ..state.last_applied import ObjectKey

GROUP_SECONDS = 0.1
_OBJECT_RATE = (0.25, 5.0)  # looks a second at one object, and at once
_TOTAL_RATE = (10.0, 60.0)  # calls a second that looks may cost, and at once
_RETRY = Backoff(5.0, 120.0)
_MOST_BUNDLES, _MOST_PLACES = 16, 200


@dataclass
class DueWork:
    """Whole bundles, single objects, and bundles of which more objects may be there than they
    have.
    """

    bundles: set[BundleName] = field(default_factory=set)
    places: set[ObjectKey] = field(default_factory=set)
    extras: set[BundleName] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.bundles or self.places or self.extras)


class ObservationQueue:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._object_rates = KeyedTokenBuckets(*_OBJECT_RATE, clock)
        self._total = TokenBucket(*_TOTAL_RATE, clock)
        self._bundles: set[BundleName] = set()
        self._places: dict[ObjectKey, float] = {}
        self._extras: dict[BundleName, float] = {}
        # when to look again, and how many looks in a row found it not ready
        self._retries: dict[BundleName, tuple[float, int]] = {}

    def add_object(self, place: ObjectKey) -> bool:
        """At most so often as one object may be looked at. Whether that is news."""
        if place in self._places:
            return False
        self._places[place] = self._clock() + max(GROUP_SECONDS, self._object_rates.take(place))
        return True

    def add_bundles(self, bundles: Iterable[BundleName]) -> None:
        self._bundles |= set(bundles)

    def add_suspect(self, bundle: BundleName, seconds: float) -> None:
        """More may be there than it has. After a while, since what helm deletes is there for a
        moment more.
        """
        self._extras.setdefault(bundle, self._clock() + seconds)

    def set_ready(self, bundle: BundleName, *, ready: bool) -> None:
        """What is not ready is looked at again, after a pause that grows."""
        if ready:
            self._retries.pop(bundle, None)
        else:
            _, looks = self._retries.get(bundle, (0.0, 0))
            self._retries[bundle] = (self._clock() + _RETRY.seconds(looks + 1), looks + 1)

    def drop(self, bundle: BundleName) -> None:
        self._bundles.discard(bundle)
        self._extras.pop(bundle, None)
        self._retries.pop(bundle, None)

    def cost(self, calls: int) -> None:
        self._total.take(calls)

    def pause(self, seconds: float) -> None:
        """The API server wants to be left alone for so long."""
        self._total.pause(seconds)

    def sweep(self) -> None:
        self._object_rates.sweep()

    def take(self) -> DueWork:
        """What is due now; it is no longer on the agenda."""
        now = self._clock()
        if self._total.wait() > 0:
            return DueWork()
        late = {bundle for bundle, (at, _) in self._retries.items() if at <= now}
        bundles = set(sorted(self._bundles | late)[:_MOST_BUNDLES])
        due = sorted((at, place) for place, at in self._places.items() if at <= now)[:_MOST_PLACES]
        extras = {bundle for bundle, at in self._extras.items() if at <= now} - bundles
        self._bundles -= bundles
        for bundle in bundles & late:
            looks = self._retries[bundle][1]
            self._retries[bundle] = (now + _RETRY.seconds(looks), looks)
        for _, place in due:
            del self._places[place]
        for bundle in extras | bundles:
            self._extras.pop(bundle, None)
        return DueWork(bundles, {place for _, place in due}, extras)

    def wait(self) -> float:
        """Seconds until something is due; infinite when there is nothing."""
        now = self._clock()
        at = [now] if self._bundles else []
        at += [
            *self._places.values(),
            *self._extras.values(),
            *(due_at for due_at, _ in self._retries.values()),
        ]
        return max(min(at, default=float("inf")) - now, self._total.wait() if at else 0.0, 0.0)
