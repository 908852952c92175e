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
    """`releases`: the bundle of each release, by NAMESPACE/NAME. `wake` is called for a new event.
    `away` is called with the reason why the API server does not answer, or "" when it answers
    again.
    """

    def __init__(
        self,
        queue: ObservationQueue,
        index: ObjectIndex,
        list_releases: Callable[[], Mapping[str, BundleName]],
        wake_up: Callable[[], None],
        on_contact: Callable[[str], None],
    ) -> None:
        self._queue, self._index, self._list_releases, self._wake_up, self.on_contact = (
            queue,
            index,
            list_releases,
            wake_up,
            on_contact,
        )
        self._cached_releases: tuple[float, Mapping[str, BundleName]] = (float("-inf"), {})
        self._suspects: dict[ObjectKey, BundleName] = {}
        self.versions: dict[ObjectKey, tuple[str, str]] = {}

    def on_change(self, scope: WatchScope, item: WatchedObject, *, exists: bool) -> None:
        key = ObjectKey(scope.api_version, scope.kind, item.namespace, item.name)
        if key in self._index:
            if (
                not exists or is_newer(item.version, self.versions.get(key))
            ) and self._queue.add_object(key):
                self._wake_up()
        elif exists:
            self._suspect(key, item.release)
        elif (bundle := self._suspects.pop(key, None)) is not None:
            self._queue.add_suspect(bundle, 0.0)
            self._wake_up()

    def on_list(self, scope: WatchScope, objects: Sequence[WatchedObject]) -> None:
        """What is not among them is gone, or has lost helm's label."""
        listed_names: set[tuple[str, str]] = set()
        for item in objects:
            listed_names.add((item.namespace, item.name))
            self.on_change(scope, item, exists=True)
        for key in self._index.within(scope):
            if (key.namespace, key.name) not in listed_names and self.versions.get(key, ("", ""))[
                1
            ]:
                self._queue.add_object(key)
        self._wake_up()

    def on_throttle(self, seconds: float) -> None:
        self._queue.pause(seconds)

    def on_refusal(self) -> None:
        self._wake_up()

    def add_lost_objects(self, bundle: BundleName, places: frozenset[ObjectKey]) -> None:
        """They were the bundle's and are no more: helm has removed them, or should have."""
        for place in places:
            self.versions.pop(place, None)
            self._suspects[place] = bundle
            self._queue.add_suspect(bundle, _EXTRA_SECONDS)

    def forget(self, places: frozenset[ObjectKey]) -> None:
        """Ignore further events of these objects."""
        for place in places:
            self.versions.pop(place, None)

    def extras(self, bundle: BundleName) -> frozenset[ObjectKey]:
        """What may be too many of a bundle; at most 20 are looked at."""
        if not self._suspects:
            return frozenset()
        own_suspects = (
            place
            for place, owner in self._suspects.items()
            if owner == bundle and place not in self._index
        )
        return frozenset(sorted(own_suspects)[:_MOST_EXTRAS])

    def clear_suspects(self, places: frozenset[ObjectKey]) -> None:
        for place in places:
            self._suspects.pop(place, None)

    def _suspect(self, place: ObjectKey, release: str) -> None:
        bundle = self._bundle_of(release) if release else None
        if bundle is not None and place not in self._suspects:
            self._suspects[place] = bundle
            self._queue.add_suspect(bundle, _EXTRA_SECONDS)
            self._wake_up()

    def _bundle_of(self, release: str) -> BundleName | None:
        """Others have releases too, and many objects: the map is made at most once a second."""
        cached_at, releases = self._cached_releases
        if time.monotonic() - cached_at > _RELEASES_SECONDS:
            releases = self._list_releases()
            self._cached_releases = (time.monotonic(), releases)
        return releases.get(release)


def is_newer(version: str, judged_version: tuple[str, str] | None) -> bool:
    """Whether an object of this resourceVersion was not judged yet. Versions grow (Kubernetes
    promises it since 1.35).
    """
    if judged_version is None or not judged_version[1]:
        return True
    if version.isdigit() and judged_version[1].isdigit():
        return int(version) > int(judged_version[1])
    return version != judged_version[1]
