"""Which objects are whose: of each bundle the places of its objects and the rights that it is read
with. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fleetctl.core.model.ids import BundleName

from ..state.last_applied import ObjectKey
from .watch import WatchScope


class ObjectIndex:
    def __init__(self) -> None:
        self._places: dict[BundleName, frozenset[ObjectKey]] = {}
        self._users: dict[BundleName, str] = {}
        self._bundles: dict[ObjectKey, tuple[BundleName, ...]] = {}

    def put(self, bundle: BundleName, places: Iterable[ObjectKey], user: str) -> bool:
        """Whether anything is other than before."""
        keys = frozenset(places)
        if self._places.get(bundle) == keys and self._users.get(bundle) == user:
            return False
        self.drop(bundle)
        self._places[bundle], self._users[bundle] = keys, user
        for place in keys:
            self._bundles[place] = (*self._bundles.get(place, ()), bundle)
        return True

    def drop(self, bundle: BundleName) -> bool:
        """Whether it was known."""
        for place in self._places.pop(bundle, frozenset()):
            rest = tuple(name for name in self._bundles[place] if name != bundle)
            if rest:
                self._bundles[place] = rest
            else:
                del self._bundles[place]
        return self._users.pop(bundle, None) is not None

    def __contains__(self, place: object) -> bool:
        return place in self._bundles

    def __iter__(self) -> Iterator[ObjectKey]:
        return iter(self._bundles)

    def bundles(self) -> set[BundleName]:
        return set(self._places)

    def of(self, place: ObjectKey) -> tuple[BundleName, ...]:
        return self._bundles.get(place, ())

    def places(self, bundle: BundleName) -> frozenset[ObjectKey]:
        return self._places.get(bundle, frozenset())

    def within(self, unit: WatchScope) -> list[ObjectKey]:
        """The objects of this agent that a watch of `unit` receives."""
        return [
            place
            for place, bundles in self._bundles.items()
            if place[:2] == unit[1:3]
            and unit.namespace in {"", place.namespace}
            and any(self._users[bundle] == unit.user for bundle in bundles)
        ]

    def count_objects(self) -> dict[WatchScope, Mapping[str, int]]:
        """For each kind and rights how many objects are in which namespace."""
        counts: dict[WatchScope, dict[str, int]] = {}
        for place, bundles in self._bundles.items():
            for user in {self._users[bundle] for bundle in bundles}:
                amounts = counts.setdefault(WatchScope(user, place.api_version, place.kind), {})
                amounts[place.namespace] = amounts.get(place.namespace, 0) + 1
        return dict(counts)
