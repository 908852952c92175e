"""Which clusters may change now, told by counts. Pure: the same counts, the same progress and the
same time give the same answer.

Rule: unavailable clusters plus clusters that we let go never exceed the budget of their partition.
A cluster that was silent before we let it go is held and counted apart (a site that is switched off
must not stop the others); one that fell silent after we let it go counts as unavailable, because
the change may be why. A cluster that is down already may always go: changing it costs nothing more.
A partition begins when those before it are finished; one that goes bad later stops those that have
not begun. A change that works on nobody who was told and answers goes no further, whatever the
budgets. All partitions that have begun share the bundle's own `maxUnavailable`, as in Fleet.

The answer is a number for each partition, not names: whoever holds the clusters takes so many of
them in the partition's own order. So a decision over a million clusters costs as much as one over
ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fleetctl.core.rollout.strategy import Partition, Policy
from fleetctl.core.text.duration import format_duration


class Phase(StrEnum):
    PROGRESSING = "Progressing"
    PAUSED = "Paused"  # by a person
    FAILED = "Failed"  # too many failures, or too slow; nobody goes until a person decides
    ABORTED = "Aborted"  # by a person, for good
    COMPLETED = "Completed"  # who is offline still catches up


@dataclass(frozen=True, slots=True)
class Tally:
    """One partition by numbers. *Started* clusters were told the new version, *waiting* ones were
    not.

    Of `down_started`: `failed` are those whose agent could not apply it, `flying` those whose agent
    is not done with it and not silent, `silent` those that were not heard for longer than they may.
    `fresh`: never had the bundle. `offline`: silent for longer than they may. `unknown`: no word
    since this manager started, too early to call it offline. `barred`: paused, or outside their
    window; who never had the bundle is missed by nobody, and counts as ready there. `later` of the
    barred wait for a window that will open.
    """

    ready_started: int = 0
    down_started: int = 0
    failed: int = 0
    flying: int = 0
    silent: int = 0
    ready: int = 0
    down: int = 0
    fresh: int = 0
    offline: int = 0
    unknown: int = 0
    barred_ready: int = 0
    barred_down: int = 0
    later: int = 0

    @property
    def unavailable(self) -> int:
        return self.down_started + self.down + self.fresh + self.unknown + self.barred_down

    @property
    def may_go(self) -> int:
        """The number of clusters that wait and that only the budget delays."""
        return self.ready + self.down + self.fresh

    @property
    def waiting(self) -> int:
        """The number of clusters that have not received the version, for any reason."""
        return self.may_go + self.offline + self.unknown + self.barred_ready + self.barred_down

    @property
    def idle(self) -> bool:
        """Whether all remaining clusters are outside a window, so that the passing time is not a
        delay.
        """
        return self.later > 0 and not (self.may_go or self.unknown or self.flying)


@dataclass(frozen=True, slots=True)
class Step:
    """How far one partition is; times in seconds, 0 not yet. `approved`: by a person, as are the
    `accepted` failures, of which so many do not count. `idle` seconds of it were spent outside
    windows, and it is so again since `idle_since`: they do not count for the deadline.
    """

    opened: float = 0.0
    finished: float = 0.0
    approved: bool = False
    accepted: int = 0
    idle: float = 0.0
    idle_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered of a rollout between two decisions: this is what a restart must find
    again.
    """

    phase: Phase = Phase.PROGRESSING
    reason: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """How many clusters may change now: of the ready ones, and of those that never had the bundle.
    Any number of unavailable clusters may change. `asks`: only the approval of a person is missing.
    """

    ready: int = 0
    fresh: int = 0
    down: bool = False
    why: str = ""  # what the others wait for, in words that `fleetctl why` prints
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`wake`: when time alone would change the answer, 0 never."""

    progress: Progress
    quotas: tuple[Quota, ...]
    wake: float = 0.0
    waiting: str = ""  # what the rollout as a whole waits for


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is decided: `now`, and `since` when the manager has listened, in seconds. `hold`: why
    nobody may go whatever the counts say (the bundle is paused in Git), or "".
    """

    now: float
    since: float = 0.0
    hold: str = ""


@dataclass
class _PartitionWalk:
    """While the partitions are gone through, in order."""

    unfinished: int = 0
    wake: float = 0.0
    waiting: str = ""
    steps: list[Step] = field(default_factory=list)
    blocked: list[Quota | None] = field(default_factory=list)  # None: it has begun

    def wait(self, until: float, reason: str) -> None:
        if until:
            self.wake = min(self.wake or until, until)
        self.waiting = self.waiting or reason


def decide(
    partitions: Sequence[Partition],
    tallies: Sequence[Tally],
    policy: Policy,
    progress: Progress,
    at: Moment,
) -> Decision:
    """Who may go, and how far the rollout is now. `progress` is what the last decision gave."""
    if progress.phase in _HALT_PHASES:
        reason_to_halt = halt_reason(progress)
        return Decision(
            progress,
            tuple(Quota(why=reason_to_halt) for _ in partitions),
            waiting=reason_to_halt + _NEXT.get(progress.phase, ""),
        )
    failure_reason = (
        "" if _over(partitions, progress, at.now) else failure(tallies, progress.steps, policy)
    )
    if failure_reason:
        return decide(
            partitions,
            tallies,
            policy,
            replace(progress, phase=Phase.FAILED, reason=failure_reason),
            at,
        )
    if at.hold:
        return _hold_all(tallies, progress, at.hold)
    walk = _PartitionWalk()
    for number, (partition, tally) in enumerate(zip(partitions, tallies, strict=True)):
        _visit(
            walk,
            partition,
            tally,
            policy,
            progress.steps[number] if number < len(progress.steps) else Step(),
            at,
        )
    late = _late(partitions, walk.steps, policy, at)
    if late:
        return decide(
            partitions, tallies, policy, Progress(Phase.FAILED, late, tuple(walk.steps)), at
        )
    is_done = all(
        step.finished or not p.members for p, step in zip(partitions, walk.steps, strict=True)
    )
    phase = Phase.COMPLETED if is_done else Phase.PROGRESSING
    quotas = _quotas(walk, partitions, tallies, policy)
    return Decision(
        Progress(phase, "", tuple(walk.steps)), quotas, walk.wake, "" if is_done else walk.waiting
    )


_HALT_PHASES = frozenset({Phase.PAUSED, Phase.FAILED, Phase.ABORTED})
_NEXT = {
    Phase.FAILED: (
        "; continue with `fleetctl rollout resume`, return with `fleetctl rollback`, or"
        " commit a fix"
    ),
    Phase.ABORTED: (
        "; return with `fleetctl rollback`, continue with `fleetctl rollout resume`, or"
        " commit a newer version"
    ),
}


def halt_reason(progress: Progress) -> str:
    """Why no cluster changes in a rollout that a person or a failure has stopped."""
    state = "has failed" if progress.phase is Phase.FAILED else f"is {progress.phase.value.lower()}"
    return f"the rollout {state}" + (f": {progress.reason}" if progress.reason else "")


def _hold_all(tallies: Sequence[Tally], progress: Progress, reason: str) -> Decision:
    """Change no cluster. The clock of an unfinished partition starts again when the rollout
    continues.
    """
    steps = tuple(
        step if step.finished else replace(step, opened=0.0, idle=0.0, idle_since=0.0)
        for step in progress.steps
    )
    waiting = (
        reason
        if progress.phase is Phase.PROGRESSING or any(tally.may_go for tally in tallies)
        else ""
    )
    return Decision(
        replace(progress, steps=steps), tuple(Quota(why=reason) for _ in tallies), waiting=waiting
    )


def _visit(
    walk: _PartitionWalk, partition: Partition, tally: Tally, policy: Policy, step: Step, at: Moment
) -> None:
    if not partition.members:  # asks nobody anything, and begins when somebody is in it
        walk.blocked.append(None)
        walk.steps.append(step)
        return
    quota = (
        None if step.opened or not tally.waiting else _blocking_quota(walk, partition, policy, step)
    )
    walk.blocked.append(quota)
    if quota:
        walk.steps.append(step)
        walk.wait(0.0, quota.why)
        walk.unfinished += 1
        return
    bad = _bad(partition, tally)
    step = _tick(replace(step, opened=step.opened or at.now), at.now, idle=tally.idle and not bad)
    if not step.finished and not (
        tally.may_go or tally.unknown or tally.flying or _is_awaited(tally, policy) or bad
    ):
        step = replace(step, finished=at.now)
    walk.steps.append(step)
    if not step.finished:
        walk.unfinished += 1
        walk.wait(_end(step, policy, at), f"{title_of(partition)}: {_doing(partition, tally, bad)}")
    elif bad:
        walk.unfinished += 1
        walk.wait(0.0, f"{title_of(partition)}: {bad}")
    elif at.now < step.finished + partition.soak:
        walk.unfinished += 1
        walk.wait(
            step.finished + partition.soak,
            f"{title_of(partition)} is watched for {format_duration(partition.soak)}",
        )


def title_of(partition: Partition) -> str:
    """`partition canary`; one that the manager made is called `Partition 3 of 5` already."""
    return (
        partition.name if partition.name.startswith("Partition ") else f"partition {partition.name}"
    )


def _is_awaited(tally: Tally, policy: Policy) -> bool:
    """Whether those outside their windows must go before the next partition begins. Where nobody
    has stated an order, a few sites with a window a month would hold all others back; there it is
    enough that somebody has the version.
    """
    return tally.later > 0 and (policy.ordered or not (tally.ready_started or tally.down_started))


def _tick(step: Step, now: float, *, idle: bool) -> Step:
    """Stop the clock of the partition while all remaining clusters are outside a window."""
    if idle:
        return replace(step, idle_since=step.idle_since or now)
    return (
        replace(step, idle=step.idle + max(0.0, now - step.idle_since), idle_since=0.0)
        if step.idle_since
        else step
    )


def _end(step: Step, policy: Policy, at: Moment) -> float:
    """When the partition is late; 0 for never, or while its clock is stopped. After an absence of
    the manager all clusters have the whole time again, since none received anything meanwhile.
    """
    return (
        max(step.opened + step.idle, at.since) + policy.deadline
        if policy.deadline and not step.idle_since
        else 0.0
    )


def _blocking_quota(
    walk: _PartitionWalk, partition: Partition, policy: Policy, step: Step
) -> Quota | None:
    """Why a partition may not begin, or None."""
    if walk.unfinished > policy.max_unavailable_partitions:
        return Quota(why=walk.waiting or "an earlier partition is not finished")
    if partition.approval and not step.approved:
        return Quota(why=f"{title_of(partition)} waits for approval", asks=True)
    return None


def _bad(partition: Partition, tally: Tally) -> str:
    """The problem of a partition whose clusters have received the version, or ""."""
    if tally.down_started and tally.unavailable > partition.max_unavailable:
        return f"{tally.unavailable} clusters are unavailable, {partition.max_unavailable} may be"
    if tally.down_started > tally.silent and not tally.ready_started:
        return f"none of the {tally.down_started} updated clusters is ready"
    return ""


def _quotas(
    walk: _PartitionWalk, partitions: Sequence[Partition], tallies: Sequence[Tally], policy: Policy
) -> tuple[Quota, ...]:
    """Of those that have begun; together they stay within the bundle's own budget. Who is down in
    one that has not begun is no reason to hold the others: the change may be what mends it.
    """
    started_tallies = [
        tally for tally, blocking in zip(tallies, walk.blocked, strict=True) if blocking is None
    ]
    down, clusters = (
        sum(tally.unavailable for tally in started_tallies),
        sum(len(p.members) for p in partitions),
    )
    limit = clusters if policy.max_unavailable is None else policy.max_unavailable
    free, quotas = max(0, limit - down), []
    for partition, tally, blocking in zip(partitions, tallies, walk.blocked, strict=True):
        quota = blocking or _quota(partition, tally, policy)
        if quota.ready > free:
            reason = (
                f"{limit} of {clusters} clusters may be unavailable at once over all partitions,"
                f" {down} are"
            )
            quota = replace(quota, ready=free, why=reason)
        free -= quota.ready
        quotas.append(quota)
    return tuple(quotas)


def _quota(partition: Partition, tally: Tally, policy: Policy) -> Quota:
    free = max(0, partition.max_unavailable - tally.unavailable)
    reason = (
        f"{partition.max_unavailable} of {len(partition.members)} clusters may be unavailable at"
        f" once, {tally.unavailable} are"
    )
    return Quota(
        ready=min(free, tally.ready),
        fresh=min(policy.max_new, tally.fresh),
        down=tally.down > 0,
        why=reason,
    )


def budgets_left(
    partitions: Sequence[Partition],
    tallies: Sequence[Tally],
    policy: Policy,
    quotas: Sequence[Quota],
) -> tuple[list[int], int]:
    """How many more that are ready may be changed beside those of `quotas`: in each partition, and
    all together within the bundle's own budget. Whoever goes back because a person says so waits
    for no order, no approval and no resume, but budgets are kept all the same; who is down already
    may always go.
    """
    limit = (
        sum(len(p.members) for p in partitions)
        if policy.max_unavailable is None
        else policy.max_unavailable
    )
    down = sum(tally.unavailable - tally.fresh for tally in tallies)
    partition_budgets = [
        max(0, p.max_unavailable - t.unavailable - q.ready)
        for p, t, q in zip(partitions, tallies, quotas, strict=True)
    ]
    return partition_budgets, max(0, limit - down - sum(quota.ready for quota in quotas))


def _over(partitions: Sequence[Partition], progress: Progress, now: float) -> bool:
    """Completed, and watched long enough: what breaks from now on is no failure of the change."""
    if progress.phase is not Phase.COMPLETED:
        return False
    steps = zip(partitions, progress.steps, strict=False)
    return all(
        not p.members or (step.finished and now >= step.finished + p.soak) for p, step in steps
    )


def failure(tallies: Sequence[Tally], steps: Sequence[Step], policy: Policy) -> str:
    """Why so many failures end a rollout, or ""."""
    failures, accepted_failures = (
        sum(tally.failed for tally in tallies),
        sum(step.accepted for step in steps),
    )
    if policy.max_failures is None or failures <= policy.max_failures + accepted_failures:
        return ""
    limit = (
        f"{accepted_failures} were accepted and {policy.max_failures} more may fail"
        if accepted_failures
        else f"{policy.max_failures} may fail"
    )
    return f"{failures} clusters could not apply it, {limit}"


def _late(
    partitions: Sequence[Partition], steps: Sequence[Step], policy: Policy, at: Moment
) -> str:
    for partition, step in zip(partitions, steps, strict=True):
        if step.opened and not step.finished and 0 < _end(step, policy, at) <= at.now:
            return f"{title_of(partition)} did not finish within {format_duration(policy.deadline)}"
    return ""


def _doing(partition: Partition, tally: Tally, bad: str) -> str:
    if tally.unknown:
        return f"{tally.unknown} clusters have not reported since the manager started"
    if tally.unavailable > partition.max_unavailable:
        return f"{tally.unavailable} clusters are unavailable, {partition.max_unavailable} may be"
    if tally.may_go:
        return f"{tally.may_go} of {len(partition.members)} clusters are not updated yet"
    if tally.flying:
        return f"{tally.flying} of {len(partition.members)} clusters have not answered yet"
    if tally.later and not bad:
        return "all remaining clusters are outside their windows"
    return bad
