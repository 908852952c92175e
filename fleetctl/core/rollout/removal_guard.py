"""Which removals are held for a person: what would take many deployments away at once.

Rule (I7): a cluster that a bundle does not pick any more loses it at once, as in Fleet, unless that
looks like an accident. It does when, with what the bundle has lost within the hour, more than
max(5, 20 %) of its clusters lose it (twice that within a day, so that a slow drip ends too), when
all of several clusters lose it by one change, or when a cluster would be left with nothing. Then
everything that this change would take away is held. What is held stays held, however few it
becomes, until a person says the number or the cluster is picked again: putting labels back one by
one must not let the rest go.

A bundle that is deleted, and a cluster that is, are no matter of this: who says that has been asked
already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Key

DAY_SECONDS = 86_400
# What a day may take, as a multiple of what the window may.
_DAY = 2


class RemovalLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`least` clusters may always lose a bundle, and `percent` of those that have it, within
    `window` seconds.
    """

    least: int = 5
    percent: int = 20
    window: int = 3600


class Cause(StrEnum):
    MANY = "many"  # too many of the bundle's clusters
    ALL = "all"  # every one of them, by one change
    LAST = "last"  # a cluster would be left with nothing


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """Of one bundle: `of` clusters have it, those included that would lose it, and `held` would
    lose it since earlier; `window` and `day` have lost it within those times and were not
    confirmed.
    """

    of: int
    held: int = 0
    window: int = 0
    day: int = 0


class RemovalVerdict(msgspec.Struct, frozen=True):
    """The removals that happen, and the held removals by bundle with their reason."""

    go: set[Key]
    held: dict[Key, Cause]

    @property
    def causes(self) -> dict[BundleName, Cause]:
        """The one that counts for a bundle: MANY and ALL before LAST."""
        causes: dict[BundleName, Cause] = {}
        for (_, bundle), cause in self.held.items():
            causes[bundle] = min(causes.get(bundle, cause), cause, key=list(Cause).index)
        return causes


def judge(
    losses: Mapping[BundleName, Collection[ClusterId]],
    past: Mapping[BundleName, Past],
    emptied: Collection[ClusterId],
    limits: RemovalLimits,
) -> RemovalVerdict:
    """Of clusters that lose bundles by one change, those that go. `emptied`: clusters that would
    have no bundle any more.
    """
    go: set[Key] = set()
    held_keys: dict[Key, Cause] = {}
    for bundle, clusters in losses.items():
        cause = _cause(len(clusters), past[bundle], limits)
        for cluster in clusters:
            if cause is not None:
                held_keys[cluster, bundle] = cause
            elif cluster in emptied:
                held_keys[cluster, bundle] = Cause.LAST
            else:
                go.add((cluster, bundle))
    return RemovalVerdict(go, held_keys)


def _cause(fresh: int, past: Past, limits: RemovalLimits) -> Cause | None:
    if fresh >= past.of - past.held and fresh > 1:
        return Cause.ALL
    now = fresh + past.held
    if now + past.window > allowed_removals(past.of + past.window, limits):
        return Cause.MANY
    if now + past.day > _DAY * allowed_removals(past.of + past.day, limits):
        return Cause.MANY
    return None


def allowed_removals(of: int, limits: RemovalLimits) -> int:
    """How many of so many clusters may lose a bundle within the window."""
    return max(limits.least, of * limits.percent // 100)
