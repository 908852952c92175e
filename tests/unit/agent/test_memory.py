"""Giving memory back, in a process of its own: it concerns the whole process."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import ssl
import agent.app, agent.loops.supervisor, agent.controlplane.identity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from agent.host.memory import give_back, settle

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

settle()
before = resident()
give_back()
after = resident()
Ed25519PrivateKey.generate().sign(b"x"), ssl.create_default_context()
print(before, after)
"""


def test_file_pages_go_and_come_back() -> None:
    """What is resident shrinks, and the libraries work as before."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after < before
