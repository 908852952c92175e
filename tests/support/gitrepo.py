"""A real Git server with a working clone: files in, a push out."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers.gitserver import GitServer

_WHO = (
    "-c",
    "user.name=Ada",
    "-c",
    "user.email=ada@example.com",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "init.defaultBranch=main",
)


class Clone:
    """`write` files, then `push`; the server is the caller's."""

    def __init__(self, server: GitServer, name: str, folder: Path) -> None:
        self.bare = server.create(name)
        self.url = server.url(name)
        self.folder = folder
        self.git("init", "--quiet")
        self.git("remote", "add", "origin", str(self.bare))

    def git(self, *words: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["git", *_WHO, "-C", self.folder, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def push(self, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
        """Commit `files` (None removes one) and push; the commit's id."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        self.git("push", "--quiet", "--force", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")
