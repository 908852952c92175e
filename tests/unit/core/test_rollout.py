"""Who may go, by examples; the laws are in tests/property/test_rollout_laws.py."""

from __future__ import annotations

from fleetctl.core.ids import ClusterId
from fleetctl.core.rollout import Decision, Phase, Progress, Quota, Step, Tally, decide
from fleetctl.core.strategy import Partition, Policy

NOW = 1_000_000.0


def part(name: str = "p", size: int = 10, budget: int = 1, *, soak: float = 0.0, approval: bool = False) -> Partition:
    return Partition(name, tuple(ClusterId(f"{name}{n}") for n in range(size)), budget, soak, approval)


def one(tally: Tally, budget: int = 1, **policy: float) -> Quota:
    return decide([part(budget=budget)], [tally], Policy(**policy), Progress(), NOW).quotas[0]  # type: ignore[arg-type]


class TestOnePartition:
    def test_lets_as_many_go_as_may_be_unavailable(self) -> None:
        """And says why the others wait."""
        assert one(Tally(ready=10), 3) == Quota(ready=3, why="3 of 10 clusters may be unavailable at once, 0 are")

    def test_what_is_down_uses_the_budget_and_may_go_itself(self) -> None:
        """Two are down already: changing them costs nothing, and nobody else goes."""
        assert one(Tally(ready=8, down=2), 2) == Quota(down=True, why="2 of 10 clusters may be unavailable at once, 2 are")

    def test_a_site_that_is_switched_off_stops_nobody(self) -> None:
        """Offline before it was told: held, and outside the budget."""
        assert one(Tally(ready=4, offline=6)).ready == 1

    def test_a_cluster_that_the_change_silenced_stops_the_rest(self) -> None:
        """Told, then never heard of again: unavailable."""
        assert one(Tally(ready=9, down_started=1)).ready == 0

    def test_a_manager_that_was_away_lets_nobody_go_unheard(self) -> None:
        """Who has not reported since the start is neither ready nor offline."""
        assert one(Tally(unknown=1000), 1000) == Quota(why="1000 of 10 clusters may be unavailable at once, 1000 are")

    def test_new_clusters_come_in_batches(self) -> None:
        """maxNew at a time."""
        assert one(Tally(fresh=500), 500, max_new=50).fresh == 50


class TestSequence:
    two = (part("canary", 2, 2), part("all", 8, 4))

    def decided(self, *tallies: Tally, now: float = NOW, progress: Progress | None = None, policy: Policy | None = None) -> Decision:
        return decide(self.two, tallies, policy or Policy(), progress or Progress(), now)

    def test_the_next_partition_waits_until_the_first_has_answered(self) -> None:
        """Told and not answered is not finished, though the budget would allow it."""
        found = self.decided(Tally(down_started=2, flying=2), Tally(ready=8))
        assert (found.quotas[1].ready, found.waiting) == (0, "partition canary: 2 of 2 clusters have not answered yet")
        assert self.decided(Tally(ready_started=2), Tally(ready=8)).quotas[1].ready == 4

    def test_one_that_goes_bad_later_stops_those_that_have_not_begun(self) -> None:
        """And lets them go when it is well again."""
        canary, rest = part("canary", 2, 1), part("all", 8, 4)
        finished = Progress(steps=(Step(NOW - 10, NOW - 5), Step()))
        bad = decide([canary, rest], [Tally(down_started=2), Tally(ready=8)], Policy(), finished, NOW)
        assert bad.quotas[1] == Quota(why="partition canary: 2 clusters are unavailable, 1 may be")
        assert decide([canary, rest], [Tally(ready_started=2), Tally(ready=8)], Policy(), bad.progress, NOW).quotas[1].ready == 4

    def test_who_was_offline_catches_up_after_its_partition_has_finished(self) -> None:
        """Under that partition's budget."""
        finished = Progress(Phase.COMPLETED, "", (Step(NOW - 10, NOW - 5), Step(NOW - 5, NOW - 1)))
        found = self.decided(Tally(ready_started=1, ready=1), Tally(ready_started=8), progress=finished)
        assert (found.quotas[0].ready, found.progress.phase) == (1, Phase.COMPLETED)

    def test_soak_is_watched_and_wakes(self) -> None:
        """The next partition begins when the time is over, and the decision says when that is."""
        parts = [part("canary", 2, 2, soak=600.0), part("all", 8, 4)]
        tallies = [Tally(ready_started=2), Tally(ready=8)]
        found = decide(parts, tallies, Policy(), Progress(), NOW)
        assert (found.quotas[1].ready, found.wake, found.waiting) == (0, NOW + 600, "partition canary is watched for 600 s")
        assert decide(parts, tallies, Policy(), found.progress, NOW + 599).quotas[1].ready == 0
        assert decide(parts, tallies, Policy(), found.progress, NOW + 600).quotas[1].ready == 4

    def test_approval_is_asked_for(self) -> None:
        """Nothing goes before the yes, whatever the time."""
        parts = [part("canary", 2, 2), part("all", 8, 4, approval=True)]
        tallies = [Tally(ready_started=2), Tally(ready=8)]
        found = decide(parts, tallies, Policy(), Progress(), NOW)
        assert (found.quotas[1].ready, found.waiting) == (0, "partition all waits for `fleetctl rollout approve`")
        yes = Progress(steps=(found.progress.steps[0], Step(approved=True)))
        assert decide(parts, tallies, Policy(), yes, NOW).quotas[1].ready == 4

    def test_partitions_may_overlap_when_the_policy_says_so(self) -> None:
        """maxUnavailablePartitions: 1 lets the second begin while the first is not finished."""
        found = self.decided(Tally(ready=2), Tally(ready=8), policy=Policy(max_unavailable_partitions=1))
        assert [q.ready for q in found.quotas] == [2, 4]


class TestFailure:
    def test_too_many_failures_stop_everybody(self) -> None:
        """Counted over all partitions; the phase stays until a person decides."""
        found = decide([part(budget=5)], [Tally(ready=6, down_started=4, failed=3)], Policy(max_failures=2), Progress(), NOW)
        assert (found.progress.phase, found.progress.reason) == (Phase.FAILED, "3 clusters could not apply it, 2 may fail")
        assert found.quotas[0].ready == 0
        assert decide([part()], [Tally(ready=10)], Policy(), found.progress, NOW).progress.phase is Phase.FAILED

    def test_a_partition_that_takes_too_long_fails_the_rollout(self) -> None:
        """By its own clock, from when it began."""
        policy = Policy(deadline=60.0)
        first = decide([part()], [Tally(ready=10)], policy, Progress(), NOW)
        assert first.wake == NOW + 60
        late = decide([part()], [Tally(ready=5, ready_started=5)], policy, first.progress, NOW + 60)
        assert late.progress.reason == "partition p did not finish within 60 s"

    def test_a_pause_holds_and_a_resume_goes_on(self) -> None:
        """With what was remembered of the partitions."""
        paused = Progress(Phase.PAUSED, "release freeze", (Step(NOW - 5),))
        held = decide([part()], [Tally(ready=10)], Policy(), paused, NOW)
        assert (held.quotas[0].ready, held.waiting) == (0, "the rollout is paused: release freeze")
        assert decide([part()], [Tally(ready=10)], Policy(), Progress(steps=paused.steps), NOW).progress.steps == paused.steps


class TestFailures:
    def test_what_breaks_after_the_end_is_no_failure_of_the_change(self) -> None:
        """Completed and watched: a cluster that breaks a month later rolls nothing back. While it is watched, it does."""
        policy, progress = Policy(max_failures=0), Progress(Phase.COMPLETED, "", (Step(NOW - 100, NOW - 60),))
        broken = [Tally(ready_started=9, down_started=1, failed=1)]
        assert decide([part(soak=30.0)], broken, policy, progress, NOW).progress.phase is Phase.COMPLETED
        assert decide([part(soak=90.0)], broken, policy, progress, NOW).progress.phase is Phase.FAILED

    def test_failures_that_were_accepted_do_not_count(self) -> None:
        """The next one does."""
        policy, progress = Policy(max_failures=1), Progress(steps=(Step(NOW - 100, accepted=2),))
        phases = [decide([part()], [Tally(ready=5, down_started=n, failed=n)], policy, progress, NOW).progress.phase for n in (3, 4)]
        assert phases == [Phase.PROGRESSING, Phase.FAILED]
