"""A fleet as numbers: clusters that answer, fail, fall silent and come back, and a manager that
decides, sees them late, and restarts.

What a decision sees is what has been reported, never what is true; the laws are checked against
what is true.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.rollout.decide import Decision, Moment, Progress, Tally, decide
from fleetctl.core.rollout.strategy import Partition, Policy

SILENCE = 300.0


@dataclass
class Site:
    """One cluster. `told`, `applied`: versions. `works`: whether the version that it applied is
    well there.
    """

    id: ClusterId
    online: bool = True
    told: int = 1
    applied: int = 1
    works: bool = True
    seen: float = 0.0
    seen_applied: int = 1
    seen_works: bool = True
    paused: bool = False


@dataclass
class Sim:
    """`breaks`: share of clusters that the version does not work on."""

    partitions: Sequence[Partition]
    policy: Policy
    rng: random.Random
    breaks: float = 0.0
    now: float = 0.0
    started: float = 0.0
    version: int = 2
    progress: Progress = field(default_factory=Progress)
    last: Decision | None = None
    sites: dict[ClusterId, Site] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sites = {
            member: Site(member) for partition in self.partitions for member in partition.members
        }

    # The world

    def poll(self, chance: float = 1.0) -> None:
        """Agents that are online apply what they were told, and report it."""
        for site in self.sites.values():
            if site.online and self.rng.random() < chance:
                if site.applied != site.told:
                    site.applied, site.works = site.told, self.rng.random() >= self.breaks
                site.seen, site.seen_applied, site.seen_works = self.now, site.applied, site.works

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def restart(self, away: float) -> None:
        """The manager was away; it remembers its progress and what was reported, and trusts no old
        report.
        """
        self.now += away
        self.started = self.now

    # The manager

    def health(self, site: Site) -> str:
        if self.now - max(self.started, site.seen) > SILENCE:
            return "offline"
        if self.now - site.seen > SILENCE or site.seen < self.started:
            return "unknown"
        return "ready" if site.seen_works and site.seen_applied == site.told else "down"

    def tally(self, partition: Partition) -> Tally:
        counts: dict[str, int] = {}

        def add(name: str) -> None:
            counts[name] = counts.get(name, 0) + 1

        for member in partition.members:
            site = self.sites[member]
            health, begun = self.health(site), site.told == self.version
            if begun and health == "ready":
                add("ready_started")
            elif begun:
                add("down_started")
                if health == "offline":
                    add("silent")
                if health != "offline" and site.seen_applied != site.told:
                    add("flying")
                if health == "down" and site.seen_applied == site.told and not site.seen_works:
                    add("failed")
            elif site.paused and health in {"ready", "down"}:
                add(f"barred_{health}")
            else:
                add(health)
        return Tally(**counts)

    def decide(self) -> Decision:
        tallies = [self.tally(partition) for partition in self.partitions]
        return decide(
            self.partitions, tallies, self.policy, self.progress, Moment(self.now, self.started)
        )

    def step(self) -> list[ClusterId]:
        """One pass; who was let go."""
        self.last = self.decide()
        self.progress = self.last.progress
        gone: list[ClusterId] = []
        for partition, quota in zip(self.partitions, self.last.quotas, strict=True):
            left = quota.ready
            for member in partition.members:
                site = self.sites[member]
                if site.told == self.version or site.paused:
                    continue
                health = self.health(site)
                if (health == "ready" and left > 0) or (health == "down" and quota.down):
                    left -= health == "ready"
                    gone.append(member)
        for member in gone:
            self.sites[member].told = self.version
        return gone

    # What is true

    def disturbed(self, partition: Partition) -> int:
        """Clusters that do not work, or are being changed, because this rollout told them to."""
        sites = (self.sites[m] for m in partition.members)
        return sum(
            1 for s in sites if s.told == self.version and not (s.applied == s.told and s.works)
        )
