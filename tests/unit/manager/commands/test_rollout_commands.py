"""What a person's command changes in a rollout."""

from __future__ import annotations

import msgspec
import pytest

from fleetctl.core.model.errors import RefusedError, UsageError
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.rollout.decide import Phase, Step
from manager.commands.rollouts import decide_change
from manager.store.commands.rollout.rollouts import RolloutChange
from manager.store.queries.rollouts import RolloutRow

ROW = RolloutRow(
    workspace=Workspace("w"),
    bundle=BundleName("web"),
    version=1,
    commit="",
    started_at="",
    phase="Progressing",
    reason="",
    waiting_for="partition canary",
    window_override="",
    partition_plan=b"null",
    steps=(),
    counts=b"[]",
    wake_at=5.0,
    dirty=0,
    unsent_count=3,
    last_good_revision=0,
)


def rollout(**changes: object) -> RolloutRow:
    return msgspec.structs.replace(ROW, **changes)


def test_a_pause_keeps_the_steps_and_waits_for_no_time() -> None:
    change = decide_change(ROW, "pause", "freeze")
    assert change == RolloutChange(phase=Phase.PAUSED, reason="freeze", wake_at=0.0)


def test_a_completed_rollout_is_aborted_only_while_clusters_wait() -> None:
    assert decide_change(rollout(phase="Completed"), "abort", "").phase is Phase.ABORTED
    with pytest.raises(RefusedError, match="completed"):
        decide_change(rollout(phase="Completed", unsent_count=0), "abort", "")


def test_a_resume_starts_the_clocks_of_unfinished_partitions_again() -> None:
    steps = (Step(opened=1.0, finished=2.0), Step(opened=3.0, idle=1.0))
    change = decide_change(rollout(phase="Failed", steps=steps), "resume", "")
    assert change.steps == [steps[0], Step()]
    with pytest.raises(RefusedError, match="not paused"):
        decide_change(ROW, "resume", "")


def test_an_approval_reaches_the_partition_that_asks() -> None:
    change = decide_change(rollout(counts=b'[{"asks":false},{"asks":true}]'), "approve", "")
    assert change.steps == [Step(), Step(approved=True)]


def test_an_approval_that_nothing_asks_for_is_refused_with_what_is_waited_for() -> None:
    with pytest.raises(RefusedError) as refusal:
        decide_change(ROW, "approve", "")
    assert "partition canary" in refusal.value.next_step


def test_closed_windows_are_ignored_only_with_a_reason() -> None:
    assert decide_change(ROW, "ignore-windows", " urgent ").window_override == "urgent"
    with pytest.raises(UsageError):
        decide_change(ROW, "ignore-windows", " ")
