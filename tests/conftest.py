"""Fixtures shared by all folders: the external tools, the real Kubernetes APIs, repositories and
fleets.
"""

from __future__ import annotations

import os
import sys

pytest_plugins = ["tests.support.kube", "tests.support.places"]

# Tests start this checkout's programs hundreds of times. Without bytecode on the disk each start
# compiles every module that it imports, which takes longer than everything else that it does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
