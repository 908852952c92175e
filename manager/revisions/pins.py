"""Which revision of a bundle each cluster should have.

Rule: the pin of a cluster comes before the pin of the bundle, and that before the newest revision
from Git. A pin changes what clusters get, never which clusters get it: targets, pauses and the
rollout are as Git says now, and the `doNotDeploy` of an earlier revision has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.targeting.target import Match, select

from ..store import Reader
from ..store.queries import pins as queries
from ..store.queries.revisions import specs_by_revision

Revisions = Mapping[tuple[BundleName, int], BundleSpec]


@dataclass(frozen=True)
class Order:
    """What clusters are to be told of a bundle: all, or `only` some. If `spec` is an earlier
    revision, `now` is the current one and says which clusters get the bundle.
    """

    spec: BundleSpec
    decision: int = 0
    only: frozenset[ClusterId] | None = None
    now: BundleSpec | None = None

    def matches(self, fleet: Sequence[Cluster], groups: Sequence[Group]) -> list[Match]:
        clusters = fleet
        if self.only is not None:
            clusters = [cluster for cluster in fleet if cluster.id in self.only]
        matches = select(self.spec, clusters, groups)
        if self.now is None:
            return matches
        targets = {match.cluster.id for match in select(self.now, clusters, groups)}
        return [match for match in matches if match.cluster.id in targets]


def orders(
    reader: Reader,
    workspace: Workspace,
    specs: Sequence[BundleSpec],
    fleet: Sequence[Cluster],
) -> list[Order]:
    """One order for each bundle, then those of single clusters of `fleet`; the later one counts.
    Reads only.
    """
    names = [spec.name for spec in specs]
    heads = queries.bundle_heads(reader, workspace, names)
    rows = queries.cluster_pins(reader, workspace, names, [cluster.id for cluster in fleet])
    keys = {(name, head.pin) for name, head in heads.items()}
    keys |= {(row.bundle, row.number) for row in rows}
    earlier = specs_by_revision(reader, workspace, {key for key in keys if key[1]})
    return make_orders(specs, heads, rows, earlier)


def make_orders(
    specs: Sequence[BundleSpec],
    heads: Mapping[BundleName, queries.BundleHead],
    pins: Sequence[queries.PinRow],
    earlier: Revisions,
) -> list[Order]:
    """The orders of bundles and of the clusters with a pin. `earlier`: the specs of the revisions
    that pins name.
    """
    current = {spec.name: spec for spec in specs}
    by_bundle: dict[BundleName, Order] = {}
    for name, spec in current.items():
        head = heads.get(name, queries.BundleHead())
        by_bundle[name] = _order(spec, head.pin, head.decision, earlier)
    members: dict[tuple[BundleName, int, int], set[ClusterId]] = {}
    for pin in pins:
        members.setdefault((pin.bundle, pin.number, pin.decision), set()).add(pin.cluster_id)
    result = [by_bundle[spec.name] for spec in specs]
    for (name, number, decision), clusters in members.items():
        order = by_bundle[name]
        if number:
            order = _order(current[name], number, decision, earlier)
        result.append(Order(order.spec, decision, frozenset(clusters), order.now))
    return result


def _order(current: BundleSpec, number: int, decision: int, earlier: Revisions) -> Order:
    """A revision that does not exist any more (this should not happen) counts as no pin."""
    revision = earlier.get((current.name, number))
    if revision is None:
        return Order(current, decision)
    return Order(content_of(revision, current), decision, now=current)


def content_of(revision: BundleSpec, current: BundleSpec) -> BundleSpec:
    """The content and options of a revision, for the clusters that get the bundle now."""
    names = ("targets", "overrides_targets", "paused", "rollout_strategy", "repo")
    audience = {name: getattr(current, name) for name in names}
    customizations = [
        msgspec.structs.replace(customization, do_not_deploy=False)
        for customization in revision.customizations
    ]
    return msgspec.structs.replace(revision, **audience, customizations=customizations)
