"""The laws of a rollout, checked from outside: what each cluster's document says, what its agent
has reported, and what people said. Nothing here asks the decision why it decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import ClusterName
from fleetctl.core.model.status import State
from fleetctl.core.rollout.strategy import (
    Partition,
    Policy,
    Strategy,
    limit,
    partitions_of,
    policy_of,
    seconds,
    strategy_of,
)
from manager.clock import unix
from tests.support.rollouts.world import BUNDLE, SILENCE, SPACE, Site, World

STANDING = frozenset({"Paused", "Failed", "Aborted"})


@dataclass
class Before:
    """What was known when the manager was asked to look."""

    phase: str
    steps: list[dict[str, Any]]
    told: dict[str, tuple[int, int]]  # version and generation by name
    wanted: int
    unavailable: dict[str, bool]
    has: dict[str, bool]
    version: int


@dataclass
class Laws:
    """`yes`: the partitions that a person has let begin, by version of the rollout. `said`: `pause`
    or `abort`, while it holds.
    """

    world: World
    yes: set[tuple[int, str]] = field(default_factory=set)
    said: str = ""
    since: dict[str, float] = field(default_factory=dict)  # when each cluster was told what it has

    def before(self) -> Before:
        world = self.world
        found = world.rollout()
        steps = found["status"]["partitions"] if found else []
        told = {name: (site.told, site.generation) for name, site in world.sites.items()}
        unavailable = {name: self.unavailable(site) for name, site in world.sites.items()}
        has = {name: self.has(site) for name, site in world.sites.items()}
        version = int(found["spec"]["version"]) if found else 0
        return Before(world.phase(), steps, told, self.wanted(), unavailable, has, version)

    def plan(self) -> tuple[list[Partition], Policy]:
        """The partitions that the strategy means. Automatic ones stay as they were made while a
        rollout goes on: only what they may lose is worked out here.
        """
        strategy = strategy_of(self.world.strategy)
        if not strategy.partitions:
            made = self._automatic(strategy)
            return made, policy_of(strategy, len(made), len(self.world.sites))
        fleet = [
            Cluster(
                workspace=SPACE,
                name=ClusterName(site.name),
                id=site.id,
                labels={"fleet.cattle.io/cluster": site.name} | site.labels,
            )
            for site in self.world.sites.values()
        ]
        made = partitions_of(strategy, BUNDLE, fleet, [])
        return made, policy_of(strategy, len(made), len(fleet))

    def _automatic(self, strategy: Strategy) -> list[Partition]:
        found = self.world.rollout()
        names = [part["name"] for part in found["status"]["partitions"]] if found else []
        members = self.world.members()
        return [
            Partition(
                name,
                tuple(
                    mine := [
                        site.id for site in self.world.sites.values() if members.get(site.id) == at
                    ]
                ),
                limit(strategy.max_unavailable, len(mine), "100%"),
                seconds(strategy.soak),
                strategy.approval == "each" or (strategy.approval == "first" and at == 1),
            )
            for at, name in enumerate(names)
        ]

    def wanted(self) -> int:
        """The version that everybody should have in the end: the newest, or the one that is
        pinned.
        """
        return self.world.pinned_version() or self.world.version

    def has(self, site: Site) -> bool:
        """Whether it was told what it should have: versions of one content are the same."""
        same = self.world.archives
        return site.told > 0 and same[site.told] == same[self.wanted()]

    def heard(self, site: Site) -> bool:
        return self.world.now - site.heard <= SILENCE

    def offline(self, site: Site) -> bool:
        return self.world.now - max(site.heard, self.world.started) > SILENCE

    def well(self, site: Site) -> bool:
        report = site.report
        return (
            report is not None
            and report.generation == site.generation
            and report.state is State.READY
        )

    def unavailable(self, site: Site) -> bool:
        """By what the manager can know. Who never had the bundle is missed by nobody."""
        if not site.told:
            return False
        if (
            site.paused
            and self.heard(site)
            and site.report is not None
            and site.report.state is State.OUT_OF_SYNC
        ):
            return False
        if not self.has(site) and self.offline(site):
            return False
        return not (self.heard(site) and self.well(site))

    def after(self, before: Before, changed: set[str]) -> None:
        """Check one look."""
        world = self.world
        for name in changed:
            self.since[name] = world.now
        found = world.rollout()
        disturbed = {
            name for name in changed if before.told[name][0] and not before.unavailable[name]
        }
        self._heard(before, changed)
        self._versions(before, changed, world.phase())
        if found is None:
            return
        plan, policy = self.plan()
        self._budgets(before, disturbed, found["status"]["partitions"], plan, policy)
        self._standing(before, changed, world.phase())
        self._order(before, found, plan, policy)
        self._counts(found)

    def _heard(self, before: Before, changed: set[str]) -> None:
        silent = {
            name
            for name in changed
            if before.told[name][0] and not self.heard(self.world.sites[name])
        }
        assert not silent, (
            f"told though they were not heard for longer than they may be silent: {silent}"
        )

    def _versions(self, before: Before, changed: set[str], phase: str) -> None:
        """What anybody is told is what everybody should have; who is new and meets a rollout that
        stands gets what was good.
        """
        for name in changed:
            site = self.world.sites[name]
            if not before.told[name][0] and phase in STANDING:
                assert site.told != self.wanted(), (
                    f"{name} joined a rollout that stands, and was told its version"
                )
                continue
            assert self.has(site), f"{name} was told version {site.told}, wanted is {self.wanted()}"

    def _budgets(
        self,
        before: Before,
        disturbed: set[str],
        steps: Sequence[dict[str, Any]],
        plan: Sequence[Partition],
        policy: Policy,
    ) -> None:
        names = {site.id: site.name for site in self.world.sites.values()}
        begun, down = 0, 0
        for partition, step in zip(plan, steps, strict=True):
            mine = {names[member] for member in partition.members}
            unavailable = sum(before.unavailable[name] for name in mine)
            free = max(0, partition.max_unavailable - unavailable)
            assert len(disturbed & mine) <= free, (
                f"{partition.name}: {len(disturbed & mine)} more are changed, {unavailable} of"
                f" {partition.max_unavailable} are down"
            )
            if step["startedAt"]:
                begun, down = begun + len(disturbed & mine), down + unavailable
        most = policy.max_unavailable
        assert most is not None
        assert begun <= max(0, most - down), (
            f"{begun} more are changed, {down} of {most} are down over all partitions"
        )

    def _standing(self, before: Before, changed: set[str], phase: str) -> None:
        old = {name for name in changed if before.told[name][0]}
        if self.world.paused_in_git and not self.world.pinned_version():
            assert not changed, f"told in a pause: {changed}"
        if self.said or (before.phase in STANDING and phase in STANDING):
            assert not old, f"told though the rollout is {self.said or before.phase}: {old}"

    def _order(
        self, before: Before, found: dict[str, Any], plan: Sequence[Partition], policy: Policy
    ) -> None:
        """A partition is finished when all of it have answered, and the next begins when those
        before it are, were watched, and are well still; where a person was asked, after the yes.
        """
        if int(found["spec"]["version"]) != before.version or not before.steps:
            return
        steps = found["status"]["partitions"]
        for at, (old, new) in enumerate(zip(before.steps, steps, strict=False)):
            if old["name"] != new["name"]:
                continue
            if new["finishedAt"] and not old["finishedAt"]:
                left = self._left(plan[at], before)
                assert not left, f"{new['name']} was finished without {left}"
            if old["startedAt"] or not new["startedAt"]:
                continue
            if not any(
                site.id in plan[at].members and not before.has.get(site.name)
                for site in self.world.sites.values()
            ):
                continue  # nobody there was to be told anything
            assert not plan[at].approval or (before.version, new["name"]) in self.yes, (
                f"{new['name']} began without a yes"
            )
            behind = [
                p.name
                for p, step in zip(plan[:at], steps, strict=False)
                if p.members and not self._through(p, step, before)
            ]
            assert len(behind) <= policy.max_unavailable_partitions, (
                f"{new['name']} began before {behind} were through"
            )

    def _left(self, partition: Partition, before: Before) -> set[str]:
        """Who should have been waited for."""
        here = [
            site
            for site in self.world.sites.values()
            if site.id in partition.members and not site.paused
        ]
        waiting = {
            site.name for site in here if not before.has[site.name] and not self.offline(site)
        }
        return waiting | {
            site.name
            for site in here
            if before.has[site.name] and self.heard(site) and not self._answered(site)
        }

    def _through(self, partition: Partition, step: dict[str, Any], before: Before) -> bool:
        """Who was away when it was finished, and is back, stops nobody."""
        if not step["finishedAt"] or self.world.now < unix(step["finishedAt"]) + partition.soak - 1:
            return False
        told = [
            site
            for site in self.world.sites.values()
            if site.id in partition.members and before.has[site.name]
        ]
        unwell = [
            site for site in told if not (self.heard(site) and self.well(site)) and not site.paused
        ]
        lost = sum(
            before.unavailable[site.name]
            for site in self.world.sites.values()
            if site.id in partition.members
        )
        if unwell and lost > partition.max_unavailable:
            return False
        return not unwell or len(unwell) < len(told) or all(self.offline(site) for site in unwell)

    def _answered(self, site: Site) -> bool:
        return site.report is not None and site.report.generation == site.generation

    def _counts(self, found: dict[str, Any]) -> None:
        """Counts are the sum of their parts, here and in what people read of the bundle."""
        parts = found["status"]["partitions"]
        for part in parts:
            assert part["told"] + part["waiting"] + part["offline"] == part["clusters"], part
            assert part["ready"] + part["failed"] <= part["told"], part
        bundle = self.world.run(self.world.service.views.get_object("Bundle", SPACE, BUNDLE))[
            "status"
        ]
        states = Counter(self.world.states().values())
        assert (
            sum(part["clusters"] for part in parts)
            == bundle["clusters"]
            == sum(states.values())
            == len(self.world.sites)
        )
        assert bundle["summary"]["ready"] == states["Ready"]
