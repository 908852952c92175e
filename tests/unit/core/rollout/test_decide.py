"""Who may go, by examples; the laws are in tests/property/core/test_rollout_laws.py."""

from __future__ import annotations

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.rollout.decide import (
    Decision,
    Moment,
    Phase,
    Progress,
    Quota,
    Step,
    Tally,
    decide,
)
from fleetctl.core.rollout.strategy import Partition, Policy

NOW = 1_000_000.0


def part(
    name: str = "p", size: int = 10, budget: int = 1, *, soak: float = 0.0, approval: bool = False
) -> Partition:
    return Partition(
        name, tuple(ClusterId(f"{name}{n}") for n in range(size)), budget, soak, approval
    )


def one(tally: Tally, budget: int = 1, **policy: float) -> Quota:
    return decide([part(budget=budget)], [tally], Policy(**policy), Progress(), Moment(NOW)).quotas[
        0
    ]  # type: ignore[arg-type]


class TestOnePartition:
    def test_lets_as_many_go_as_may_be_unavailable(self) -> None:
        """And says why the others wait."""
        assert one(Tally(ready=10), 3) == Quota(
            ready=3, why="3 of 10 clusters may be unavailable at once, 0 are"
        )

    def test_what_is_down_uses_the_budget_and_may_go_itself(self) -> None:
        """Two are down already: changing them costs nothing, and nobody else goes."""
        assert one(Tally(ready=8, down=2), 2) == Quota(
            down=True, why="2 of 10 clusters may be unavailable at once, 2 are"
        )

    def test_a_site_that_is_switched_off_stops_nobody(self) -> None:
        """Offline before it was told: held, and outside the budget."""
        assert one(Tally(ready=4, offline=6)).ready == 1

    def test_a_cluster_that_the_change_silenced_stops_the_rest(self) -> None:
        """Told, then never heard of again: unavailable."""
        assert one(Tally(ready=9, down_started=1, silent=1)).ready == 0

    def test_a_manager_that_was_away_lets_nobody_go_unheard(self) -> None:
        """Who has not reported since the start is neither ready nor offline."""
        assert one(Tally(unknown=1000), 1000) == Quota(
            why="1000 of 10 clusters may be unavailable at once, 1000 are"
        )

    def test_new_clusters_come_in_batches(self) -> None:
        """maxNew at a time."""
        assert one(Tally(fresh=500), 500, max_new=50).fresh == 50


class TestSequence:
    two = (part("canary", 2, 2), part("all", 8, 4))

    def decided(
        self,
        *tallies: Tally,
        now: float = NOW,
        progress: Progress | None = None,
        policy: Policy | None = None,
    ) -> Decision:
        return decide(self.two, tallies, policy or Policy(), progress or Progress(), Moment(now))

    def test_the_next_partition_waits_until_the_first_has_answered(self) -> None:
        """Told and not answered is not finished, though the budget would allow it."""
        found = self.decided(Tally(down_started=2, flying=2), Tally(ready=8))
        assert (found.quotas[1].ready, found.waiting) == (
            0,
            "partition canary: 2 of 2 clusters have not answered yet",
        )
        assert self.decided(Tally(ready_started=2), Tally(ready=8)).quotas[1].ready == 4

    def test_one_of_several_that_has_not_answered_is_waited_for(self) -> None:
        """Though the budget is not exceeded and others are ready."""
        assert (
            self.decided(Tally(ready_started=1, down_started=1, flying=1), Tally(ready=8))
            .quotas[1]
            .ready
            == 0
        )

    def test_one_with_too_many_down_is_not_finished(self) -> None:
        """It begins to be watched when it is well, not before."""
        parts = [part("canary", 3, 1, soak=60.0), part("all", 8, 4)]
        bad = decide(
            parts,
            [Tally(ready_started=1, down_started=2), Tally(ready=8)],
            Policy(),
            Progress(),
            Moment(NOW),
        )
        assert bad.progress.steps[0].finished == 0
        well = decide(
            parts,
            [Tally(ready_started=3), Tally(ready=8)],
            Policy(),
            bad.progress,
            Moment(NOW + 100),
        )
        assert (well.progress.steps[0].finished, well.quotas[1].ready, well.wake) == (
            NOW + 100,
            0,
            NOW + 160,
        )

    def test_one_that_goes_bad_later_stops_those_that_have_not_begun(self) -> None:
        """And lets them go when it is well again."""
        canary, rest = part("canary", 2, 1), part("all", 8, 4)
        finished = Progress(steps=(Step(NOW - 10, NOW - 5), Step()))
        bad = decide(
            [canary, rest], [Tally(down_started=2), Tally(ready=8)], Policy(), finished, Moment(NOW)
        )
        assert bad.quotas[1] == Quota(why="partition canary: 2 clusters are unavailable, 1 may be")
        assert (
            decide(
                [canary, rest],
                [Tally(ready_started=2), Tally(ready=8)],
                Policy(),
                bad.progress,
                Moment(NOW),
            )
            .quotas[1]
            .ready
            == 4
        )

    def test_who_was_offline_catches_up_after_its_partition_has_finished(self) -> None:
        """Under that partition's budget."""
        finished = Progress(Phase.COMPLETED, "", (Step(NOW - 10, NOW - 5), Step(NOW - 5, NOW - 1)))
        found = self.decided(
            Tally(ready_started=1, ready=1), Tally(ready_started=8), progress=finished
        )
        assert (found.quotas[0].ready, found.progress.phase) == (1, Phase.COMPLETED)

    def test_soak_is_watched_and_wakes(self) -> None:
        """The next partition begins when the time is over, and the decision says when that is."""
        parts = [part("canary", 2, 2, soak=600.0), part("all", 8, 4)]
        tallies = [Tally(ready_started=2), Tally(ready=8)]
        found = decide(parts, tallies, Policy(), Progress(), Moment(NOW))
        assert (found.quotas[1].ready, found.wake, found.waiting) == (
            0,
            NOW + 600,
            "partition canary is watched for 10m",
        )
        assert (
            decide(parts, tallies, Policy(), found.progress, Moment(NOW + 599)).quotas[1].ready == 0
        )
        assert (
            decide(parts, tallies, Policy(), found.progress, Moment(NOW + 600)).quotas[1].ready == 4
        )

    def test_approval_is_asked_for(self) -> None:
        """Nothing goes before the yes, whatever the time."""
        parts = [part("canary", 2, 2), part("all", 8, 4, approval=True)]
        tallies = [Tally(ready_started=2), Tally(ready=8)]
        found = decide(parts, tallies, Policy(), Progress(), Moment(NOW))
        assert (found.quotas[1].ready, found.waiting) == (0, "partition all waits for approval")
        yes = Progress(steps=(found.progress.steps[0], Step(approved=True)))
        assert decide(parts, tallies, Policy(), yes, Moment(NOW)).quotas[1].ready == 4

    def test_a_partition_without_clusters_asks_for_nothing(self) -> None:
        """No approval, no soak, and the rollout ends without it; who joins it later finds it not
        begun.
        """
        parts = [part("a", 2, 2), part("nobody", 0, 0, soak=600.0, approval=True), part("c", 8, 4)]
        found = decide(
            parts,
            [Tally(ready_started=2), Tally(), Tally(ready=8)],
            Policy(),
            Progress(),
            Moment(NOW),
        )
        assert found.quotas[2].ready == 4
        ended = decide(
            parts,
            [Tally(ready_started=2), Tally(), Tally(ready_started=8)],
            Policy(),
            found.progress,
            Moment(NOW),
        )
        assert (ended.progress.phase, ended.waiting) == (Phase.COMPLETED, "")
        parts[1] = part("somebody", 1, 1, approval=True)
        joined = decide(
            parts,
            [Tally(ready_started=2), Tally(fresh=1), Tally(ready_started=8)],
            Policy(),
            ended.progress,
            Moment(NOW),
        )
        assert (joined.quotas[1].asks, joined.progress.phase) == (True, Phase.PROGRESSING)

    def test_partitions_may_overlap_when_the_policy_says_so(self) -> None:
        """maxUnavailablePartitions: 1 lets the second begin while the first is not finished."""
        found = self.decided(
            Tally(ready=2), Tally(ready=8), policy=Policy(max_unavailable_partitions=1)
        )
        assert [q.ready for q in found.quotas] == [2, 4]


class TestWholeBundle:
    """Beside the partitions' own budgets, the bundle's `maxUnavailable` holds for all that have
    begun (Fleet's global maximum).
    """

    parts = (part("a", 10, 3), part("b", 10, 3))
    begun = Progress(steps=(Step(NOW - 9, NOW - 8), Step(NOW - 7)))

    def ready(
        self, *tallies: Tally, most: int, progress: Progress | None = None, overlap: int = 0
    ) -> list[int]:
        policy = Policy(max_unavailable=most, max_unavailable_partitions=overlap)
        return [
            q.ready
            for q in decide(self.parts, tallies, policy, progress or self.begun, Moment(NOW)).quotas
        ]

    def test_what_the_first_left_unavailable_counts_in_the_second(self) -> None:
        """maxUnavailable 3, two of partition a are down: one of b may go, though b's own budget is
        3.
        """
        assert self.ready(
            Tally(ready_started=8, down_started=2, failed=2), Tally(ready=10), most=3
        ) == [0, 1]

    def test_partitions_at_once_share_it(self) -> None:
        """In their order."""
        assert self.ready(
            Tally(ready=10), Tally(ready=10), most=4, progress=Progress(), overlap=1
        ) == [3, 1]

    def test_who_is_down_in_a_partition_that_has_not_begun_stops_nobody(self) -> None:
        """The change may be what mends them, and they would wait for ever."""
        assert self.ready(Tally(ready=10), Tally(ready=6, down=4), most=3, progress=Progress()) == [
            3,
            0,
        ]

    def test_it_is_told(self) -> None:
        """With the numbers of the whole bundle."""
        tallies = [Tally(ready_started=8, down_started=2), Tally(ready=10)]
        found = decide(self.parts, tallies, Policy(max_unavailable=2), self.begun, Moment(NOW))
        assert (
            found.quotas[1].why
            == "2 of 20 clusters may be unavailable at once over all partitions, 2 are"
        )


class TestWorksNowhere:
    parts = (part("canary", 2, 2), part("all", 8, 8))

    def test_a_change_that_works_on_nobody_goes_no_further(self) -> None:
        """Though the canary's budget would allow all of it to be down, as Fleet's defaults do."""
        found = decide(
            self.parts,
            [Tally(down_started=2, failed=2), Tally(ready=8)],
            Policy(),
            Progress(),
            Moment(NOW),
        )
        assert (found.quotas[1].ready, found.waiting) == (
            0,
            "partition canary: none of the 2 updated clusters is ready",
        )
        assert (
            decide(
                self.parts,
                [Tally(ready_started=1, down_started=1), Tally(ready=8)],
                Policy(),
                Progress(),
                Moment(NOW),
            )
            .quotas[1]
            .ready
            == 8
        )

    def test_one_that_breaks_wholly_while_it_is_watched_holds_the_next(self) -> None:
        """Finished, and then nobody of it is ready any more."""
        finished = Progress(steps=(Step(NOW - 9, NOW - 8), Step()))
        assert (
            decide(
                self.parts, [Tally(down_started=2), Tally(ready=8)], Policy(), finished, Moment(NOW)
            )
            .quotas[1]
            .ready
            == 0
        )

    def test_one_that_fell_silent_says_nothing_of_the_change(self) -> None:
        """It counts against the budget and no more: a site that is lost for good stops nobody for
        ever.
        """
        assert (
            decide(
                self.parts,
                [Tally(down_started=2, silent=2), Tally(ready=8)],
                Policy(),
                Progress(),
                Moment(NOW),
            )
            .quotas[1]
            .ready
            == 8
        )
        assert (
            decide(
                self.parts,
                [Tally(down_started=2, silent=1), Tally(ready=8)],
                Policy(),
                Progress(),
                Moment(NOW),
            )
            .quotas[1]
            .ready
            == 0
        )

    def test_a_partition_that_is_switched_off_is_passed_over(self) -> None:
        """Nobody of it was told, so nothing speaks against the change."""
        assert (
            decide(
                self.parts, [Tally(offline=2), Tally(ready=8)], Policy(), Progress(), Moment(NOW)
            )
            .quotas[1]
            .ready
            == 8
        )


class TestPausedInGit:
    hold = Moment(NOW, hold="GitRepo apps is paused")

    def test_nobody_goes_and_the_reason_is_named(self) -> None:
        """Not even who is down or new."""
        found = decide([part()], [Tally(ready=5, down=3, fresh=2)], Policy(), Progress(), self.hold)
        assert (found.quotas, found.waiting) == (
            (Quota(why="GitRepo apps is paused"),),
            "GitRepo apps is paused",
        )

    def test_the_deadline_does_not_run_meanwhile(self) -> None:
        """What has begun begins its time anew; what is finished stays so."""
        before = Progress(steps=(Step(NOW - 90, NOW - 80), Step(NOW - 70)))
        parts, tallies, policy = (
            [part("a"), part("b")],
            [Tally(ready_started=10), Tally(ready=9)],
            Policy(deadline=60.0),
        )
        held = decide(parts, tallies, policy, before, self.hold)
        assert held.progress == Progress(steps=(Step(NOW - 90, NOW - 80), Step()))
        later = decide(parts, tallies, policy, held.progress, Moment(NOW + 1000))
        assert (later.progress.phase, later.progress.steps[1].opened) == (
            Phase.PROGRESSING,
            NOW + 1000,
        )

    def test_what_is_completed_waits_for_nothing(self) -> None:
        """Unless somebody is left who could go."""
        done = Progress(Phase.COMPLETED, "", (Step(NOW - 9, NOW - 8),))
        assert decide([part()], [Tally(ready_started=10)], Policy(), done, self.hold).waiting == ""
        assert (
            decide([part()], [Tally(ready_started=9, fresh=1)], Policy(), done, self.hold).waiting
            == "GitRepo apps is paused"
        )


class TestFailure:
    def test_too_many_failures_stop_everybody(self) -> None:
        """Counted over all partitions; the phase stays until a person decides."""
        found = decide(
            [part(budget=5)],
            [Tally(ready=6, down_started=4, failed=3)],
            Policy(max_failures=2),
            Progress(),
            Moment(NOW),
        )
        assert (found.progress.phase, found.progress.reason) == (
            Phase.FAILED,
            "3 clusters could not apply it, 2 may fail",
        )
        assert found.quotas[0].ready == 0
        assert (
            decide(
                [part()], [Tally(ready=10)], Policy(), found.progress, Moment(NOW)
            ).progress.phase
            is Phase.FAILED
        )

    def test_a_partition_that_takes_too_long_fails_the_rollout(self) -> None:
        """By its own clock, from when it began."""
        policy = Policy(deadline=60.0)
        first = decide([part()], [Tally(ready=10)], policy, Progress(), Moment(NOW))
        assert first.wake == NOW + 60
        late = decide(
            [part()], [Tally(ready=5, ready_started=5)], policy, first.progress, Moment(NOW + 60)
        )
        assert late.progress.reason == "partition p did not finish within 1m"

    def test_a_manager_that_was_away_gives_the_whole_time_again(self) -> None:
        """Its outage is no failure of the change, and must not roll it back."""
        policy, begun = Policy(deadline=60.0), Progress(steps=(Step(NOW - 90_000),))
        found = decide([part()], [Tally(unknown=10)], policy, begun, Moment(NOW, since=NOW - 1))
        assert (found.progress.phase, found.wake) == (Phase.PROGRESSING, NOW + 59)
        assert (
            decide(
                [part()], [Tally(ready=10)], policy, begun, Moment(NOW + 59, since=NOW - 1)
            ).progress.phase
            is Phase.FAILED
        )

    def test_what_can_be_done_is_told(self) -> None:
        """Of an abort, and of a failure."""
        for phase, said, step in (
            (Phase.ABORTED, "is aborted", "return with `fleetctl rollback`"),
            (Phase.FAILED, "has failed", "continue with `fleetctl rollout resume`"),
        ):
            found = decide(
                [part()], [Tally(ready=10)], Policy(), Progress(phase, "it leaks"), Moment(NOW)
            )
            assert found.quotas == (Quota(why=f"the rollout {said}: it leaks"),)
            assert found.waiting.startswith(f"the rollout {said}: it leaks; {step}")
            assert "`fleetctl rollback`" in found.waiting
            assert "`fleetctl rollout resume`" in found.waiting

    def test_a_pause_holds_and_a_resume_goes_on(self) -> None:
        """With what was remembered of the partitions."""
        paused = Progress(Phase.PAUSED, "release freeze", (Step(NOW - 5),))
        held = decide([part()], [Tally(ready=10)], Policy(), paused, Moment(NOW))
        assert (held.quotas[0].ready, held.waiting) == (0, "the rollout is paused: release freeze")
        assert (
            decide(
                [part()], [Tally(ready=10)], Policy(), Progress(steps=paused.steps), Moment(NOW)
            ).progress.steps
            == paused.steps
        )


class TestFailures:
    def test_what_breaks_after_the_end_is_no_failure_of_the_change(self) -> None:
        """Completed and watched: a cluster that breaks a month later rolls nothing back. While it
        is watched, it does.
        """
        policy, progress = (
            Policy(max_failures=0),
            Progress(Phase.COMPLETED, "", (Step(NOW - 100, NOW - 60),)),
        )
        broken = [Tally(ready_started=9, down_started=1, failed=1)]
        assert (
            decide([part(soak=30.0)], broken, policy, progress, Moment(NOW)).progress.phase
            is Phase.COMPLETED
        )
        assert (
            decide([part(soak=90.0)], broken, policy, progress, Moment(NOW)).progress.phase
            is Phase.FAILED
        )

    def test_failures_that_were_accepted_do_not_count(self) -> None:
        """The next one does."""
        policy, progress = Policy(max_failures=1), Progress(steps=(Step(NOW - 100, accepted=2),))
        phases = [
            decide(
                [part()], [Tally(ready=5, down_started=n, failed=n)], policy, progress, Moment(NOW)
            ).progress.phase
            for n in (3, 4)
        ]
        assert phases == [Phase.PROGRESSING, Phase.FAILED]


class TestWindows:
    POLICY = Policy(deadline=60.0)

    def test_a_partition_waits_for_a_window_that_will_open(self) -> None:
        """The next one does not begin before the canary was told; who is barred for good, or
        paused, stops nobody.
        """
        parts = [part("canary", 2), part("rest", 8)]
        held = decide(
            parts,
            [Tally(barred_ready=2, later=2), Tally(ready=8)],
            Policy(),
            Progress(),
            Moment(NOW),
        )
        assert (held.quotas[1].ready, held.progress.steps[0].finished) == (0, 0.0)
        assert held.waiting == "partition canary: all remaining clusters are outside their windows"
        paused = decide(
            parts, [Tally(barred_ready=2), Tally(ready=8)], Policy(), Progress(), Moment(NOW)
        )
        assert paused.quotas[1].ready == 1

    def test_partitions_that_nobody_stated_wait_for_the_first_cluster_only(self) -> None:
        """A site with a window a month does not hold back three quarters of the fleet; it catches
        up under its own budget.
        """
        parts, policy = [part("1 of 2", 10), part("2 of 2", 10)], Policy(ordered=False)
        untried = decide(
            parts,
            [Tally(barred_ready=10, later=10), Tally(ready=10)],
            policy,
            Progress(),
            Moment(NOW),
        )
        assert untried.quotas[1].ready == 0
        tried = decide(
            parts,
            [Tally(ready_started=9, barred_ready=1, later=1), Tally(ready=10)],
            policy,
            Progress(),
            Moment(NOW),
        )
        assert (tried.quotas[1].ready, tried.progress.phase) == (1, Phase.PROGRESSING)
        opened = decide(
            parts,
            [Tally(ready_started=9, ready=1), Tally(ready_started=10)],
            policy,
            tried.progress,
            Moment(NOW + 5),
        )
        assert opened.quotas[0].ready == 1

    def test_the_clock_of_a_partition_stands_while_only_windows_are_waited_for(self) -> None:
        """Ten seconds in the window, a day outside, then fifty more: late only at the end of
        them.
        """
        progress = decide(
            [part()], [Tally(ready=10)], self.POLICY, Progress(), Moment(NOW)
        ).progress
        outside = [Tally(ready_started=3, barred_ready=7, later=7)]
        closed = decide([part()], outside, self.POLICY, progress, Moment(NOW + 10))
        assert closed.wake == 0
        later = decide([part()], outside, self.POLICY, closed.progress, Moment(NOW + 86_400))
        assert later.progress.phase is Phase.PROGRESSING
        opened = decide(
            [part()],
            [Tally(ready_started=3, ready=7)],
            self.POLICY,
            later.progress,
            Moment(NOW + 86_410),
        )
        assert opened.wake == NOW + 86_400 + 60
        assert (
            decide(
                [part()], [Tally(ready=7)], self.POLICY, opened.progress, Moment(NOW + 86_459)
            ).progress.phase
            is Phase.PROGRESSING
        )
        assert (
            decide(
                [part()], [Tally(ready=7)], self.POLICY, opened.progress, Moment(NOW + 86_460)
            ).progress.phase
            is Phase.FAILED
        )

    def test_what_is_down_lets_the_clock_run(self) -> None:
        """One that does not work with the new version is no matter of windows."""
        progress = decide(
            [part()], [Tally(ready=10)], self.POLICY, Progress(), Moment(NOW)
        ).progress
        bad = [Tally(down_started=2, barred_ready=8, later=8)]
        assert (
            decide([part()], bad, self.POLICY, progress, Moment(NOW + 60)).progress.phase
            is Phase.FAILED
        )
