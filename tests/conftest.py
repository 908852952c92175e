"""Fixtures shared by all folders: the external tools, the real Kubernetes APIs, repositories and
fleets.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.support.kube", "tests.support.places"]

# Tests start this checkout's programs hundreds of times. Without bytecode on the disk each start
# compiles every module that it imports, which takes longer than everything else that it does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A program that a test runs in this process sets up the root logger for its own stderr, which
    is closed when the test ends.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
