"""kustomize, alone or as `kubectl kustomize`: builds a folder that is wholly on the disk, without
plugins or network.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fleetctl.core.model.errors import RenderFailed, ToolMissing
from fleetctl.tools.exit_causes import describe_death
from fleetctl.tools.process import Command, ProcessLimits, run

_LIMITS = ProcessLimits(cpu=60, memory=768 * 1024 * 1024)
_NOWHERE = "/nonexistent"  # by convention of Debian's policy manual no such folder exists
_DEAD = "http://127.0.0.1:9"  # the discard port: a proxy that answers nobody


class Kustomize:
    """`argv`: `("kustomize",)` or `("kubectl", "kustomize")`.

    `core.kustomization` has refused what would load anything from outside the bundle. In case it
    missed something, kustomize also runs without a network where the machine allows that, else with
    dead proxies; without git, ssh, a home folder and plugins.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        program = shutil.which(argv[0]) or argv[0]
        self._argv = [program, "build"] if len(argv) == 1 else [program, *argv[1:]]

    async def build(self, folder: Path, *, deadline: float) -> bytes:
        """The objects as YAML. Raises RenderFailed with kustomize's own line."""
        command = Command(
            [*self._argv, str(folder)],
            env=_environment(),
            cwd=folder,
            limits=_LIMITS,
            network=False,
        )
        completed = await run(command, deadline=deadline)
        if completed.returncode:
            if death := describe_death(
                completed, _LIMITS, tool=Path(self._argv[0]).name, subject="kustomize"
            ):
                raise death
            lines = [
                line.strip()
                for line in completed.stderr.decode("utf-8", "replace").splitlines()
                if line.strip()
            ]
            reason = (
                (lines[-1] if lines else "it ended without a message")
                .removeprefix("error: ")
                .replace(str(folder), ".")
            )
            raise RenderFailed(
                f"kustomize: {reason[:500]}",
                subject="kustomize",
                next_step="Try `kubectl kustomize` on the folder.",
            )
        return completed.stdout


def _environment() -> dict[str, str]:
    """No program to start, no configuration, and proxies that answer nobody."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = {name: _DEAD for upper in names for name in (upper, upper.lower())}
    folders = (
        "PATH",
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "KUSTOMIZE_PLUGIN_HOME",
        "KUBECONFIG",
    )
    return {
        **proxies,
        "NO_PROXY": "",
        "no_proxy": "",
        "GIT_TERMINAL_PROMPT": "0",
        **dict.fromkeys(folders, _NOWHERE),
    }


def require(tool: Kustomize | None) -> Kustomize:
    """Raises ToolMissing when there is none."""
    if tool is None:
        raise ToolMissing(
            "neither kustomize nor kubectl is on this machine",
            subject="kustomize",
            next_step="Install one and put it on PATH.",
        )
    return tool
