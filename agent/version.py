"""The version of this agent."""

from __future__ import annotations

import sys
from pathlib import Path

_DISTRIBUTION, _SUFFIX = "fleetctl-", ".dist-info"


def version() -> str:
    """Reads the name of the distribution's metadata folder, because importlib.metadata would hold
    2 MiB of memory.
    """
    for folder in sys.path:
        for info in Path(folder or ".").glob(f"{_DISTRIBUTION}*{_SUFFIX}"):
            return info.name.removeprefix(_DISTRIBUTION).removesuffix(_SUFFIX)
    return "0+checkout"
