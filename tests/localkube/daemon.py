"""One server process on a port of its own: started, waited for, stopped, started again.

Rule: the first start may choose another port when its port is taken; every later start keeps it.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.localkube.child_processes import Spec, kill_group, start
from tests.localkube.errors import LocalkubeError, NotReady
from tests.localkube.process_identity import STEPS, identity
from tests.localkube.waiting import wait_for

# Below the range (32768 and up) from which the kernel takes ports for outgoing connections.
PORTS = range(20000, 32000)
TRIES = 8
LOG_LINES = 12


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on right now. Whoever uses them must allow for losing
    the race.
    """
    found: list[int] = []
    for port in random.sample(PORTS, 400):
        if len(found) == count:
            return found
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise LocalkubeError(
        f"no {count} free ports on 127.0.0.1 between {PORTS.start} and {PORTS.stop}"
    )


class Daemon:
    """A process made by ``argv(ports)``, ready when ``ready()`` is true. ``ports`` are chosen
    here.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        argv: Callable[[Sequence[int]], Sequence[str]],
        ready: Callable[[], bool],
        port_count: int = 1,
    ) -> None:
        self.name, self.log, self.detached = name, log, False
        self._argv, self._ready = argv, ready
        self._ever_ready = False
        self._tries = TRIES
        self._log_start = 0
        self._child: subprocess.Popen[bytes] | None = None
        self.ports = free_ports(port_count)

    @property
    def pid(self) -> int:
        """The process id; LocalkubeError when it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise LocalkubeError(f"{self.name} is not running")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there (not: whether it is ready)."""
        return self._child is not None and self._child.poll() is None

    def identity(self) -> dict[str, object]:
        """What to record about the process: name, pid, and what tells it from a later one of the
        same pid.
        """
        pid = self._child.pid if self._child else 0
        return {"name": self.name, "pid": pid, "identity": identity(pid)}

    def launch(self) -> None:
        """Start the process and return at once. Nothing to do when it is alive."""
        if self.alive:
            return
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._child = start(Spec(self._argv(self.ports), self.log, detached=self.detached))

    def wait(self, deadline: float) -> None:
        """Wait until it is ready or ``time.monotonic()`` is ``deadline``; NotReady with the last
        log lines.
        """
        seconds = max(deadline - time.monotonic(), 0.1)
        wait_for(self._state, seconds, lambda: f"{self.name} is not ready{self._last_lines()}")
        self._ever_ready = True

    def _state(self) -> bool | None:
        if self.alive:
            return True if self._ready() else None
        if (
            self._ever_ready
            or self._tries == 0
            or "address already in use" not in self._written().lower()
        ):
            status = None if self._child is None else self._child.returncode
            raise NotReady(f"{self.name} ended with {status}{self._last_lines()}")
        # Someone took the port between our look and the bind.
        self._tries -= 1
        self.ports = free_ports(len(self.ports))
        self.launch()
        return None

    def stop(self) -> None:
        """Each of ``STEPS`` until it has ended: at most 6 s. Returns when it has."""
        if self._child is None:
            return
        for number, seconds in STEPS:
            self._child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
                return

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        if self._child is not None:
            kill_group(self._child)

    def _written(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as handle:
            handle.seek(self._log_start)
            return handle.read(1 << 20).decode("utf-8", "replace")

    def _last_lines(self) -> str:
        lines = self._written().splitlines()[-LOG_LINES:]
        return f"; {self.log} ends with:\n  " + "\n  ".join(line[:400] for line in lines)
