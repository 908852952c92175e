"""kustomize, alone or as `kubectl kustomize`: builds a folder that is wholly on the disk, without plugins or network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from fleetctl.core.errors import ToolFailed, ToolMissing
from fleetctl.tools.proc import Command, Limits, run

_LIMITS = Limits(cpu=60, memory=1536 * 1024 * 1024)


class Kustomize:
    """`argv`: `("kustomize",)` or `("kubectl", "kustomize")`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = [argv[0], "build"] if len(argv) == 1 else list(argv)

    async def build(self, folder: Path, *, deadline: float) -> bytes:
        """The objects as YAML. Raises ToolFailed with kustomize's own line."""
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "HTTPS_PROXY": "http://127.0.0.1:9"}
        done = await run(Command([*self._argv, str(folder)], env=env, cwd=folder, limits=_LIMITS), deadline=deadline)
        if done.returncode:
            lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
            said = (lines[-1] if lines else "it ended without a word").removeprefix("error: ").replace(str(folder), ".")
            raise ToolFailed(f"kustomize: {said[:500]}", subject="kustomize", next_step="Try `kubectl kustomize` on the folder.")
        return done.stdout


def find() -> tuple[str, ...] | None:
    """kustomize on PATH, else kubectl's, else None."""
    if path := shutil.which("kustomize"):
        return (path,)
    kubectl = shutil.which("kubectl")
    return (kubectl, "kustomize") if kubectl else None


def needed(tool: Kustomize | None) -> Kustomize:
    """Raises ToolMissing when there is none."""
    if tool is None:
        raise ToolMissing(
            "neither kustomize nor kubectl is on this machine", subject="kustomize", next_step="Install one and put it on PATH."
        )
    return tool
