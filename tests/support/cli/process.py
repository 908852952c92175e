"""fleetctl as a process of its own: in the background, or on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from examples.demo.parts import environment
from tests.support.cli.person import Person, Shop, logged_in

_ARGV = (sys.executable, "-m", "fleetctl")


def login_in(folder: Path, shop: Shop) -> dict[str, str]:
    """The environment of a person who is logged in."""
    person = logged_in(Person(folder), shop)
    return environment({"FLEETCTL_CONFIG": str(person.config)})


class Process:
    """A command that goes on; its output goes into a file. Interrupted, as by Ctrl-C, at the
    end.
    """

    def __init__(self, env: Mapping[str, str], *words: str) -> None:
        self._file = Path(env["FLEETCTL_CONFIG"]).with_name("output")
        self._env, self._words = env, words

    def __enter__(self) -> Process:
        with self._file.open("wb") as file:
            self._popen = subprocess.Popen(
                [*_ARGV, *self._words],
                env=dict(self._env),
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.send_signal(signal.SIGINT)
        assert self._popen.wait(15) == 130, self.said()

    def said(self) -> str:
        return self._file.read_text()


def on_terminal(
    env: Mapping[str, str], *words: str, typed: str = "", columns: int = 80, seconds: float = 30.0
) -> tuple[int, str]:
    """(exit status, everything on the screen) of a command on a terminal of that width, where
    somebody types at the first question.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [*_ARGV, *words], env={**env, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as popen:
        os.close(theirs)
        shown, end, left = b"", time.monotonic() + seconds, typed
        try:
            while part := _more(ours, end):
                shown += part
                if left and shown.rstrip().endswith((b"[y/N]", b":")):
                    os.write(ours, left.encode())
                    left = ""
        finally:
            os.close(ours)
            popen.kill() if time.monotonic() > end else None
        return popen.wait(10), shown.decode().replace("\r\n", "\n")


def _more(handle: int, end: float) -> bytes:
    """The next bytes; empty when the program has ended or the time is over."""
    if not select.select([handle], [], [], max(0.0, end - time.monotonic()))[0]:
        return b""
    try:
        return os.read(handle, 65536)
    except OSError:  # Linux says EIO when the other side is closed
        return b""
