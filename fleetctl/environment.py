"""The environment variables that child processes inherit, and the folder of the tools' cache.

The settings of a program are read in its `config.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def inherited(names: Iterable[str]) -> dict[str, str]:
    """The variables of `names` that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def kubebuilder_assets() -> str:
    """The folder with Kubernetes programs that the person names, "" for none."""
    return os.environ.get("KUBEBUILDER_ASSETS", "")


def cache_folder() -> Path:
    """Where programs keep their caches (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
