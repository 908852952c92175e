"""The one door to Git: a bare store, filled by jobs with limits in child processes, read as a tree,
never checked out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.model.bundle import DEFAULT_LIMITS, File
from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    InvalidFile,
    LoginError,
    NotFound,
    RefusedError,
    SourceError,
    UnavailableError,
    UsageError,
)
from fleetctl.core.model.ids import CommitId
from fleetctl.environment import inherited
from fleetctl.sources.egress import EgressPolicy, printable_url
from fleetctl.sources.mirrors import mirror_url
from fleetctl.tools.isolation.fork_server import ForkServer, JobLimits

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")
_PASSED_ON = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", *_PROXIES)
_ANSWER_BYTES = 256 * 1024
# Looking up one commit takes a few milliseconds in a fork; a new Python process would spend a
# quarter of a second on its imports.
_SERVER = ForkServer("fleetctl.sources.git.child")
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
    """What to follow: a branch, or a revision (tag or commit) that wins over it; neither is the
    remote's HEAD.
    """

    branch: str = ""
    revision: str = ""


@dataclass(frozen=True)
class GitLimits:
    """`seconds` of wall clock, `memory` and `pack` in bytes, numbers of `refs` and of `entries` in
    one tree.

    `egress`: which addresses may be connected to; a mirror may be anywhere. None: all of them.
    """

    seconds: float = 120.0
    memory: int = 512 * 1024 * 1024
    pack: int = 512 * 1024 * 1024
    refs: int = 50_000
    entries: int = 200_000
    egress: EgressPolicy | None = None


async def fetch(
    url: str,
    *,
    store: Path,
    ref: Ref = Ref(),
    known_commit: str = "",
    credential: Credential | None = None,
    mirrors: Mapping[str, str] | None = None,
    limits: GitLimits = GitLimits(),
) -> CommitId:
    """The commit that `ref` names, with its tree in `store`; one fetch at a time for a store.

    A commit equal to `known_commit` is only named, not fetched. Raises SourceError, LoginError,
    NotFound, UsageError, RefusedError, DeadlineError; each names the address without its password.
    """
    request = {
        "store": str(store),
        "branch": ref.branch,
        "revision": ref.revision,
        "known": known_commit,
    }
    egress = limits.egress
    if egress is None or mirror_url(url, mirrors or {}) != url:
        return await _run_job(url, request, credential, mirrors or {}, limits)
    addresses = await egress.addresses(url, "Git repositories of a workspace")
    return await _run_with_open_address(url, request | {"addresses": addresses}, credential, limits)


async def _run_with_open_address(
    url: str, request: Mapping[str, Any], credential: Credential | None, limits: GitLimits
) -> CommitId:
    """As `_asked`. An error of an internal host does not tell whether, or what, answers there."""
    public = all(ip_address(text.partition("%")[0]).is_global for text in request["addresses"])
    try:
        return await _run_job(url, request, credential, {}, limits)
    except (SourceError, DeadlineError, NotFound, RefusedError) as error:
        if public or not (isinstance(error, DeadlineError) or getattr(error, "is_probe", False)):
            raise
    name = printable_url(url)
    step = "Correct the address, or ask the administrator of the manager to set it."
    raise SourceError(f"{name} cannot be read as a Git repository", subject=name, next_step=step)


async def remote_head(
    url: str,
    *,
    ref: Ref = Ref(),
    credential: Credential | None = None,
    mirrors: Mapping[str, str] | None = None,
    limits: GitLimits = GitLimits(),
) -> CommitId:
    """The commit that `ref` names now, without fetching it; a full commit id is given back as it
    is. Raises as `fetch`.
    """
    request = {"store": "", "branch": ref.branch, "revision": ref.revision, "known": ""}
    return await _run_job(url, request, credential, mirrors or {}, limits)


async def _run_job(
    url: str,
    request: Mapping[str, Any],
    credential: Credential | None,
    mirrors: Mapping[str, str],
    limits: GitLimits,
) -> CommitId:
    name, login = printable_url(url), credential or Credential()
    secret = {
        "username": login.username,
        "password": login.password,
        "ca": login.ca_pem.decode("ascii", "replace"),
    }
    bounds = {
        "seconds": limits.seconds,
        "memory": limits.memory,
        "pack": limits.pack,
        "refs": limits.refs,
        "entries": limits.entries,
    }
    environment = inherited(_PASSED_ON) | {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    message = {
        "url": mirror_url(url, mirrors),
        "shown": name,
        "environment": environment,
        **request,
        **secret,
        **bounds,
    }
    answer = await _child(json.dumps(message).encode(), limits, name)
    if "error" in answer:
        kind = _KINDS.get(str(answer.get("kind")), SourceError)
        error = kind(str(answer["error"]), subject=name, next_step=str(answer.get("next_step", "")))
        error.is_probe = bool(answer.get("is_probe"))  # type: ignore[union-attr]
        raise error
    return CommitId(str(answer["commit"]))


async def _child(message: bytes, limits: GitLimits, subject: str) -> dict[str, Any]:
    """The answer of `gitchild`. Raises DeadlineError at the limit of time, SourceError at any
    other.
    """
    job = JobLimits(
        limits.seconds + 1, int(limits.seconds) + 1, limits.memory, limits.pack, _ANSWER_BYTES
    )
    try:
        async with asyncio.timeout(limits.seconds):
            answer: dict[str, Any] = json.loads(await _SERVER.run(message, job, subject=subject))
    except (TimeoutError, DeadlineError) as error:
        step = "Look at the server, or make the repository smaller."
        raise DeadlineError(
            f"{subject} did not answer within {limits.seconds:g} s", subject=subject, next_step=step
        ) from error
    except UnavailableError as error:
        if error.subject != subject:  # this host cannot start the job
            raise
        summary = (
            f"reading {subject} ended early, perhaps at a limit of memory or size:"
            f" {error.summary.removeprefix(subject).strip()}"
        )
        raise SourceError(
            summary, subject=subject, next_step="Make the repository smaller."
        ) from error
    return answer


class GitTree:
    """One commit; files are read when asked for. `about`: who wrote it, and when.

    Only what the child's listing names is read. A store that turns out to be broken is marked so
    and made anew by the next fetch.
    """

    def __init__(
        self, store: Path, commit: str, *, max_bytes: int = DEFAULT_LIMITS.file_bytes
    ) -> None:
        from dulwich.object_format import get_object_format
        from dulwich.object_store import DiskObjectStore
        from dulwich.objects import ObjectID

        from fleetctl.sources.git.store import TreeListing, listing_path

        self._store, self._commit, self._max_bytes = store, commit, max_bytes
        try:
            listing = msgspec.json.decode(
                listing_path(store, commit).read_bytes(), type=TreeListing
            )
        except (OSError, msgspec.DecodeError) as error:
            raise self._broken_store("its listing cannot be read") from error
        self._files = {entry.path: entry for entry in listing.files}
        self._ids = {entry.path: ObjectID(entry.object.encode()) for entry in listing.files}
        self._paths = list(self._files)
        self._links, self._unusable = listing.links, listing.unusable
        self.about = listing.about
        self._objects = DiskObjectStore(
            str(store / "objects"),
            object_format=get_object_format("sha256" if len(commit) == 64 else "sha1"),
        )

    def paths(self) -> Sequence[str]:
        return self._paths

    def read(self, path: str) -> File:
        """Raises InvalidFile when the file is too large, SourceError when the store is broken,
        KeyError for an unknown path.
        """
        entry = self._files[path]
        if entry.size > self._max_bytes:
            summary = (
                f"has {entry.size} bytes, more than the {self._max_bytes} that one file may have"
            )
            raise InvalidFile(
                summary,
                file=path,
                next_step="Make it smaller, or move it out of the bundle's path.",
            )
        try:
            return File(self._objects.get_raw(self._ids[path])[1], executable=entry.executable)
        except Exception as error:
            raise self._broken_store(f"{path} cannot be read") from error

    def identity(self, path: str) -> str:
        """Git's object id, and whether it may be run."""
        entry = self._files[path]
        return f"{entry.object}{'+x' if entry.executable else ''}"

    def links(self) -> Mapping[str, str]:
        return self._links

    def unusable(self) -> Mapping[str, str]:
        return self._unusable

    def close(self) -> None:
        self._objects.close()

    def _broken_store(self, problem: str) -> FleetError:
        with contextlib.suppress(OSError):
            (self._store / "broken").touch()
        step = "The next poll of the repository fetches it again."
        return SourceError(
            f"the Git store of commit {self._commit[:12]} is not whole: {problem}",
            subject=self._commit,
            next_step=step,
        )


def open_tree(store: Path, commit: CommitId) -> GitTree:
    """Raises SourceError when the store does not hold the whole tree."""
    return GitTree(store, commit)
