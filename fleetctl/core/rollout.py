"""Which clusters may change now, told by counts. Pure: the same counts, the same progress and the same time give the same answer.

Rule: unavailable clusters plus clusters that we let go never exceed the budget of their partition. A cluster that was silent before we let
it go is held and counted apart (a site that is switched off must not stop the others); one that fell silent after we let it go counts as
unavailable, because the change may be why. A cluster that is down already may always go: changing it costs nothing more. A partition begins
when those before it are finished; one that goes bad later stops those that have not begun.

The answer is a number for each partition, not names: whoever holds the clusters takes so many of them in the partition's own order. So a
decision over a million clusters costs as much as one over ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fleetctl.core.strategy import Partition, Policy


class Phase(StrEnum):
    PROGRESSING = "Progressing"
    PAUSED = "Paused"  # by a person
    FAILED = "Failed"  # too many failures, or too slow; nobody goes until a person decides
    ABORTED = "Aborted"  # by a person, for good
    COMPLETED = "Completed"  # who is offline still catches up
    SUPERSEDED = "Superseded"  # a newer version has taken over


@dataclass(frozen=True, slots=True)
class Tally:
    """One partition by numbers. *Started* clusters were told the new version, *waiting* ones were not.

    Of `down_started`: `failed` are those whose agent could not apply it, `flying` those that have not answered yet and are not silent.
    `fresh`: never had the bundle. `offline`: silent for longer than they may. `unknown`: no word since this manager started, too early to
    call it offline. `barred`: paused, or outside their window.
    """

    ready_started: int = 0
    down_started: int = 0
    failed: int = 0
    flying: int = 0
    ready: int = 0
    down: int = 0
    fresh: int = 0
    offline: int = 0
    unknown: int = 0
    barred_ready: int = 0
    barred_down: int = 0

    @property
    def unavailable(self) -> int:
        return self.down_started + self.down + self.fresh + self.unknown + self.barred_down

    @property
    def may_go(self) -> int:
        """Waiting, and in nobody's way but the budget's."""
        return self.ready + self.down + self.fresh


@dataclass(frozen=True, slots=True)
class Step:
    """How far one partition is; times in seconds, 0 not yet. `approved`: by a person, as are the `accepted` failures, of which so many do
    not count.
    """

    opened: float = 0.0
    finished: float = 0.0
    approved: bool = False
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered of a rollout between two decisions: this is what a restart must find again."""

    phase: Phase = Phase.PROGRESSING
    reason: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """How many may go now: of those that are ready, and of those that never had the bundle; who is down may go in any number."""

    ready: int = 0
    fresh: int = 0
    down: bool = False
    why: str = ""  # what the others wait for, in words that `fleetctl why` prints


@dataclass(frozen=True, slots=True)
class Decision:
    """`wake`: when time alone would change the answer, 0 never."""

    progress: Progress
    quotas: tuple[Quota, ...]
    wake: float = 0.0
    waiting: str = ""  # what the rollout as a whole waits for


@dataclass
class _Walk:
    """While the partitions are gone through, in order."""

    unfinished: int = 0
    wake: float = 0.0
    waiting: str = ""
    steps: list[Step] = field(default_factory=list)
    quotas: list[Quota] = field(default_factory=list)

    def wait(self, until: float, why: str) -> None:
        if until:
            self.wake = min(self.wake or until, until)
        self.waiting = self.waiting or why


def decide(partitions: Sequence[Partition], tallies: Sequence[Tally], policy: Policy, progress: Progress, now: float) -> Decision:
    """Who may go, and how far the rollout is now. `progress` is what the last decision gave."""
    if progress.phase in {Phase.ABORTED, Phase.SUPERSEDED}:
        return Decision(progress, tuple(Quota(why=progress.reason or progress.phase.value.lower()) for _ in partitions))
    if progress.phase in {Phase.PAUSED, Phase.FAILED}:
        why = f"the rollout is {progress.phase.value.lower()}" + (f": {progress.reason}" if progress.reason else "")
        return Decision(progress, tuple(Quota(why=why) for _ in partitions), waiting=why)
    failed = "" if _over(partitions, progress, now) else _failed(tallies, progress.steps, policy)
    if failed:
        return decide(partitions, tallies, policy, replace(progress, phase=Phase.FAILED, reason=failed), now)
    walk = _Walk()
    for at, (partition, tally) in enumerate(zip(partitions, tallies, strict=True)):
        _visit(walk, partition, tally, policy, progress.steps[at] if at < len(progress.steps) else Step(), now)
    late = _late(partitions, walk.steps, policy, now)
    if late:
        return decide(partitions, tallies, policy, Progress(Phase.FAILED, late, tuple(walk.steps)), now)
    done = all(step.finished for step in walk.steps)
    phase = Phase.COMPLETED if done else Phase.PROGRESSING
    return Decision(Progress(phase, "", tuple(walk.steps)), tuple(walk.quotas), walk.wake, "" if done else walk.waiting)


def _visit(walk: _Walk, partition: Partition, tally: Tally, policy: Policy, step: Step, now: float) -> None:
    blocked = "" if step.opened else _blocked(walk, partition, policy, step)
    if blocked:
        walk.steps.append(step)
        walk.quotas.append(Quota(why=blocked))
        walk.wait(0.0, blocked)
        walk.unfinished += 1
        return
    step = replace(step, opened=step.opened or now)
    bad = tally.unavailable > partition.max_unavailable and tally.down_started > 0
    if not step.finished and not (tally.may_go or tally.unknown or tally.flying or bad):
        step = replace(step, finished=now)
    walk.steps.append(step)
    walk.quotas.append(_quota(partition, tally, policy))
    if not step.finished:
        walk.unfinished += 1
        walk.wait(step.opened + policy.deadline if policy.deadline else 0.0, f"partition {partition.name}: {_doing(partition, tally)}")
    elif bad:
        walk.unfinished += 1
        walk.wait(0.0, f"partition {partition.name}: {tally.unavailable} clusters are unavailable, {partition.max_unavailable} may be")
    elif now < step.finished + partition.soak:
        walk.unfinished += 1
        walk.wait(step.finished + partition.soak, f"partition {partition.name} is watched for {partition.soak:g} s")


def _blocked(walk: _Walk, partition: Partition, policy: Policy, step: Step) -> str:
    """Why a partition may not begin, or ""."""
    if walk.unfinished > policy.max_unavailable_partitions:
        return walk.waiting or "an earlier partition is not finished"
    if partition.approval and not step.approved:
        return f"partition {partition.name} waits for `fleetctl rollout approve`"
    return ""


def _quota(partition: Partition, tally: Tally, policy: Policy) -> Quota:
    free = max(0, partition.max_unavailable - tally.unavailable)
    why = f"{partition.max_unavailable} of {len(partition.members)} clusters may be unavailable at once, {tally.unavailable} are"
    return Quota(ready=min(free, tally.ready), fresh=min(policy.max_new, tally.fresh), down=tally.down > 0, why=why)


def _over(partitions: Sequence[Partition], progress: Progress, now: float) -> bool:
    """Completed, and watched long enough: what breaks from now on is no failure of the change."""
    if progress.phase is not Phase.COMPLETED:
        return False
    return all(step.finished and now >= step.finished + p.soak for p, step in zip(partitions, progress.steps, strict=False))


def _failed(tallies: Sequence[Tally], steps: Sequence[Step], policy: Policy) -> str:
    failed, accepted = sum(tally.failed for tally in tallies), sum(step.accepted for step in steps)
    if policy.max_failures is None or failed <= policy.max_failures + accepted:
        return ""
    limit = f"{accepted} were accepted and {policy.max_failures} more may fail" if accepted else f"{policy.max_failures} may fail"
    return f"{failed} clusters could not apply it, {limit}"


def _late(partitions: Sequence[Partition], steps: Sequence[Step], policy: Policy, now: float) -> str:
    if not policy.deadline:
        return ""
    for partition, step in zip(partitions, steps, strict=True):
        if step.opened and not step.finished and now >= step.opened + policy.deadline:
            return f"partition {partition.name} did not finish within {policy.deadline:g} s"
    return ""


def _doing(partition: Partition, tally: Tally) -> str:
    if tally.unknown:
        return f"{tally.unknown} clusters have not reported since the manager started"
    if tally.unavailable > partition.max_unavailable:
        return f"{tally.unavailable} clusters are unavailable, {partition.max_unavailable} may be"
    if tally.may_go:
        return f"{tally.may_go} of {len(partition.members)} clusters are left to be told"
    return f"{tally.flying} of {len(partition.members)} clusters have not answered yet"
