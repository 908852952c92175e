"""What is to be looked at, and when. Pure but for what it remembers; the clock is given.

Rule: a change is looked at within a fraction of a second, unless the object changes all the time:
then every few seconds. Everything together is bounded too. What is not ready, or could not be
judged, is looked at again with growing pauses even if no watch says a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fleetctl.core.model.ids import BundleName

from ..kube.ratelimit import Bucket, Buckets
from ..state.last_applied import ObjectKey

GROUP_SECONDS = 0.1
_OBJECT = (0.25, 5.0)  # looks a second at one object, and at once
_ALL = (10.0, 60.0)  # calls a second that looks may cost, and at once
_AGAIN_SECONDS = (5.0, 120.0)
_MOST_WHOLE, _MOST_PLACES = 16, 200


@dataclass
class DueWork:
    """Whole bundles, single objects, and bundles of which more objects may be there than they
    have.
    """

    whole: set[BundleName] = field(default_factory=set)
    places: set[ObjectKey] = field(default_factory=set)
    extras: set[BundleName] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.whole or self.places or self.extras)


class ObservationQueue:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._objects, self._all = Buckets(*_OBJECT, clock), Bucket(*_ALL, clock)
        self._whole: set[BundleName] = set()
        self._places: dict[ObjectKey, float] = {}
        self._extras: dict[BundleName, float] = {}
        self._again: dict[BundleName, tuple[float, float]] = {}

    def changed(self, place: ObjectKey) -> bool:
        """At most so often as one object may be looked at. Whether that is news."""
        if place in self._places:
            return False
        self._places[place] = self._clock() + max(GROUP_SECONDS, self._objects.take(place))
        return True

    def whole(self, bundles: Iterable[BundleName]) -> None:
        self._whole |= set(bundles)

    def suspect(self, bundle: BundleName, seconds: float) -> None:
        """More may be there than it has. After a while, since what helm deletes is there for a
        moment more.
        """
        self._extras.setdefault(bundle, self._clock() + seconds)

    def judged(self, bundle: BundleName, *, ready: bool) -> None:
        """What is not ready is looked at again, after a pause that grows."""
        if ready:
            self._again.pop(bundle, None)
        else:
            low, high = _AGAIN_SECONDS
            _, pause = self._again.get(bundle, (0.0, low / 2))
            self._again[bundle] = (self._clock() + min(high, pause * 2), min(high, pause * 2))

    def drop(self, bundle: BundleName) -> None:
        self._whole.discard(bundle)
        self._extras.pop(bundle, None)
        self._again.pop(bundle, None)

    def cost(self, calls: int) -> None:
        self._all.take(calls)

    def pause(self, seconds: float) -> None:
        """The API server wants to be left alone for so long."""
        self._all.pause(seconds)

    def sweep(self) -> None:
        self._objects.sweep()

    def take(self) -> DueWork:
        """What is due now; it is no longer on the agenda."""
        now = self._clock()
        if self._all.wait() > 0:
            return DueWork()
        late = {bundle for bundle, (at, _) in self._again.items() if at <= now}
        whole = set(sorted(self._whole | late)[:_MOST_WHOLE])
        due = sorted((at, place) for place, at in self._places.items() if at <= now)[:_MOST_PLACES]
        extras = {bundle for bundle, at in self._extras.items() if at <= now} - whole
        self._whole -= whole
        for bundle in whole & late:
            self._again[bundle] = (now + self._again[bundle][1], self._again[bundle][1])
        for _, place in due:
            del self._places[place]
        for bundle in extras | whole:
            self._extras.pop(bundle, None)
        return DueWork(whole, {place for _, place in due}, extras)

    def wait(self) -> float:
        """Seconds until something is due; infinite when there is nothing."""
        now = self._clock()
        at = [now] if self._whole else []
        at += [
            *self._places.values(),
            *self._extras.values(),
            *(when for when, _ in self._again.values()),
        ]
        return max(min(at, default=float("inf")) - now, self._all.wait() if at else 0.0, 0.0)
