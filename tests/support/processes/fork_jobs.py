"""Jobs that misbehave, for a fork server: `run` does what its input says."""

from __future__ import annotations

import os
import re
import signal
import time


def run(data: bytes) -> bytes:
    match data.split():
        case [b"echo", *rest]:
            return b" ".join(rest)
        case [b"spin"]:
            re.fullmatch("(a*)*b", "a" * 64)  # inside C, with the interpreter lock held
        case [b"sleep", seconds]:
            time.sleep(float(seconds))
        case [b"memory"]:
            return b"%d" % len([bytearray(1 << 24) for _ in range(100)])
        case [b"raise"]:
            raise AttributeError("list has no keys\udcff")
        case [b"die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case [b"large", size]:
            return b"x" * int(size)
    return b"slept"
