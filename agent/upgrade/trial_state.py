"""Decides which version of the agent runs: the installed one, a version that the manager named and
that passed its trial, or a version on trial.

A pure table over `STATE_DIR/agents/state.json`. Rule: a version counts only after it has checked in
with the manager; each attempt is counted before it begins, so that no crash, hang or power cut can
repeat it for ever; a version that failed is not tried again before a newer target; a version that a
person installs by hand replaces every other one.

    target ──judged, staged, checked──► trial ──a poll answered, a full report accepted──► current
                                        │ ATTEMPTS in vain                                  │ STARTS
                                        in a row that do not last
                                        ▼                                                   ▼
                                    failure (told to the manager), and the version before runs again
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fleetctl.core.model.agent_release import AgentRelease, Runtime, is_newer
from fleetctl.core.model.wire import AgentTarget, AgentUpgrade

ATTEMPTS = 3
STARTS = 5
_MOST_WHY = 400


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A staged file, `STATE_DIR/agents/FILE`. `release`: the signed statement about it, which each
    start verifies again.
    """

    version: str
    sha256: str
    file: str
    python: str
    platform: str
    release: AgentRelease | None = None

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.python, self.platform)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` that have begun; `why` the last one that ended did so in vain."""

    program: Program
    epoch: int
    target_number: int = msgspec.field(name="wish")
    attempts: int = 0
    why: str = ""


class TrialFailure(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    epoch: int
    target_number: int = msgspec.field(name="wish")
    why: str


class TrialState(msgspec.Struct, frozen=True, kw_only=True):
    """`base`: the program that was installed when `current` or `trial` came. (`epoch`,
    `target_number`): the newest target that was completed or abandoned. `starts`: consecutive
    starts of `current` that ended too early.
    """

    base: str = ""
    current: Program | None = None
    trial: Trial | None = None
    failure: TrialFailure | None = None
    epoch: int = 0
    target_number: int = msgspec.field(default=0, name="wish")
    starts: int = 0


class Choice(NamedTuple):
    """What a start runs: `program` None is the installed one."""

    program: Program | None = None
    on_trial: bool = False


@dataclass(frozen=True)
class TrialFacts:
    """What a target is judged by. `sha256` of the running file, "" when it is not one; `signed`: by
    one of the pinned keys.
    """

    version: str
    sha256: str
    runtime: Runtime
    keys: int
    is_signed: bool
    in_pod: bool


def choose(state: TrialState, base: str, runtime: Runtime) -> tuple[TrialState, Choice]:
    """What this start runs, and the state to keep before it does."""
    if (state.current or state.trial) and state.base != base:
        state = _by_hand(state)
    if state.trial is not None and state.trial.attempts >= ATTEMPTS:
        state = _give_up(state, state.trial)
    trial, current = state.trial, state.current
    if trial is not None and trial.program.runtime == runtime:
        next_attempt = msgspec.structs.replace(
            trial, attempts=trial.attempts + 1, why="it was cut off"
        )
        return msgspec.structs.replace(state, trial=next_attempt), Choice(
            trial.program, on_trial=True
        )
    if trial is not None:
        state = _give_up(
            state,
            msgspec.structs.replace(
                trial, why=f"it needs {trial.program.runtime}, and this is {runtime}"
            ),
        )
    if current is None:
        return state, Choice()
    if current.runtime != runtime:
        return drop_current(state, f"it needs {current.runtime}, and this is {runtime}"), Choice()
    if state.starts >= STARTS:
        return drop_current(state, f"{STARTS} starts in a row did not last"), Choice()
    return msgspec.structs.replace(state, starts=state.starts + 1), Choice(current)


def begin(
    state: TrialState, base: str, program: Program, *, epoch: int, target_number: int
) -> TrialState:
    """A staged and checked file goes on trial at the next start."""
    current = state.current if state.base == base else None
    return msgspec.structs.replace(
        state,
        base=base,
        current=current,
        trial=Trial(program=program, epoch=epoch, target_number=target_number),
    )


def fail(state: TrialState, reason: str) -> TrialState:
    """An attempt ended in vain; the last one ends the trial."""
    if state.trial is None:
        return state
    trial = msgspec.structs.replace(state.trial, why=reason[:_MOST_WHY])
    state = msgspec.structs.replace(state, trial=trial)
    return _give_up(state, trial) if trial.attempts >= ATTEMPTS else state


def stop(state: TrialState) -> TrialState:
    """An attempt was ended by whoever stopped the agent: it does not count."""
    if state.trial is None:
        return state
    attempts = max(0, state.trial.attempts - 1)
    return msgspec.structs.replace(
        state, trial=msgspec.structs.replace(state.trial, attempts=attempts)
    )


def confirm(state: TrialState) -> TrialState:
    """The version on trial has checked in."""
    if state.trial is None:
        return state
    trial = state.trial
    return TrialState(
        base=state.base, current=trial.program, epoch=trial.epoch, target_number=trial.target_number
    )


def refuse(state: TrialState, target: AgentTarget, epoch: int, reason: str) -> TrialState:
    """A file that failed its check before any trial: not tried again until a newer target."""
    failure = TrialFailure(
        version=target.release.version,
        epoch=epoch,
        target_number=target.number,
        why=reason[:_MOST_WHY],
    )
    return msgspec.structs.replace(state, failure=failure, epoch=epoch, target_number=target.number)


def drop_current(state: TrialState, reason: str) -> TrialState:
    """The current version cannot be used any more: the installed one runs."""
    if state.current is None:
        return state
    failure = TrialFailure(
        version=state.current.version,
        epoch=state.epoch,
        target_number=state.target_number,
        why=reason[:_MOST_WHY],
    )
    return msgspec.structs.replace(state, current=None, failure=failure, starts=0)


def reset_starts(state: TrialState) -> TrialState:
    return msgspec.structs.replace(state, starts=0)


def judge(target: AgentTarget, state: TrialState, epoch: int, facts: TrialFacts) -> AgentUpgrade:
    """Return what becomes of the manager's target: `done`, `failed`, `refused` with the reason, or
    `fetching`, which is yes.
    """
    release = target.release
    verdict = AgentUpgrade(target_number=target.number, version=release.version, state="done")
    if (epoch, target.number) <= (state.epoch, state.target_number):
        failure = state.failure
        if failure is not None and (failure.epoch, failure.target_number) == (epoch, target.number):
            return msgspec.structs.replace(verdict, state="failed", message=failure.why)
        if _is(release, facts):
            return verdict
        return msgspec.structs.replace(
            verdict, state="refused", message=f"version {facts.version} was installed by hand since"
        )
    if _is(release, facts):
        return verdict
    reason = _against(release, facts)
    return msgspec.structs.replace(
        verdict, state="refused" if reason else "fetching", message=reason
    )


def _is(release: AgentRelease, facts: TrialFacts) -> bool:
    return release.sha256 == facts.sha256 if facts.sha256 else release.version == facts.version


def _against(release: AgentRelease, facts: TrialFacts) -> str:
    """Why this agent does not take the release, or ""."""
    if facts.in_pod:
        return "this agent runs in a Pod, whose image decides its version"
    if not facts.keys:
        return (
            "upgrades are off: no release key is pinned on this agent (fleet-agent run"
            " --release-key)"
        )
    if release.runtime != facts.runtime:
        return f"the file is for {release.runtime}, and this agent runs on {facts.runtime}"
    if not facts.is_signed:
        return "the file is not signed by a release key that is pinned on this agent"
    if is_newer(facts.version, release.version) is not False and not release.replaces_newer:
        return (
            f"it is not newer than {facts.version}, and its signature does not allow it to replace"
            " a newer one"
        )
    return ""


def _give_up(state: TrialState, trial: Trial) -> TrialState:
    tries = f" ({trial.attempts} attempts)" if trial.attempts > 1 else ""
    failure = TrialFailure(
        version=trial.program.version,
        epoch=trial.epoch,
        target_number=trial.target_number,
        why=trial.why + tries,
    )
    return msgspec.structs.replace(
        state, trial=None, failure=failure, epoch=trial.epoch, target_number=trial.target_number
    )


def _by_hand(state: TrialState) -> TrialState:
    """A person installed another program: it runs, and the target in progress is abandoned."""
    epoch, target_number = (
        (state.trial.epoch, state.trial.target_number)
        if state.trial
        else (state.epoch, state.target_number)
    )
    return TrialState(epoch=epoch, target_number=target_number)
