"""Builds fleetsim, the simulator, from the Go module beside this file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.localkube.toolchain.go_build import build_module
from tests.localkube.toolchain.recipes import FromGo

MODULE = Path(__file__).parent / "fleetsim"


def build_fleetsim() -> Path:
    """The program in the tools' cache, built once for each state of the source. Raises
    ToolMissing.
    """
    recipe = FromGo(".", source_digest(), takes="10 seconds", module=MODULE)
    return build_module("fleetsim", recipe)


def source_files() -> list[Path]:
    return sorted([MODULE / "go.mod", *MODULE.rglob("*.go")])


def source_digest() -> str:
    """12 hex digits over the names and bytes of the source files."""
    digest = hashlib.sha256()
    for path in source_files():
        data = path.read_bytes()
        digest.update(f"{path.relative_to(MODULE)} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]
