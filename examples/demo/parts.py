"""The demo's processes: a manager and its agents, started as a person would, each in a process
group of its own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Process:
    """One program with its log file; `start` again after it was killed."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    pid: int = 0
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                list(self.argv),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        if self._popen:
            self._popen.kill()
            self._popen.wait()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask, wait, then kill."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()


def program(name: str, *words: str) -> list[str]:
    """argv of one of our programs out of this checkout."""
    return [
        sys.executable,
        "-m",
        {"fleet-manager": "manager", "fleet-agent": "agent", "fleetctl": "fleetctl"}[name],
        *words,
    ]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This environment without a person's own clusters and contexts."""
    dropped = {"KUBECONFIG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "FLEETCTL_CONFIG"}
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in dropped and not key.startswith("HELM_")
    }
    return kept | {"PYTHONPATH": str(ROOT)} | dict(more)


class DemoManager:
    """`fleet-manager serve` on a free port of loopback."""

    def __init__(self, folder: Path, env: Mapping[str, str], *more: str, port: int = 0) -> None:
        self.folder = folder
        self.data_dir = folder / "manager"
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        argv = program(
            "fleet-manager",
            "serve",
            "--data-dir",
            str(self.data_dir),
            "--listen",
            f"127.0.0.1:{self.port}",
            *more,
        )
        self.process = Process("manager", argv, environment(env), folder / "manager.log")

    def start(self, seconds: float = 30.0) -> None:
        """Returns when it listens and has written its admin token. Raises RuntimeError with the end
        of its log.
        """
        self.process.start()
        end = time.monotonic() + seconds
        while not (self._listens() and (self.data_dir / "admin.token").exists()):
            if not self.process.alive() or time.monotonic() > end:
                raise RuntimeError(f"the manager did not start:\n{tail(self.process.log)}")
            time.sleep(0.05)

    @property
    def ca_pin(self) -> str:
        """As its log says it."""
        return self._pins()[-1]

    def _pins(self) -> list[str]:
        log = self.process.log
        return re.findall(r"ca_pin[=\"': ]+([0-9a-f]{64})", log.read_text()) if log.exists() else []

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    def _listens(self) -> bool:
        """Its port answers, and its log says with which CA."""
        if not self._pins():
            return False
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Agent:
    """`fleet-agent` for one cluster."""

    def __init__(
        self,
        folder: Path,
        name: str,
        env: Mapping[str, str],
        *,
        kubeconfig: Path | None = None,
        target_dir: Path | None = None,
    ) -> None:
        self.name, self.state_dir = name, folder / f"agent-{name}"
        where = (
            ("--kubeconfig", str(kubeconfig)) if kubeconfig else ("--target-dir", str(target_dir))
        )
        self._enrol = program("fleet-agent", "enrol")
        self._where = (*where, "--state-dir", str(self.state_dir))
        argv = program("fleet-agent", "run", "--state-dir", str(self.state_dir))
        self.process = Process(
            f"agent {name}", argv, environment(env), folder / f"agent-{name}.log"
        )

    def enrol(self, url: str, ca_pin: str, token: str) -> str:
        """What it said. Raises RuntimeError with its error."""
        argv = [*self._enrol, url, "--ca-pin", ca_pin, "--token-stdin", *self._where]
        done = self.run_enrol(argv, token)
        if done.returncode:
            raise RuntimeError(f"agent {self.name} could not enrol: {done.stderr.strip()}")
        return done.stdout.strip()

    def run_enrol(self, argv: Sequence[str], token: str) -> subprocess.CompletedProcess[str]:
        env = dict(self.process.env)
        return subprocess.run(
            argv,
            env=env,
            input=token + "\n",
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(path: Path, lines: int = 20) -> str:
    return (
        "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""
    )


def describe_process(process: Process) -> dict[str, Any]:
    """The arguments, environment and id of a process, for `.demo/demo.json`."""
    names = ("PATH", "HOME", "PYTHONPATH")
    return {
        "argv": list(process.argv),
        "env": {k: process.env[k] for k in names if k in process.env},
        "pid": process.pid,
    }
