"""Starts the version that agent/trial.py chooses, and stands over one that is on trial.

Rule: the program that was installed is always where a start begins, so that there is always a way back. The current version takes its place
(exec, the same process). One on trial is a child: its parent kills it when it does not check in, eats memory or hangs, and the kernel kills
it when the parent dies. After a trial the parent starts from the beginning again, so an idle agent is one process.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import machinery
from pathlib import Path

import msgspec

from agent import config, trial
from agent.disk import write_whole
from agent.failpoints import failpoint
from agent.log import event, trouble
from agent.notify import Notifier
from agent.trial import Choice, Program, State
from fleetctl.core.agentrelease import Runtime, runtime_of
from fleetctl.core.errors import Conflict

ARCHIVE: Path | None = None  # the .pyz that this process runs from
AGAIN = -1  # a "status" that means: start from the beginning
FOLDER = "agents"
_MOST_BYTES = 512 * 1024 * 1024
_STOP_SECONDS, _LOOK_SECONDS = 15.0, 0.2
_PR_SET_PDEATHSIG = 1
_BASE, _TRIAL = "FLEET_AGENT_BASE", "FLEET_AGENT_TRIAL"


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


def runtime() -> Runtime:
    return runtime_of(machinery.EXTENSION_SUFFIXES[0])


def on_trial() -> bool:
    return os.environ.get(_TRIAL) == "1"


def digest() -> str:
    """SHA-256 of the .pyz that runs, "" for an installed package."""
    return sha256(ARCHIVE) if ARCHIVE else ""


def base() -> Base:
    """What was started first, of this process or of the one that it replaced."""
    given = os.environ.get(_BASE)
    if given:
        return msgspec.json.decode(given, type=Base)
    from agent.app import version

    identity = f"file {digest()}" if ARCHIVE else f"installed {version()}"
    return Base(sys.executable, list(sys.orig_argv), identity, str(ARCHIVE or ""))


def load(state_dir: Path) -> State:
    """A state that cannot be read chooses the installed program."""
    try:
        return msgspec.json.decode((state_dir / FOLDER / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.DecodeError) as why:
        trouble("agents/state.json cannot be read; the installed version runs", str(why))
        return State()


def save(state_dir: Path, state: State) -> None:
    """Durable when this returns. Raises OSError."""
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / "state.json", msgspec.json.encode(state))


def start(state_dir: Path, words: Sequence[str]) -> int | None:
    """Begin with the chosen version; `words` follow the program's name. None: this process itself is it. Raises Conflict."""
    if os.environ.get(_BASE):
        return None
    state_dir = state_dir.absolute()
    known = load(state_dir)
    if known.current is None and known.trial is None:
        return None
    mine = base()
    try:
        with _Alone(state_dir):
            state, choice = trial.choose(known, mine.identity, runtime())
            state, choice = _usable(state_dir, state, choice)
            if state != known:
                save(state_dir, state)
            if choice.program is not None and choice.on_trial:
                failpoint("upgrade-counted")
                return _Watch(state_dir, choice.program, mine, words).run()
    except OSError as why:
        # What cannot be counted could be tried for ever: what is known to work runs.
        trouble("the state directory takes nothing; no version is tried", str(why))
        _, choice = _usable(state_dir, known, Choice(known.current if known.base == mine.identity else None))
    if choice.program is None:
        return None
    failpoint("upgrade-current")
    event(f"starting version {choice.program.version}")
    return _replaced(_command(state_dir, choice.program, words), _inside(mine))


def again() -> int:
    """Start from the beginning in this process."""
    mine = base()
    env = {key: value for key, value in os.environ.items() if key not in {_BASE, _TRIAL}}
    return _replaced([mine.executable, *mine.argv[1:]], env)


def _replaced(argv: Sequence[str], env: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(argv[0], list(argv), env)  # noqa: S606 - no shell is wanted


def _command(state_dir: Path, program: Program, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-I", str(state_dir / FOLDER / program.file), *words]


def _inside(mine: Base) -> dict[str, str]:
    return dict(os.environ) | {_BASE: msgspec.json.encode(mine).decode()}


def _usable(state_dir: Path, state: State, choice: Choice) -> tuple[State, Choice]:
    """A file that is not there any more, or is damaged, is not started."""
    if choice.program is None or _is_whole(state_dir / FOLDER / choice.program.file, choice.program):
        return state, choice
    if choice.on_trial and state.trial is not None:
        last = msgspec.structs.replace(state.trial, attempts=trial.ATTEMPTS)
        state = trial.failed(msgspec.structs.replace(state, trial=last), "its file is damaged")
        return _usable(state_dir, state, Choice(state.current))
    return trial.gone(state, "its file is damaged"), Choice()


def _is_whole(path: Path, program: Program) -> bool:
    try:
        return sha256(path) == program.sha256
    except OSError:
        return False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _saved(state_dir: Path, state: State) -> bool:
    try:
        save(state_dir, state)
    except OSError as why:
        trouble("agents/state.json cannot be written", str(why))
        return False
    return True


class _Alone:
    """Whoever starts or tries a version holds `agents/launch.lock`; not while an agent runs. Raises Conflict."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def __enter__(self) -> None:
        self._handle = os.open(self._state_dir / FOLDER / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        running = os.open(self._state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            os.close(self._handle)
            raise Conflict(f"another agent runs with {self._state_dir}", subject="--state-dir", next_step="Stop it first.") from why
        finally:
            os.close(running)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


@dataclass
class _Watch:
    """One attempt of a version on trial."""

    state_dir: Path
    program: Program
    mine: Base
    words: Sequence[str]
    _stopping: bool = False
    _said: bytes = field(default=b"", repr=False)

    def run(self) -> int:
        """0 when told to stop; else never returns."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._stop)
        notifier = Notifier(config.notify_socket())
        notifier.tell(f"READY=1\nSTATUS=trying version {self.program.version}")
        event(f"trying version {self.program.version}")
        child = self._started()
        why = self._waited(child, notifier)
        self._ended(child)
        if self._stopping:
            _saved(self.state_dir, trial.stopped(load(self.state_dir)))
            return 0
        state = load(self.state_dir)
        if state.trial is not None:
            failpoint("upgrade-failed")
            trouble(f"version {self.program.version}", why)
            _saved(self.state_dir, trial.failed(state, why))
            time.sleep(min(5.0, float(state.trial.attempts)))
        return again()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _started(self) -> subprocess.Popen[bytes]:
        library, parent = ctypes.CDLL(None), os.getpid()

        def leash() -> None:  # this parent has one thread
            if sys.platform == "linux":
                library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                # When memory is short it is the one to go, not what runs on this node.
                Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
            if os.getppid() != parent:
                os._exit(1)

        env = _inside(self.mine) | {_TRIAL: "1"}
        env.pop("NOTIFY_SOCKET", None)  # systemd listens to its main process, which is this one
        child = subprocess.Popen(
            _command(self.state_dir, self.program, self.words),
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=leash,  # noqa: PLW1509
        )
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        return child

    def _waited(self, child: subprocess.Popen[bytes], notifier: Notifier) -> str:
        """Until it ends, checks in, or may not go on; why it was in vain."""
        seconds = config.trial_seconds()
        end = time.monotonic() + seconds
        while not self._stopping:
            self._relay(child, _LOOK_SECONDS)
            notifier.tell("WATCHDOG=1")
            code = child.poll()
            if code is not None:
                self._relay(child, 0)
                how = f"status {code}" if code >= 0 else f"signal {-code}"
                return f"it ended with {how} before it had checked in" + self._cause(told(self._lines()))
            if load(self.state_dir).trial is None:
                end = min(end, time.monotonic() + _STOP_SECONDS)  # confirmed: it ends by itself now
            if time.monotonic() > end:
                wrong = [line for line in self._lines() if "warning: " in line or "error: " in line]
                return f"it did not check in with the manager within {seconds:g} s" + self._cause("".join(wrong[-1:]))
            if _resident(child.pid) > _MOST_BYTES:
                return f"it used more than {_MOST_BYTES >> 20} MiB of memory"
        return ""

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        """At once: on trial there is nothing that it could be in the middle of, and it may be eating memory."""
        child.kill()
        child.wait()
        self._relay(child, 0)

    def _relay(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        """What it says goes to our stderr; the end of it is kept, for the reason why it failed."""
        assert child.stderr is not None
        if not select.select([child.stderr], [], [], seconds)[0]:
            return
        data = child.stderr.read(65536)
        if data:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
            self._said = (self._said + data)[-2048:]
        elif seconds:
            time.sleep(seconds)  # it has closed its stderr

    def _lines(self) -> list[str]:
        return lines_of(self._said)

    def _cause(self, line: str) -> str:
        return f": {''.join(c if c.isprintable() else ' ' for c in line)[:200]}" if line else ""


def lines_of(said: bytes) -> list[str]:
    return [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]


def told(lines: Sequence[str]) -> str:
    """The line that says why a program ended: an error of ours has its next step below it, a trace of Python's its reason at the end."""
    ours = [line for line in lines if line.startswith("error: ")]
    return (ours or list(lines) or [""])[-1]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
