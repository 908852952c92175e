"""Hears what the watches tell, and puts on the agenda what must be looked at because of it.

Rule: what has been judged at this version or a later one is not looked at again. An object that
says it is of one of our releases and is in no bundle is only suspected here; a look finds out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from fleetctl.core.model.ids import BundleName

from ..state.last_applied import ObjectKey
from .index import ObjectIndex
from .queue import ObservationQueue
from .watch import WatchedObject, WatchScope

_EXTRA_SECONDS = 2.0
_MOST_EXTRAS = 20
_RELEASES_SECONDS = 1.0


class WatchEventHandler:
    """`releases`: NAMESPACE/NAME of each release of ours and whose it is. `wake` is called when
    there is something new, `away` with why the API server does not answer, or "" when it does.
    """

    def __init__(
        self,
        agenda: ObservationQueue,
        index: ObjectIndex,
        releases: Callable[[], Mapping[str, BundleName]],
        wake: Callable[[], None],
        away: Callable[[str], None],
    ) -> None:
        self._agenda, self._index, self._releases, self._wake, self.away = (
            agenda,
            index,
            releases,
            wake,
            away,
        )
        self._known: tuple[float, Mapping[str, BundleName]] = (float("-inf"), {})
        self._suspects: dict[ObjectKey, BundleName] = {}
        self.versions: dict[ObjectKey, tuple[str, str]] = {}

    def changed(self, unit: WatchScope, mark: WatchedObject, *, there: bool) -> None:
        place = ObjectKey(unit.api_version, unit.kind, mark.namespace, mark.name)
        if place in self._index:
            if (
                not there or is_newer(mark.version, self.versions.get(place))
            ) and self._agenda.changed(place):
                self._wake()
        elif there:
            self._suspect(place, mark.release)
        elif (bundle := self._suspects.pop(place, None)) is not None:
            self._agenda.suspect(bundle, 0.0)
            self._wake()

    def listed(self, unit: WatchScope, marks: Sequence[WatchedObject]) -> None:
        """What is not among them is gone, or has lost helm's label."""
        there: set[tuple[str, str]] = set()
        for mark in marks:
            there.add((mark.namespace, mark.name))
            self.changed(unit, mark, there=True)
        for place in self._index.within(unit):
            if (place.namespace, place.name) not in there and self.versions.get(place, ("", ""))[1]:
                self._agenda.changed(place)
        self._wake()

    def throttled(self, seconds: float) -> None:
        self._agenda.pause(seconds)

    def refused(self) -> None:
        self._wake()

    def left(self, bundle: BundleName, places: frozenset[ObjectKey]) -> None:
        """They were the bundle's and are no more: helm has removed them, or should have."""
        for place in places:
            self.versions.pop(place, None)
            self._suspects[place] = bundle
            self._agenda.suspect(bundle, _EXTRA_SECONDS)

    def forget(self, places: frozenset[ObjectKey]) -> None:
        """They are nobody's any more."""
        for place in places:
            self.versions.pop(place, None)

    def extras(self, bundle: BundleName) -> frozenset[ObjectKey]:
        """What may be too many of a bundle; at most 20 are looked at."""
        if not self._suspects:
            return frozenset()
        mine = (
            place
            for place, whose in self._suspects.items()
            if whose == bundle and place not in self._index
        )
        return frozenset(sorted(mine)[:_MOST_EXTRAS])

    def cleared(self, places: frozenset[ObjectKey]) -> None:
        for place in places:
            self._suspects.pop(place, None)

    def _suspect(self, place: ObjectKey, release: str) -> None:
        bundle = self._whose(release) if release else None
        if bundle is not None and place not in self._suspects:
            self._suspects[place] = bundle
            self._agenda.suspect(bundle, _EXTRA_SECONDS)
            self._wake()

    def _whose(self, release: str) -> BundleName | None:
        """Others have releases too, and many objects: the map is made at most once a second."""
        at, known = self._known
        if time.monotonic() - at > _RELEASES_SECONDS:
            known = self._releases()
            self._known = (time.monotonic(), known)
        return known.get(release)


def is_newer(version: str, known: tuple[str, str] | None) -> bool:
    """Whether an object of this resourceVersion was not judged yet. Versions grow (Kubernetes
    promises it since 1.35).
    """
    if known is None or not known[1]:
        return True
    if version.isdigit() and known[1].isdigit():
        return int(version) > int(known[1])
    return version != known[1]
