"""Rollouts through clusters that may change at times only."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.ids import ClusterId, ClusterName, GroupName, Workspace
from fleetctl.core.rollout.decide import Phase, Tally
from fleetctl.core.rollout.strategy import Partition, Policy
from fleetctl.core.targeting.target import criteria_match
from manager.rollout.schedules import picker
from tests.support.depth import depth
from tests.support.rollouts.fleet_simulation import Sim

DAY, HOUR = 86_400, 3600


@dataclass
class Nights(Sim):
    """Each cluster may change for an hour a day, or always; `paused` stands for the hours in which
    it may not.
    """

    def windows(self, hours: dict[ClusterId, int | None]) -> None:
        for site in self.sites.values():
            hour = hours[site.id]
            site.paused = hour is not None and int(self.now) % DAY // HOUR != hour

    def tally(self, partition: Partition) -> Tally:
        found = super().tally(partition)
        return replace(found, later=found.barred_ready + found.barred_down)


@settings(deadline=None, max_examples=depth(30, 200))
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=1, max_size=3),
    st.booleans(),
)
def test_it_ends_in_time_partition_by_partition(
    seed: int, shape: list[tuple[int, int]], restarts: bool
) -> None:
    """An hour a day each: nobody goes outside its hour, none before the partition ahead of it is
    through, and the deadline of three hours, which many days of waiting would miss, is not missed.
    """
    rng = random.Random(seed)
    partitions = [
        Partition(f"p{n}", tuple(ClusterId(f"{n}.{i}") for i in range(size)), min(budget, size))
        for n, (size, budget) in enumerate(shape)
    ]
    sim = Nights(partitions, Policy(deadline=3 * HOUR), rng)
    hours = {site: rng.choice([None, rng.randrange(24)]) for site in sim.sites}
    for step in range(25 * 24 * 4):
        sim.pass_time(900)
        sim.windows(hours)
        if restarts and step % 97 == 0:
            sim.restart(0)
        sim.poll()
        gone = sim.step()
        assert not any(sim.sites[site].paused for site in gone)
        told = [{sim.sites[m].told == 2 for m in p.members} for p in partitions]
        assert all(
            told[at] == {True}
            for at in range(len(told))
            for later in told[at + 1 :]
            if True in later
        )
        assert all(sim.disturbed(p) <= p.max_unavailable for p in partitions)
        assert sim.progress.phase is not Phase.FAILED
        if sim.progress.phase is Phase.COMPLETED:
            break
    assert sim.progress.phase is Phase.COMPLETED


SPACE = Workspace("w")
few = st.sampled_from(["a", "b", "c"])
labels = st.dictionaries(few, few, max_size=3)
terms = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        "values": values if operator.endswith("In") else [],
    },
    few,
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(few, min_size=1, max_size=2),
)
selectors = st.none() | st.builds(
    lambda match, found: {"matchLabels": match, "matchExpressions": found},
    labels,
    st.lists(terms, max_size=2),
)
wanted = st.builds(
    Target,
    cluster_name=st.just("") | few.map(ClusterName),
    cluster_selector=selectors,
    cluster_group=st.just("") | few.map(GroupName),
    cluster_group_selector=selectors,
)
known = st.lists(
    st.builds(
        Group, workspace=st.just(SPACE), name=few.map(GroupName), selector=selectors, labels=labels
    ),
    max_size=3,
)
fleets = st.lists(
    st.builds(Cluster, workspace=st.just(SPACE), name=few.map(ClusterName), labels=labels),
    max_size=6,
)


@given(st.dictionaries(few, st.lists(wanted, min_size=1, max_size=2), max_size=3), known, fleets)
def test_clusters_that_are_alike_are_picked_alike(
    specs: dict[str, list[Target]], groups: list[Group], fleet: list[Cluster]
) -> None:
    """The look that many clusters share finds what a look at each would."""
    pick = picker(specs, groups)
    for cluster in fleet:
        mine = [group for group in groups if matches(group.selector, cluster.labels)]
        each = [
            name
            for name, targets in specs.items()
            if any(criteria_match(target, cluster, mine) for target in targets)
        ]
        assert pick(cluster) == ",".join(each)
