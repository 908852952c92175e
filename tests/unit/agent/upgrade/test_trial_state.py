"""Which version runs: every row of the table, and the law that no version is tried for ever."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest

from agent.upgrade import trial_state
from agent.upgrade.trial_state import (
    ATTEMPTS,
    STARTS,
    Choice,
    Program,
    Trial,
    TrialFacts,
    TrialFailure,
    TrialState,
)
from fleetctl.core.model.agent_release import AgentRelease, Runtime
from fleetctl.core.model.wire import AgentTarget, AgentUpgrade

HERE = Runtime("cpython-3.11", "x86_64-linux-gnu")


def program(version: str, python: str = HERE.python) -> Program:
    return Program(
        version=version,
        sha256=version * 8,
        file=f"{version}.pyz",
        python=python,
        platform=HERE.platform,
    )


def on_trial(
    version: str = "2", *, attempts: int = 0, target_number: int = 7, **more: Any
) -> TrialState:
    return TrialState(
        base="one",
        trial=Trial(
            program=program(version), epoch=1, target_number=target_number, attempts=attempts
        ),
        **more,
    )


def test_without_a_state_the_installed_version_runs():
    """Nothing is written either."""
    assert trial_state.choose(TrialState(), "one", HERE) == (TrialState(), Choice())


def test_an_attempt_is_counted_before_it_begins():
    """And is "cut off" until something else is known of it."""
    state, choice = trial_state.choose(on_trial(), "one", HERE)
    assert choice == Choice(program("2"), on_trial=True)
    assert state.trial is not None
    assert (state.trial.attempts, state.trial.why) == (1, "it was cut off")


def test_after_the_last_attempt_the_version_before_runs():
    """The current one when there is one, else what was installed; and why is kept."""
    for current in (None, program("1")):
        state, choice = trial_state.choose(
            on_trial(attempts=ATTEMPTS, current=current), "one", HERE
        )
        assert choice.program == current
        assert state.trial is None
        assert state.failure is not None
        assert (state.failure.version, state.failure.target_number, state.target_number) == (
            "2",
            7,
            7,
        )


def test_a_version_that_has_checked_in_is_the_current_one():
    """Its target is done, what failed before is forgotten, and the next start runs it."""
    state = trial_state.confirm(
        on_trial(attempts=2, failure=TrialFailure(version="1", epoch=1, target_number=3, why="x"))
    )
    assert (state.current, state.trial, state.failure, state.target_number) == (
        program("2"),
        None,
        None,
        7,
    )
    _, choice = trial_state.choose(state, "one", HERE)
    assert choice == Choice(program("2"))


def test_what_is_installed_by_hand_wins():
    """Over the current version and over one on trial, whose target is over."""
    for state in (on_trial(), trial_state.confirm(on_trial())):
        after, choice = trial_state.choose(state, "two", HERE)
        assert (choice, after.current, after.trial, after.target_number) == (
            Choice(),
            None,
            None,
            7,
        )


def test_another_python_does_not_run_a_file_that_does_not_fit_it():
    """After the host's Python was upgraded the installed agent runs, and says so."""
    old = TrialState(base="one", current=program("2", "cpython-3.10"), target_number=7, epoch=1)
    state, choice = trial_state.choose(old, "one", HERE)
    assert choice == Choice()
    assert state.failure is not None
    assert "needs cpython-3.10" in state.failure.why


def test_a_current_version_that_never_lasts_is_given_up():
    """STARTS in a row; one that lasted begins the count anew."""
    state = trial_state.confirm(on_trial())
    for _ in range(STARTS):
        state, choice = trial_state.choose(state, "one", HERE)
        assert choice.program is not None
    assert trial_state.choose(trial_state.reset_starts(state), "one", HERE)[1].program is not None
    after, choice = trial_state.choose(state, "one", HERE)
    assert choice.program is None
    assert after.failure is not None


def test_an_attempt_that_a_person_ended_does_not_count():
    """Stopping the agent in a trial costs nothing."""
    state, _ = trial_state.choose(on_trial(), "one", HERE)
    assert trial_state.stop(state).trial == msgspec.structs.replace(state.trial, attempts=0)


@pytest.mark.parametrize("seed", range(20))
def test_no_version_is_tried_for_ever(seed: int):
    """Whatever happens to the attempts (cut off, failed, written down or not), at most ATTEMPTS of
    one target begin.
    """
    chance = random.Random(seed)
    state, begun = on_trial(current=program("1")), 0
    for _ in range(50):
        state, choice = trial_state.choose(state, "one", HERE)
        if not choice.on_trial:
            assert choice.program == program("1")
            break
        begun += 1
        if chance.random() < 0.5:
            state = trial_state.fail(state, "it hung")
        assert msgspec.json.decode(msgspec.json.encode(state), type=TrialState) == state
    assert begun == ATTEMPTS
    assert state.trial is None


RELEASE = AgentRelease(
    version="2.0", python=HERE.python, platform=HERE.platform, size=1, sha256="ab" * 32
)
TARGET = AgentTarget(number=7, release=RELEASE)
FACTS: dict[str, Any] = {
    "version": "1.0",
    "sha256": "",
    "runtime": HERE,
    "keys": 1,
    "is_signed": True,
    "in_pod": False,
}


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        ({}, "fetching", ""),
        ({"keys": 0, "is_signed": False}, "refused", "upgrades are off"),
        ({"is_signed": False}, "refused", "not signed"),
        ({"runtime": Runtime("cpython-3.12", HERE.platform)}, "refused", "runs on cpython-3.12"),
        ({"in_pod": True}, "refused", "image"),
        ({"version": "3.0"}, "refused", "not newer than 3.0"),
        ({"version": "main"}, "refused", "not newer than main"),
        ({"version": "2.0"}, "done", ""),
        ({"version": "2.0", "sha256": "cd" * 32}, "fetching", ""),
        ({"version": "1.0", "sha256": "ab" * 32}, "done", ""),
    ],
)
def test_a_new_wish_is_judged(change: dict[str, Any], state: str, said: str):
    """Each reason to refuse, what is done already, and what is fetched."""
    found = trial_state.judge(TARGET, TrialState(), 1, TrialFacts(**(FACTS | change)))
    assert (found.state, found.target_number, found.version) == (state, 7, "2.0")
    assert said in found.message


def test_an_older_version_needs_a_signature_that_says_so():
    """The manager alone cannot bring back a version with a known hole."""
    older = msgspec.structs.replace(RELEASE, replaces_newer=True)
    found = trial_state.judge(
        AgentTarget(number=7, release=older),
        TrialState(),
        1,
        TrialFacts(**(FACTS | {"version": "3.0"})),
    )
    assert found.state == "fetching"


def test_a_wish_that_failed_is_not_tried_again_until_a_newer_one():
    """By number within an epoch, and a newer epoch is newer."""
    state, _ = trial_state.choose(on_trial(attempts=ATTEMPTS), "one", HERE)
    facts = TrialFacts(**FACTS)
    for epoch, number in itertools.product((0, 1), (1, 7)):
        assert trial_state.judge(
            AgentTarget(number=number, release=RELEASE), state, epoch, facts
        ).state in {"failed", "refused"}
    assert (
        trial_state.judge(TARGET, state, 1, facts).message == state.failure.why
        if state.failure
        else False
    )
    assert (
        trial_state.judge(AgentTarget(number=8, release=RELEASE), state, 1, facts).state
        == "fetching"
    )
    assert (
        trial_state.judge(AgentTarget(number=1, release=RELEASE), state, 2, facts).state
        == "fetching"
    )


def test_a_wish_that_was_done_is_not_done_again_over_a_hand():
    """Somebody installed another version since: the old target stands no more."""
    done = trial_state.confirm(on_trial())
    after, _ = trial_state.choose(done, "two", HERE)
    found = trial_state.judge(TARGET, after, 1, TrialFacts(**(FACTS | {"version": "3.0"})))
    assert (found.state, "by hand" in found.message) == ("refused", True)


def test_an_older_agent_reads_the_state():
    """The file keeps the key `wish` for the number of a target."""
    failure = TrialFailure(version="1", epoch=1, target_number=6, why="x")
    stored = msgspec.to_builtins(
        msgspec.structs.replace(on_trial(), target_number=6, failure=failure)
    )
    assert (stored["wish"], stored["trial"]["wish"], stored["failure"]["wish"]) == (6, 7, 6)
    assert "target_number" not in stored


def test_an_older_manager_reads_the_progress_of_an_upgrade():
    upgrade = AgentUpgrade(target_number=7, version="2.0", state="done")
    assert msgspec.json.encode(upgrade) == b'{"wish":7,"version":"2.0","state":"done"}'
