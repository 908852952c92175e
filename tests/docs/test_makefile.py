"""The Makefile runs modules that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_each_module_of_the_makefile_exists() -> None:
    modules = set(
        re.findall(r"-m ((?:agent|examples|fleetctl|manager|tests)[\w.]*)", MAKEFILE.read_text())
    )
    assert len(modules) >= 5
    for module in modules:
        assert importlib.util.find_spec(module) is not None, module
