"""Holds what a change of cluster labels does to bundles: which clusters gain, lose or change one.
Pure.

The input is the difference that reconciling stores (core/plan.py), as for a plan (core/impact.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.plan import Change, Have, Key, Want
from fleetctl.core.rollout.impact import What, change_reasons, kind_of_change

# Names of clusters that an effect lists; its count is always whole.
MOST_NAMES = 5


class Source(msgspec.Struct, frozen=True):
    """The target and the customization (names, "" without one) that give a cluster its bundle."""

    target: str
    customization: str


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Clusters on which one bundle changes in the same way. `why`: what differs, in words of
    fleet.yaml.
    """

    bundle: BundleName
    what: What
    clusters: int
    names: list[str]
    old: Source | None = None
    new: Source | None = None
    why: list[str] = msgspec.field(default_factory=list)


def effects_of(
    changes: Iterable[Change], have: Mapping[Key, Have], name: Callable[[ClusterId], str]
) -> list[Effect]:
    """The changes as effects, by bundle; what a cluster gains first. `name`: a cluster's name."""
    members: dict[
        tuple[BundleName, What, Source | None, Source | None, tuple[str, ...]], list[str]
    ] = {}
    for change in changes:
        old = have.get(change.key)
        what = kind_of_change(change, old)
        if change.want is None and what is not What.REMOVED:
            continue  # it never reached the cluster
        before, after = (old if what is not What.ADDED else None), change.want
        key = (
            change.key[1],
            what,
            _source(before),
            _source(after),
            tuple(change_reasons(change.want, old)),
        )
        members.setdefault(key, []).append(name(change.key[0]))
    order = list(What)
    effects = [
        Effect(
            bundle=key[0],
            what=key[1],
            clusters=len(names),
            names=sorted(names)[:MOST_NAMES],
            old=key[2],
            new=key[3],
            why=list(key[4]),
        )
        for key, names in members.items()
    ]
    return sorted(
        effects, key=lambda effect: (effect.bundle, order.index(effect.what), effect.names)
    )


def _source(side: Have | Want | None) -> Source | None:
    return Source(side.target, side.customization) if side is not None else None
