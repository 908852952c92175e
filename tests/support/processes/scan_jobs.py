"""A scan job that misbehaves for GitRepos of certain names, and is the real one for all others."""

from __future__ import annotations

import os
import re
import signal
import time

import msgspec

from manager.ingest import scan_job
from manager.ingest.scan_job import preload

__all__ = ["preload", "run"]


def run(data: bytes) -> bytes:
    name = msgspec.json.decode(data, type=scan_job.ScanRequest).repo.name
    if name.startswith("spin"):
        re.fullmatch("(a*)*b", "a" * 64)  # inside C, with the interpreter lock held
    elif name.startswith("sleep"):
        time.sleep(600)
    elif name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif name.startswith("raise"):
        raise AttributeError("'list' object has no attribute 'items'")
    return scan_job.run(data)
