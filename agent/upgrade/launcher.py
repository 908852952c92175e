"""Starts the version that agent/upgrade/trial_state.py chooses; agent/upgrade/trial_run.py stands
over one that is on trial.

Rule: the program that was installed is always where a start begins, so that there is always a way
back. The current version takes its place (exec, the same process). One on trial is a child: its
parent kills it when it does not check in, eats memory or hangs, and the kernel kills it when the
parent dies. After a trial the parent starts from the beginning again, so an idle agent is one
process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import machinery
from pathlib import Path

import msgspec

from fleetctl.core.model.agent_release import Runtime, runtime_of
from fleetctl.core.model.errors import Conflict
from fleetctl.durable import write_whole

from ..config import BASE_PROGRAM, TRIAL, AgentConfig, child_environment
from ..host.failpoints import failpoint
from ..host.log import event, trouble
from ..packaging.bootstrap import unsafe
from ..state.directory import LOCK
from ..version import version
from . import release_keys, trial_state
from .trial_state import Choice, Program, TrialState

ARCHIVE: Path | None = None  # the .pyz that this process runs from
AGAIN = -1  # a "status" that means: start from the beginning
FOLDER = "agents"


@dataclass(frozen=True)
class Base:
    """The installed program: how it was started, and what tells it from another one."""

    executable: str
    argv: Sequence[str]
    identity: str
    file: str = ""  # the .pyz, when it is one

    @property
    def is_there(self) -> bool:
        return not self.file or Path(self.file).is_file()


RunTrial = Callable[[Path, Program, Base, AgentConfig], int]


def runtime() -> Runtime:
    return runtime_of(machinery.EXTENSION_SUFFIXES[0])


def digest() -> str:
    """SHA-256 of the .pyz that runs, "" for an installed package."""
    return sha256(ARCHIVE) if ARCHIVE else ""


def base(base_program: str) -> Base:
    """What was started first, of this process or of the one that it replaced. base_program: of
    the environment, "" in the first process.
    """
    if base_program:
        return msgspec.json.decode(base_program, type=Base)
    identity = f"file {digest()}" if ARCHIVE else f"installed {version()}"
    return Base(sys.executable, list(sys.orig_argv), identity, str(ARCHIVE or ""))


def load(state_dir: Path) -> TrialState:
    """A state that cannot be read chooses the installed program."""
    try:
        return msgspec.json.decode(
            (state_dir / FOLDER / "state.json").read_bytes(), type=TrialState
        )
    except FileNotFoundError:
        return TrialState()
    except (OSError, msgspec.DecodeError) as error:
        trouble("agents/state.json cannot be read; the installed version runs", str(error))
        return TrialState()


def save(state_dir: Path, state: TrialState) -> None:
    """Durable when this returns. Raises OSError."""
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / "state.json", msgspec.json.encode(state))


def start(config: AgentConfig, run_trial: RunTrial) -> int | None:
    """Start the chosen version; `run_trial` runs one that is on trial. Returns None when this
    process itself is the chosen version. Raises Conflict.
    """
    if config.environment.base_program:
        return None
    state_dir, words = config.state_dir.absolute(), config.arguments
    stored_state = load(state_dir)
    if stored_state.current is None and stored_state.trial is None:
        return None
    installed_base = base("")
    try:
        with _Alone(state_dir):
            state, choice = trial_state.choose(stored_state, installed_base.identity, runtime())
            state, choice = _usable(state_dir, state, choice)
            if state != stored_state:
                save(state_dir, state)
            if choice.program is not None and choice.on_trial:
                failpoint("upgrade-counted")
                return run_trial(state_dir, choice.program, installed_base, config)
    except OSError as error:
        # What cannot be counted could be tried for ever: what is known to work runs.
        trouble("the state directory is not writable; no version is tried", str(error))
        _, choice = _usable(
            state_dir,
            stored_state,
            Choice(stored_state.current if stored_state.base == installed_base.identity else None),
        )
    if choice.program is None:
        return None
    failpoint("upgrade-current")
    event(f"starting version {choice.program.version}")
    return _replace_process(command(state_dir, choice.program, words), inside(installed_base))


def again(config: AgentConfig) -> int:
    """Start from the beginning in this process."""
    base_program = base(config.environment.base_program)
    env = child_environment(remove=(BASE_PROGRAM, TRIAL))
    return _replace_process([base_program.executable, *base_program.argv[1:]], env)


def _replace_process(argv: Sequence[str], env: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(argv[0], list(argv), env)  # noqa: S606 - no shell is wanted


def command(state_dir: Path, program: Program, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-I", str(state_dir / FOLDER / program.file), *words]


def inside(base_program: Base) -> dict[str, str]:
    return child_environment(add={BASE_PROGRAM: msgspec.json.encode(base_program).decode()})


def _usable(state_dir: Path, state: TrialState, choice: Choice) -> tuple[TrialState, Choice]:
    """A file that is not there any more, is damaged, can be changed by others or is not signed any
    more is not started.
    """
    reason = _unusable(state_dir, choice.program) if choice.program is not None else ""
    if not reason:
        return state, choice
    trouble(
        f"version {choice.program.version if choice.program else ''}",
        f"it is not started: {reason}",
    )
    if choice.on_trial and state.trial is not None:
        last = msgspec.structs.replace(state.trial, attempts=trial_state.ATTEMPTS)
        state = trial_state.fail(msgspec.structs.replace(state, trial=last), reason)
        return _usable(state_dir, state, Choice(state.current))
    return trial_state.drop_current(state, reason), Choice()


def _unusable(state_dir: Path, program: Program) -> str:
    """Why the staged file of `program` must not be run, or ""."""
    path = state_dir / FOLDER / program.file
    try:
        for part in (path.parent, path):
            if reason := unsafe(part, parents=False):
                return f"{part} {reason}"
        if path.parent != state_dir / FOLDER or path.is_symlink() or sha256(path) != program.sha256:
            return "its file is damaged"
    except OSError:
        return "its file is damaged"
    keys = release_keys.load_keys(state_dir)
    if not keys:  # whoever runs the agent has switched upgrades off; what runs stays
        return ""
    release = program.release
    if (
        release is None
        or release.sha256 != program.sha256
        or not release_keys.is_signed(release, keys)
    ):
        return "none of the pinned release keys has signed it"
    return ""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_save(state_dir: Path, state: TrialState) -> bool:
    try:
        save(state_dir, state)
    except OSError as error:
        trouble("agents/state.json cannot be written", str(error))
        return False
    return True


class _Alone:
    """Whoever starts or tries a version holds `agents/launch.lock`; not while an agent runs. Raises
    Conflict.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def __enter__(self) -> None:
        self._handle = os.open(
            self._state_dir / FOLDER / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        running = os.open(self._state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise Conflict(
                f"another agent runs with {self._state_dir}",
                subject="--state-dir",
                next_step="Stop it first.",
            ) from error
        finally:
            os.close(running)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
