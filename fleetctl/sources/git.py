"""The one door to Git: a bare store, filled by a child process with limits, read as a tree, never checked out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetctl.core.bundle import File, check_path
from fleetctl.core.errors import DeadlineError, LoginError, NotFound, RefusedError, SourceError, UsageError
from fleetctl.core.ids import CommitId
from fleetctl.sources.addresses import mirrored, shown

_ROOT = Path(__file__).parents[2]
_PASSED_ON = (
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
)
_MOST_ANSWER = 64 * 1024
# What the child says went wrong, as one of our errors.
_KINDS: dict[str, type[SourceError | LoginError | NotFound | UsageError | RefusedError]] = {
    "source": SourceError,
    "login": LoginError,
    "not-found": NotFound,
    "usage": UsageError,
    "refused": RefusedError,
}


@dataclass(frozen=True)
class Credential:
    """For the repository's own origin only. `ca_pem`: trust these instead of the system's."""

    username: str = ""
    password: str = field(default="", repr=False)
    ca_pem: bytes = b""


@dataclass(frozen=True)
class Ref:
    """What to follow: a branch, or a revision (tag or commit) that wins over it; neither is the remote's HEAD."""

    branch: str = ""
    revision: str = ""


@dataclass(frozen=True)
class GitLimits:
    """`seconds` of wall clock, `memory` and `pack` in bytes, number of `refs`."""

    seconds: float = 120.0
    memory: int = 512 * 1024 * 1024
    pack: int = 512 * 1024 * 1024
    refs: int = 50_000
    entries: int = 200_000


async def fetch(
    url: str,
    *,
    store: Path,
    ref: Ref = Ref(),
    known: str = "",
    credential: Credential | None = None,
    mirrors: Mapping[str, str] | None = None,
    limits: GitLimits = GitLimits(),
) -> CommitId:
    """The commit that `ref` names, with its tree in `store`.

    A commit equal to `known` is only named, not fetched. Raises SourceError, LoginError, NotFound, UsageError, DeadlineError; each names
    the address without its password.
    """
    real = mirrored(url, mirrors or {})
    asked = {"url": real, "shown": shown(url), "store": str(store), "branch": ref.branch, "revision": ref.revision, "known": known}
    held = credential or Credential()
    secret = {"username": held.username, "password": held.password, "ca": held.ca_pem.decode("ascii", "replace")}
    bounds = {"memory": limits.memory, "pack": limits.pack, "refs": limits.refs}
    answer = await _child(json.dumps(asked | secret | bounds).encode(), limits.seconds, shown(url))
    if "error" in answer:
        kind = _KINDS.get(str(answer.get("kind")), SourceError)
        raise kind(str(answer["error"]), subject=shown(url), next_step=str(answer.get("next_step", "")))
    return CommitId(str(answer["commit"]))


async def _child(message: bytes, seconds: float, subject: str) -> dict[str, Any]:
    env = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    env |= {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "fleetctl.sources.gitchild", str(os.getpid())),
        stdin=pipe,
        stdout=pipe,
        stderr=asyncio.subprocess.DEVNULL,
        env=env,
        start_new_session=True,
        limit=_MOST_ANSWER,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate(message)
    except TimeoutError as why:
        step = "Look at the server, or make the repository smaller."
        raise DeadlineError(f"{subject} did not answer within {seconds:g} s", subject=subject, next_step=step) from why
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            process._transport.close()  # type: ignore[attr-defined]
            await process.wait()
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError as why:
        summary = f"reading {subject} ended early: it is larger than the limits allow, or memory ran out"
        raise SourceError(summary, subject=subject, next_step="Make the repository smaller.") from why
    return answer


class GitTree:
    """The regular files of one commit, read when asked for. `left_out`: why other entries are not among them."""

    def __init__(self, store: Path, commit: str, limits: GitLimits = GitLimits()) -> None:
        from dulwich.repo import Repo

        self._repo = Repo(str(store), bare=True)
        self.left_out: dict[str, str] = {}
        self._files: dict[str, tuple[bytes, bool]] = {}
        try:
            self._walk(commit.encode(), limits)
        except BaseException:
            self._repo.close()
            raise
        self._paths = sorted(self._files, key=str.encode)

    def paths(self) -> Sequence[str]:
        return self._paths

    def read(self, path: str) -> File:
        sha, executable = self._files[path]
        return File(self._repo[sha].as_raw_string(), executable=executable)

    def close(self) -> None:
        self._repo.close()

    def _walk(self, commit: bytes, limits: GitLimits) -> None:
        from dulwich.objects import Commit, Tree

        top = self._repo[commit]
        if not isinstance(top, Commit):
            raise SourceError(f"{commit.decode()} is not a commit", next_step="Name a branch, a tag or a commit.")
        todo, seen = [("", top.tree, 0)], 0
        while todo:
            folder, sha, depth = todo.pop()
            tree = self._repo[sha]
            assert isinstance(tree, Tree)
            for name, mode, entry in tree.iteritems():
                seen += 1
                if seen > limits.entries:
                    raise SourceError(f"the tree has more than {limits.entries} entries", next_step="Split the repository.")
                path = folder + (name or b"").decode("utf-8", "backslashreplace")
                why = _refused(path, name or b"", mode or 0, depth)
                if why:
                    self.left_out[path] = why
                elif stat.S_ISDIR(mode or 0):
                    todo.append((path + "/", entry, depth + 1))
                else:
                    self._files[path] = (entry or b"", bool((mode or 0) & 0o100))


def _refused(path: str, name: bytes, mode: int, depth: int) -> str | None:
    try:
        name.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    if depth > 64:
        return "is too deep"
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return "is a submodule"
    return check_path(path)


@contextlib.contextmanager
def _reading(store: Path) -> Iterator[None]:
    """Errors of a store that was cut off."""
    try:
        yield
    except (KeyError, OSError, AssertionError) as why:
        raise SourceError(f"the Git store {store.name} is not whole: {why}", next_step="It is fetched again.") from why


def open_tree(store: Path, commit: CommitId) -> GitTree:
    """Raises SourceError when the store does not hold the whole tree."""
    with _reading(store):
        return GitTree(store, commit)
