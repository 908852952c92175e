"""Which rollouts begin when versions are staged."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, CommitId, Workspace
from fleetctl.core.rollout.decide import Phase
from manager.rollout.staging import new_rollouts
from manager.store.commands.rollout.rollouts import NewRollout
from manager.store.queries.revisions import BundleVersion
from manager.store.queries.rollouts import RolloutVersion

WEB = BundleName("web")
SPEC = BundleSpec(workspace=Workspace("w"), name=WEB, commit=CommitId("c" * 40))


def begun(before: RolloutVersion | None) -> list[NewRollout]:
    return new_rollouts([SPEC], {WEB: BundleVersion(7, 0)}, {WEB: before} if before else {})


def test_a_bundle_without_a_rollout_gets_one() -> None:
    assert begun(None) == [NewRollout(WEB, 7, "c" * 40, Phase.PROGRESSING, "")]


def test_the_rollout_of_the_same_version_goes_on() -> None:
    assert begun(RolloutVersion(7, Phase.FAILED, "too many")) == []


def test_a_newer_version_of_a_paused_rollout_stays_paused() -> None:
    [rollout] = begun(RolloutVersion(6, Phase.PAUSED, "freeze"))
    assert (rollout.version, rollout.phase, rollout.reason) == (7, Phase.PAUSED, "freeze")


def test_a_newer_version_of_a_failed_rollout_progresses() -> None:
    [rollout] = begun(RolloutVersion(6, Phase.FAILED, "too many"))
    assert (rollout.phase, rollout.reason) == (Phase.PROGRESSING, "")
