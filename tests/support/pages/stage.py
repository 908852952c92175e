"""A person's computer on which the commands of a page run: a home folder, the programs, and the
services that the page takes for granted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from examples.demo.parts import environment
from tests.support.pages.shell import PageCommand, missing_lines, shell_commands

T = TypeVar("T")
_SECONDS = 60.0  # for one command
_SHIMS = {
    # The tests may be root or not, and all machines of a page are this one.
    "sudo": 'exec "$@"',
    "ssh": 'shift; exec "$@"',
    # Runs the service in the background; systemd's properties are tested elsewhere.
    "systemd-run": (
        "while [[ $1 == -* ]]; do [[ $1 == -p ]] && shift; shift; done\n"
        'nohup setsid "$@" >"$HOME/service.log" 2>&1 </dev/null &\n'
        'echo $! >>"$HOME/service.pids"'
    ),
}
_MODULES = {"fleetctl": "fleetctl", "fleet-manager": "manager", "fleet-agent": "agent"}


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


class Computer:
    """A home folder with `bin` on PATH. `folder` is the working directory of the next command."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.home, self.folder = home, home / "work"
        self.folder.mkdir(parents=True)
        (home / "bin").mkdir()
        for name, body in _SHIMS.items():
            self._write_program(name, body)
        for name, module in _MODULES.items():
            self._write_program(name, f'exec {sys.executable} -m {module} "$@"')
        path = f"{home / 'bin'}{os.pathsep}{env['PATH']}"
        variables = {"HOME": str(home), "PATH": path, "BROWSER": "true", "NO_COLOR": "1"}
        self.env = environment(dict(env) | variables)
        self._daemons: list[subprocess.Popen[bytes]] = []

    def _write_program(self, name: str, body: str) -> None:
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run(self, line: str) -> Result:
        """Run a line in bash. A command that follows is interrupted after its first output."""
        with (self.home / "out").open("w+b") as out, (self.home / "err").open("w+b") as err:
            process = self._start(line, out.fileno(), err.fileno())
            end = time.monotonic() + _SECONDS
            while process.poll() is None and time.monotonic() < end:
                if follows(line) and os.fstat(out.fileno()).st_size:
                    _signal(process.pid, signal.SIGINT)
                    process.wait(_SECONDS)
                time.sleep(0.02)
            if process.poll() is None:
                _signal(process.pid, signal.SIGKILL)
            status = process.wait()
            out.seek(0)
            err.seek(0)
            return Result(status, out.read().decode(), err.read().decode())

    def start(self, line: str, text: str, seconds: float = 30.0) -> Path:
        """Start a program that goes on, and wait for a text in its log. Returns the log."""
        log = self.home / f"daemon-{len(self._daemons)}.log"
        with log.open("wb") as file:
            process = self._start(line, file.fileno(), file.fileno())
        self._daemons.append(process)
        end = time.monotonic() + seconds
        while text not in log.read_text():
            assert process.poll() is None, f"`{line}` ended:\n{log.read_text()}"
            assert time.monotonic() < end, f"`{line}` does not say {text!r}:\n{log.read_text()}"
            time.sleep(0.05)
        return log

    def _start(self, line: str, out: int, err: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", f"set -o pipefail\n{line}"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End what was started in the background."""
        pids = self.home / "service.pids"
        groups = [int(word) for word in pids.read_text().split()] if pids.exists() else []
        groups += [process.pid for process in self._daemons if process.poll() is None]
        for group in groups:
            _signal(group, signal.SIGTERM)
        for process in self._daemons:
            process.wait(20)


def follows(line: str) -> bool:
    """Whether the command goes on until Ctrl-C, which gives the exit status 130."""
    return bool({"-w", "--watch"} & set(line.split()))


def _signal(group: int, number: int) -> None:
    """Send a signal to a process group that may be gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


Step = Callable[[], object]
Check = Callable[[Result], object]


@dataclass
class PageRun:
    """How one page is run: what its reader must replace, and what happens between its commands.

    names: text in the page -> text that is run. before: the first words of a command -> what has
    happened before it; several entries for the same words are used up one after the other.
    daemons: the first words of a command that goes on -> text in its output when it is ready.
    statuses: the first words of a command -> the exit status that the page states, if not 0.
    """

    page: str
    computer: Computer
    names: dict[str, str] = field(default_factory=dict)
    before: Sequence[tuple[str, Step]] = ()
    after: Sequence[tuple[str, Check]] = ()
    daemons: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)

    def run(self, omissions: Sequence[str]) -> list[str]:
        """Run every command of the page; returns what did not agree with the page."""
        steps, checks = list(self.before), list(self.after)
        problems: list[str] = []
        for command in shell_commands(self.page):
            if command.text in omissions:
                continue
            if step := _take(steps, command.text):
                step()
            problems += self._run(command, checks)
            if problems:
                return problems
        problems += [f"no command begins with {words!r}" for words, _ in (*steps, *checks)]
        return problems

    def _run(self, command: PageCommand, checks: list[tuple[str, Check]]) -> list[str]:
        line = self.replace(command.text)
        ready = _first(self.daemons, command.text)
        if ready is not None:
            self.computer.start(line, ready)
            return []
        result = self.computer.run(line)
        status = _first(self.statuses, command.text) or (130 if follows(line) else 0)
        if result.status != status:
            return [f"`{command.text}` ended with {result.status}, not {status}: {result}"]
        missing = missing_lines(self.replace(command.output), result.out + result.err)
        if missing:
            return [f"`{command.text}` does not print {missing}: {result}"]
        if check := _take(checks, command.text):
            check(result)
        return []

    def replace(self, text: str) -> str:
        """Put in the names of this run, the longest first."""
        for name in sorted(self.names, key=len, reverse=True):
            text = text.replace(name, self.names[name])
        return text


def _take(entries: list[tuple[str, T]], text: str) -> T | None:
    """Remove and return the first entry whose words begin the command."""
    for number, (words, value) in enumerate(entries):
        if text.startswith(words):
            del entries[number]
            return value
    return None


def _first(entries: Mapping[str, T], text: str) -> T | None:
    """The entry whose words begin the command."""
    return next((value for words, value in entries.items() if text.startswith(words)), None)
