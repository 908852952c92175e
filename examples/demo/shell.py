"""Runs git, fleetctl and the cluster tools for the demo, and prints each command."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from shlex import join, quote

from rich.console import Console
from rich.markup import escape

from examples.demo.parts import program, tail
from examples.demo.stop import DEMO

_IDENTITY = (
    "-c",
    "user.name=Demo",
    "-c",
    "user.email=demo@example.com",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "init.defaultBranch=main",
)


class DemoShell:
    """`env`: of every command; `clone`: the working copy; `kubeconfigs`: by cluster;
    `manager_log`: shown when a command of fleetctl fails.
    """

    def __init__(self, console: Console, clone: Path) -> None:
        self._console, self.clone = console, clone
        self.env: dict[str, str] = {}
        self.kubeconfigs: dict[str, Path] = {}
        self.manager_log: Path | None = None

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(DEMO),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }
        command = ["git", *_IDENTITY, "-C", str(folder or self.clone), *arguments]
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"git {arguments[0]} failed: {result.stderr.strip()}")
        return result.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        self.git("push", "--quiet", "--set-upstream", "origin", "HEAD:main")
        self._console.print(
            f"[dim]$[/] git commit -m {quote(message)} && git push    [dim]# {self.head()[:7]}[/]"
        )
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def cli(
        self, *arguments: str, visible: bool = True, quiet: bool = False, may_fail: bool = False
    ) -> str:
        """Run fleetctl, and print the command and its output. Returns the output. `may_fail`: exit
        status 1 is no error. Raises RuntimeError.
        """
        if visible:
            short_arguments = [
                w if not w.startswith(str(DEMO)) else os.path.relpath(w) for w in arguments
            ]
            self._console.print(
                f"[dim]$[/] fleetctl {escape(join(short_arguments))}", soft_wrap=True
            )
        result = subprocess.run(
            program("fleetctl", *arguments),
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode > (1 if may_fail else 0):
            log = tail(self.manager_log) if self.manager_log else ""
            raise RuntimeError(f"fleetctl {arguments[0]} failed: {result.stderr.strip()}\n{log}")
        if visible and not quiet:
            self._console.print(result.stdout.rstrip(), markup=False, soft_wrap=True)
        return result.stdout

    def tool(self, tool: str, cluster: str, *arguments: str) -> str:
        path = shutil.which(tool, path=self.env["PATH"]) or tool
        command = [path, "--kubeconfig", str(self.kubeconfigs[cluster]), *arguments]
        result = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(
                f"{tool} {arguments[0]} failed on {cluster}: {result.stderr.strip()}"
            )
        return result.stdout

    def until(
        self, is_ready: Callable[[], bool], level: str, log: Path, seconds: float = 20.0
    ) -> None:
        end = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > end:
                raise RuntimeError(f"{level}: not within {seconds:g} s\n{tail(log)}")
            time.sleep(0.05)
