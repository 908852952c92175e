"""One attempt of a version on trial, seen by the process that the init system knows.

Rule: the child is killed when it does not check in, eats memory or hangs, and by the kernel when
this parent dies; at the end of an attempt the parent starts from the beginning, whatever came of
it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetctl.tools.parent_death import die_with_parent
from fleetctl.tools.systemd import Notifier

from ..config import NOTIFY_SOCKET, TRIAL, AgentConfig
from ..host.failpoints import failpoint
from ..host.log import INTERNAL_ERROR, event, trouble
from . import launcher, trial_state
from .launcher import Base
from .trial_state import Program

_MOST_BYTES = 512 * 1024 * 1024
_STOP_SECONDS, _LOOK_SECONDS = 15.0, 0.2


@dataclass
class Attempt:
    """One attempt of a version on trial."""

    state_dir: Path
    program: Program
    base: Base
    config: AgentConfig
    _stopping: bool = False
    _output: bytes = field(default=b"", repr=False)

    def run(self) -> int:
        """0 when told to stop; else never returns."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._stop)
        notifier = Notifier(self.config.environment.notify_socket)
        notifier.tell(f"READY=1\nSTATUS=trying version {self.program.version}")
        event(f"trying version {self.program.version}")
        child = self._start()
        reason_text = self._wait(child, notifier)
        self._kill(child)
        if self._stopping:
            launcher.try_save(self.state_dir, trial_state.stop(launcher.load(self.state_dir)))
            return 0
        state = launcher.load(self.state_dir)
        if state.trial is not None:
            failpoint("upgrade-failed")
            trouble(f"version {self.program.version}", reason_text)
            launcher.try_save(self.state_dir, trial_state.fail(state, reason_text))
            time.sleep(min(5.0, float(state.trial.attempts)))
        return launcher.again(self.config)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def leash() -> None:  # this parent has one thread
            die_with_parent(parent)
            # When memory is short the kernel ends this child first, not what runs on the node.
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000", "ascii")

        env = launcher.inside(self.base) | {TRIAL: "1"}
        env.pop(NOTIFY_SOCKET, None)  # systemd listens to its main process, which is this one
        child = subprocess.Popen(
            launcher.command(self.state_dir, self.program, self.config.arguments),
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=leash,  # noqa: PLW1509
        )
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        return child

    def _wait(self, child: subprocess.Popen[bytes], notifier: Notifier) -> str:
        """Until it ends, checks in, or may not go on; why it was in vain."""
        seconds = self.config.environment.trial_seconds
        end = time.monotonic() + seconds
        while not self._stopping:
            self._relay(child, _LOOK_SECONDS)
            notifier.tell("WATCHDOG=1")
            code = child.poll()
            if code is not None:
                self._relay(child, 0)
                ending = f"status {code}" if code >= 0 else f"signal {-code}"
                return f"it ended with {ending} before it had checked in" + self._cause(
                    reason(self._lines())
                )
            if launcher.load(self.state_dir).trial is None:
                end = min(end, time.monotonic() + _STOP_SECONDS)  # confirmed: it ends by itself now
            if time.monotonic() > end:
                wrong = [line for line in self._lines() if "warning: " in line or "error: " in line]
                return f"it did not check in with the manager within {seconds:g} s" + self._cause(
                    "".join(wrong[-1:])
                )
            if _resident(child.pid) > _MOST_BYTES:
                return f"it used more than {_MOST_BYTES >> 20} MiB of memory"
        return ""

    def _kill(self, child: subprocess.Popen[bytes]) -> None:
        """At once: on trial there is nothing that it could be in the middle of, and it may be
        eating memory.
        """
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
            self._output = (self._output + data)[-2048:]
        elif seconds:
            time.sleep(seconds)  # it has closed its stderr

    def _lines(self) -> list[str]:
        return lines_of(self._output)

    def _cause(self, line: str) -> str:
        return f": {''.join(c if c.isprintable() else ' ' for c in line)[:200]}" if line else ""


def run_trial(state_dir: Path, program: Program, base: Base, config: AgentConfig) -> int:
    """Run one attempt of a version on trial. Returns 0 when told to stop; else never returns."""
    return Attempt(state_dir, program, base, config).run()


def lines_of(output: bytes) -> list[str]:
    return [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]


def reason(lines: Sequence[str]) -> str:
    """The line that says why a program ended: an error of the agent has its next step below it, a
    traceback its reason at the end.
    """
    causes = [line for line in lines if INTERNAL_ERROR not in line]
    errors = [line for line in causes if line.startswith("error: ")]
    return (errors or causes or [""])[-1]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, IndexError, ValueError):
        return 0
