"""The job that talks to a Git server, for `forkserver`: each runs in a fork with limits on memory,
file size and CPU time.

Input and output are JSON. Only HTTP and HTTPS. Credentials come with the input alone.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_PEELED = "^{}"


def preload() -> None:
    """Import what every job needs, once for all of them."""
    import dulwich.errors
    import dulwich.object_format
    import dulwich.objects
    import dulwich.pack
    import dulwich.repo  # noqa: F401

    from fleetctl.sources import network_errors  # noqa: F401
    from fleetctl.sources.git import http, store  # noqa: F401


def run(data: bytes) -> bytes:
    """`commit`, or what was refused and why (`Refusal.answer`)."""
    from fleetctl.sources.git.http import Refusal

    asked = json.loads(data)
    os.environ.clear()
    os.environ.update(asked["environment"])
    try:
        answer: dict[str, Any] = {"commit": work(asked)}
    except Refusal as error:
        answer = error.answer
    return json.dumps(answer).encode()


def work(asked: dict[str, Any]) -> str:
    """The commit's id; without a `store` it is only looked up. Raises Refusal."""
    from fleetctl.sources.git.http import Client, Refusal

    scheme = urlsplit(asked["url"]).scheme
    if scheme not in {"http", "https"} or not urlsplit(asked["url"]).hostname:
        ssh = scheme in {"ssh", "git+ssh"} or (
            not scheme and re.match(r"[\w.-]+@[\w.-]+:", asked["url"])
        )
        summary = (
            "is reached by SSH, which is not supported yet"
            if ssh
            else "is not an http or https address of a Git repository"
        )
        raise Refusal("usage", f"{asked['shown']} {summary}", "Write it as https://HOST/PATH.")
    try:
        return _follow(Client(asked), asked)
    except Refusal:
        raise
    except Exception as error:
        raise _explained(error, asked) from error


def _follow(client: Any, asked: dict[str, Any]) -> str:
    store = Path(asked["store"]) if asked["store"] else None
    if _SHA.fullmatch(asked["revision"]):
        target, peeled, kind = asked["revision"], asked["revision"], None
    else:
        target, peeled, kind = _looked_up(client, asked)
    if store is None or peeled == asked["known"]:
        return str(peeled)
    return _filled(client, store, (target, peeled, kind), asked)


def _looked_up(client: Any, asked: dict[str, Any]) -> tuple[str, str, str | None]:
    """(object, the commit it stands for, object format) of what branch or revision names; of a tag
    these are two.
    """
    names = _names(asked)
    found = _refs(client, asked, [n.removesuffix(_PEELED) for n in names])
    refs = _text(found.refs)
    for name in names:
        plain = name.removesuffix(_PEELED)
        if plain in refs:
            return refs[plain], refs.get(plain + _PEELED, refs[plain]), found.object_format
    every = _refs(client, asked, None)
    if _SHORT.fullmatch(asked["revision"]):
        commit = _abbreviated(_text(every.refs), asked)
        if commit:
            return commit, commit, every.object_format
    raise _no_such(_text(every.refs), asked)


def _abbreviated(refs: dict[str, str], asked: dict[str, Any]) -> str:
    """The one commit whose id begins with the revision: at a branch or tag, or fetched before. ""
    when there is none.

    Raises Refusal when several begin with it.
    """
    from fleetctl.sources.git import store as gitstore
    from fleetctl.sources.git.http import Refusal

    revision = asked["revision"]
    tags = {name for name in refs if name + _PEELED in refs}  # their own ids are no commits
    commits = {
        commit for name, commit in refs.items() if name not in tags and commit.startswith(revision)
    }
    if asked["store"]:
        commits |= gitstore.commits_with_prefix(Path(asked["store"]), revision)
    if len(commits) > 1:
        several = ", ".join(sorted(commits)[:3])
        raise Refusal(
            "usage",
            f"{revision} is the beginning of {len(commits)} commits: {several}",
            "Write more digits.",
        )
    return next(iter(commits), "")


def _names(asked: dict[str, Any]) -> list[str]:
    """The refs that may be meant, best first."""
    revision, branch = asked["revision"], asked["branch"]
    if revision.startswith("refs/"):
        return [revision]
    if revision:
        return [f"refs/tags/{revision}", f"refs/heads/{revision}"]
    return (
        ["refs/heads/" + branch.removeprefix("refs/heads/")]
        if branch
        else ["HEAD", "refs/heads/main", "refs/heads/master"]
    )


def _refs(client: Any, asked: dict[str, Any], names: list[str] | None) -> Any:
    """The server's refs that start with one of `names`, or all."""
    from fleetctl.sources.git.http import Refusal

    found = client.get_refs(
        client.path, ref_prefix=None if names is None else [n.encode() for n in names]
    )
    if len(found.refs) > asked["refs"]:
        raise Refusal(
            "source",
            f"{asked['shown']} has more than {asked['refs']} refs",
            "Use a repository with fewer.",
        )
    return found


def _text(refs: dict[bytes, bytes | None]) -> dict[str, str]:
    return {key.decode("utf-8", "replace"): value.decode() for key, value in refs.items() if value}


def _no_such(refs: dict[str, str], asked: dict[str, Any]) -> Exception:
    """With the nearest names."""
    from fleetctl.sources.git.http import Refusal

    name, revision = asked["shown"], asked["revision"]
    if not refs:
        return Refusal("source", f"{name} is empty: it has no commit yet", "Push a commit.")
    wanted = revision or asked["branch"]
    known = sorted(
        {
            r.split("/", 2)[2]
            for r in refs
            if r.startswith(("refs/heads/", "refs/tags/")) and not r.endswith(_PEELED)
        }
    )
    near = difflib.get_close_matches(wanted, known, 3) or known[:5]
    step = f"Valid names are, for example, {', '.join(near)}." if near else "Push it first."
    if _SHORT.fullmatch(revision):
        step = (
            "A commit that is at no branch or tag and was not fetched before needs all 40 digits. "
            + step
        )
    what = f"{'revision' if revision else 'branch'} {wanted}" if wanted else "default branch"
    return Refusal("not-found", f"{name} has no {what}", step)


def _filled(
    client: Any, store: Path, wanted: tuple[str, str, str | None], asked: dict[str, Any]
) -> str:
    """The commit, whole in the store. What a store lacks although it says otherwise is fetched once
    more into a new one.
    """
    from fleetctl.sources.git import store as gitstore

    target, peeled, kind = wanted
    for last in (False, True):
        repo = gitstore.prepare(
            store, kind or ("sha256" if len(peeled) == 64 else "sha1"), 2 * asked["pack"]
        )
        try:
            if gitstore.listing_path(store, peeled).exists():
                return peeled
            _fetch(client, repo, target, asked)
            commit = _peeled(repo, target)
            gitstore.record(repo, store, commit, asked)
            return commit
        except KeyError:
            if last:
                raise
        finally:
            repo.close()
        (store / "broken").touch()
    raise AssertionError


def _fetch(client: Any, repo: Any, target: str, asked: dict[str, Any]) -> None:
    """The object and what it reaches: only its newest state when the server can do that, and all
    branches when it gives out no other.
    """
    from dulwich.errors import GitProtocolError, HangupException

    def one(_refs: Any, depth: Any = None) -> list[bytes]:
        return [target.encode()]

    def branches(refs: Any, depth: Any = None) -> list[bytes]:
        return [
            sha for name, sha in refs.items() if name.startswith((b"refs/heads/", b"refs/tags/"))
        ]

    try:
        client.fetch(client.path, repo, determine_wants=one, depth=1)
    except (GitProtocolError, HangupException) as error:
        if "does not support shallow" in str(error):
            client.fetch(client.path, repo, determine_wants=one)
        elif target == asked["revision"]:
            client.fetch(client.path, repo, determine_wants=branches)
        else:
            raise


def _peeled(repo: Any, name: str) -> str:
    """The commit behind an annotated tag. Raises Refusal when it is none."""
    from dulwich.objects import Commit, Tag

    from fleetctl.sources.git.http import Refusal

    found = repo[name.encode()]
    for _ in range(10):
        if not isinstance(found, Tag):
            break
        found = repo[found.object[1]]
    if not isinstance(found, Commit):
        raise Refusal(
            "not-found", f"{name[:12]} is not a commit", "Name a branch, a tag or a commit."
        )
    return str(found.id.decode())


def _explained(why: Exception, asked: dict[str, Any]) -> Exception:
    """A foreign error as one line that names what to do."""
    from fleetctl.sources.git.http import Refusal, too_large
    from fleetctl.sources.network_errors import one_line

    name, said = asked["shown"], str(why)
    if isinstance(why, MemoryError):
        return Refusal(
            "source", f"{name} needs more memory than a fetch may use", "Make its files smaller."
        )
    if isinstance(why, OSError) and why.errno == 27:  # EFBIG
        return too_large(name, asked["pack"])
    if isinstance(why, OSError) and why.errno is not None:
        return Refusal(
            "source",
            f"{name} cannot be stored: {why.strerror}",
            "Look at the disk of the data directory.",
        )
    if _SHA.fullmatch(asked["revision"]) and (
        isinstance(why, KeyError) or "not our ref" in said or "want" in said
    ):
        return Refusal(
            "not-found",
            f"{name} has no commit {asked['revision']}",
            "Push it, or correct the revision.",
        )
    if isinstance(why, KeyError):
        return Refusal(
            "source", f"{name} did not send all that belongs to the commit", "Look at the server."
        )
    return Refusal(
        "source",
        f"{name} cannot be read: {one_line(why)}",
        "Look at the address and at the server.",
    )
