"""Laws of the rollout, in states that nobody would have written down."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.rollout.decide import Moment, Phase, Progress, Tally, decide
from fleetctl.core.rollout.strategy import Partition, Policy
from tests.support.depth import depth
from tests.support.rollouts.fleet_simulation import Sim

NOW = 1_000_000.0
few = st.integers(0, 6)
tallies = st.builds(Tally, *(few for _ in range(12))).map(
    lambda t: replace(
        t,
        failed=min(t.failed, t.down_started),
        flying=min(t.flying, t.down_started),
        silent=min(t.silent, t.down_started),
    )
)


@given(
    st.lists(st.tuples(tallies, st.integers(0, 12)), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(1, 50),
)
def test_nobody_goes_beyond_the_budget(
    cases: list[tuple[Tally, int]], overlap: int, most: int
) -> None:
    """In any state: the ready clusters that may go fit into what is free of their partition's
    budget.
    """
    partitions = [
        Partition(f"p{n}", tuple(ClusterId(f"{n}.{i}") for i in range(30)), budget)
        for n, (_, budget) in enumerate(cases)
    ]
    found = decide(
        partitions,
        [t for t, _ in cases],
        Policy(max_unavailable_partitions=overlap, max_new=most),
        Progress(),
        Moment(NOW),
    )
    for (tally, budget), quota in zip(cases, found.quotas, strict=True):
        assert quota.ready <= max(0, budget - tally.unavailable)
        assert quota.ready <= tally.ready
        assert quota.fresh <= min(most, tally.fresh)


@given(st.lists(st.tuples(tallies, st.integers(0, 12)), min_size=1, max_size=4))
def test_the_same_state_gives_the_same_decision(cases: list[tuple[Tally, int]]) -> None:
    """Also what was decided, decided again: a manager that dies between two passes changes
    nothing.
    """
    partitions = [
        Partition(f"p{n}", (ClusterId(f"{n}"),), budget) for n, (_, budget) in enumerate(cases)
    ]
    counts = [t for t, _ in cases]
    first = decide(partitions, counts, Policy(), Progress(), Moment(NOW))
    again = decide(partitions, counts, Policy(), first.progress, Moment(NOW))
    assert again.quotas == decide(partitions, counts, Policy(), again.progress, Moment(NOW)).quotas
    assert (
        again.progress == decide(partitions, counts, Policy(), again.progress, Moment(NOW)).progress
    )


def made(sizes: list[int], budgets: list[int]) -> list[Partition]:
    return [
        Partition(f"p{n}", tuple(ClusterId(f"{n}.{i}") for i in range(size)), min(budget, size))
        for n, (size, budget) in enumerate(zip(sizes, budgets, strict=True))
    ]


@settings(deadline=None, max_examples=depth(30, 300))
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 15), st.integers(1, 5)), min_size=1, max_size=4),
)
def test_it_ends_when_everybody_is_well(seed: int, shape: list[tuple[int, int]]) -> None:
    """Healthy clusters, some of which sleep for a while: all get the version, in the end the
    rollout is completed.
    """
    rng = random.Random(seed)
    sim = Sim(made([s for s, _ in shape], [b for _, b in shape]), Policy(), rng)
    for _ in range(400):
        for site in sim.sites.values():
            site.online = rng.random() < 0.8
        sim.pass_time(60)
        sim.poll(0.7)
        sim.step()
    for _ in range(200):
        for site in sim.sites.values():
            site.online = True
        sim.pass_time(30)
        sim.poll()
        sim.step()
    assert sim.progress.phase is Phase.COMPLETED
    assert all(site.applied == 2 for site in sim.sites.values())


class Rollout(RuleBasedStateMachine):
    """Anything may happen between two passes; the laws hold after each."""

    @initialize(
        seed=st.integers(0, 10**6),
        budgets=st.lists(st.integers(1, 4), min_size=1, max_size=3),
        breaks=st.sampled_from([0, 0.3, 1]),
    )
    def begin(self, seed: int, budgets: list[int], breaks: float) -> None:
        self.rng = random.Random(seed)
        self.sim = Sim(
            made([8] * len(budgets), budgets), Policy(max_failures=None), self.rng, breaks
        )
        self.sim.poll()

    @rule(chance=st.sampled_from([0.3, 1.0]))
    def agents_report(self, chance: float) -> None:
        self.sim.pass_time(10)
        self.sim.poll(chance)

    @rule(share=st.sampled_from([0.1, 0.9]))
    def sites_go_dark(self, share: float) -> None:
        for site in self.sim.sites.values():
            site.online = self.rng.random() > share

    @rule()
    def sites_come_back(self) -> None:
        for site in self.sim.sites.values():
            site.online = True

    @rule(seconds=st.sampled_from([1.0, 200.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.sim.pass_time(seconds)

    @rule(away=st.sampled_from([1.0, 86_400.0]))
    def the_manager_was_away(self, away: float) -> None:
        self.sim.restart(away)

    @rule()
    def someone_pauses_clusters(self) -> None:
        for site in self.sim.sites.values():
            site.paused = self.rng.random() < 0.2

    @rule()
    def a_pass(self) -> None:
        before = {p.name: (self.sim.tally(p), p.max_unavailable) for p in self.sim.partitions}
        well = {s.id for s in self.sim.sites.values() if self.sim.health(s) == "ready"}
        heard = {s.id for s in self.sim.sites.values() if self.sim.health(s) in {"ready", "down"}}
        gone = self.sim.step()
        assert set(gone) <= heard, "somebody was let go who has not been heard"
        for partition in self.sim.partitions:
            tally, budget = before[partition.name]
            disturbing = len(set(gone) & well & set(partition.members))
            assert disturbing <= max(0, budget - tally.unavailable)

    @invariant()
    def counts_are_the_sum_of_their_parts(self) -> None:
        if hasattr(self, "sim"):
            for partition in self.sim.partitions:
                t = self.sim.tally(partition)
                whole = (
                    t.ready_started
                    + t.down_started
                    + t.ready
                    + t.down
                    + t.fresh
                    + t.offline
                    + t.unknown
                    + t.barred_ready
                    + t.barred_down
                )
                assert whole == len(partition.members)


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=depth(30, 200), stateful_step_count=40, deadline=None)


def test_a_thousand_clusters_one_at_a_time_with_a_manager_away_for_a_day() -> None:
    """Budget 1: never are two disturbed at once, though the manager dies in the midst and
    everybody's report is a day old.
    """
    sim = Sim(made([1000], [1]), Policy(), random.Random(7))
    sim.poll()
    for round_ in range(2600):
        if round_ in {300, 700}:
            sim.restart(86_400)
            assert sim.step() == []
        sim.pass_time(15)
        sim.poll()
        sim.step()
        assert sim.disturbed(sim.partitions[0]) <= 1
        if sim.progress.phase is Phase.COMPLETED:
            break
    assert all(site.applied == 2 for site in sim.sites.values())


def test_ten_thousand_clusters_with_failures_and_silence() -> None:
    """Four partitions, 2 % fail and some sleep: at each step each budget holds, and most get the
    version.
    """
    rng = random.Random(11)
    sizes = [100, 900, 4000, 5000]
    sim = Sim(made(sizes, [10, 90, 400, 500]), Policy(max_failures=300), rng, breaks=0.02)
    sim.poll()
    for _ in range(120):
        sim.pass_time(60)
        for site in rng.sample(list(sim.sites.values()), 200):
            site.online = rng.random() < 0.9
        sim.poll(0.9)
        before = [sim.tally(p) for p in sim.partitions]
        sim.step()
        for partition, tally in zip(sim.partitions, before, strict=True):
            assert sim.tally(partition).unavailable <= max(
                partition.max_unavailable, tally.unavailable
            )
    told = sum(1 for site in sim.sites.values() if site.told == 2)
    assert told > 5000
    assert sim.progress.phase in {Phase.PROGRESSING, Phase.COMPLETED}
