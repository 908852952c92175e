"""The job that talks to a Git server, for `forkserver`: each runs in a fork with limits on memory,
file size and CPU time.

Input and output are JSON. Only HTTP and HTTPS. Credentials come with the input alone.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleetctl.core.text.suggest import close_words

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_PEELED_SUFFIX = "^{}"


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
    from fleetctl.sources.git.http import GitRefusal

    request = json.loads(data)
    os.environ.clear()
    os.environ.update(request["environment"])
    try:
        answer: dict[str, Any] = {"commit": work(request)}
    except GitRefusal as error:
        answer = error.answer
    return json.dumps(answer).encode()


def work(request: dict[str, Any]) -> str:
    """The commit's id; without a `store` it is only looked up. Raises Refusal."""
    from fleetctl.sources.git.http import GitHttpClient, GitRefusal

    scheme = urlsplit(request["url"]).scheme
    if scheme not in {"http", "https"} or not urlsplit(request["url"]).hostname:
        ssh = scheme in {"ssh", "git+ssh"} or (
            not scheme and re.match(r"[\w.-]+@[\w.-]+:", request["url"])
        )
        summary = (
            "is reached by SSH, which is not supported yet"
            if ssh
            else "is not an http or https address of a Git repository"
        )
        raise GitRefusal("usage", f"{request['shown']} {summary}", "Write it as https://HOST/PATH.")
    try:
        return _follow(GitHttpClient(request), request)
    except GitRefusal:
        raise
    except Exception as error:
        raise _explain(error, request) from error


def _follow(client: Any, request: dict[str, Any]) -> str:
    store = Path(request["store"]) if request["store"] else None
    if _SHA.fullmatch(request["revision"]):
        target, peeled_commit, kind = request["revision"], request["revision"], None
    else:
        target, peeled_commit, kind = _look_up(client, request)
    if store is None or peeled_commit == request["known"]:
        return str(peeled_commit)
    return _fill(client, store, (target, peeled_commit, kind), request)


def _look_up(client: Any, request: dict[str, Any]) -> tuple[str, str, str | None]:
    """(object, the commit it stands for, object format) of what branch or revision names; of a tag
    these are two.
    """
    names = _names(request)
    found_refs = _refs(client, request, [n.removesuffix(_PEELED_SUFFIX) for n in names])
    refs = _text(found_refs.refs)
    for name in names:
        plain = name.removesuffix(_PEELED_SUFFIX)
        if plain in refs:
            return (
                refs[plain],
                refs.get(plain + _PEELED_SUFFIX, refs[plain]),
                found_refs.object_format,
            )
    every = _refs(client, request, None)
    if _SHORT.fullmatch(request["revision"]):
        commit = _resolve_abbreviation(_text(every.refs), request)
        if commit:
            return commit, commit, every.object_format
    raise _no_such(_text(every.refs), request)


def _resolve_abbreviation(refs: dict[str, str], request: dict[str, Any]) -> str:
    """The one commit whose id begins with the revision: at a branch or tag, or fetched before. ""
    when there is none.

    Raises Refusal when several begin with it.
    """
    from fleetctl.sources.git import store as gitstore
    from fleetctl.sources.git.http import GitRefusal

    revision = request["revision"]
    tags = {name for name in refs if name + _PEELED_SUFFIX in refs}  # their own ids are no commits
    commits = {
        commit for name, commit in refs.items() if name not in tags and commit.startswith(revision)
    }
    if request["store"]:
        commits |= gitstore.commits_with_prefix(Path(request["store"]), revision)
    if len(commits) > 1:
        several = ", ".join(sorted(commits)[:3])
        raise GitRefusal(
            "usage",
            f"{revision} is the beginning of {len(commits)} commits: {several}",
            "Write more digits.",
        )
    return next(iter(commits), "")


def _names(request: dict[str, Any]) -> list[str]:
    """The refs that may be meant, best first."""
    revision, branch = request["revision"], request["branch"]
    if revision.startswith("refs/"):
        return [revision]
    if revision:
        return [f"refs/tags/{revision}", f"refs/heads/{revision}"]
    return (
        ["refs/heads/" + branch.removeprefix("refs/heads/")]
        if branch
        else ["HEAD", "refs/heads/main", "refs/heads/master"]
    )


def _refs(client: Any, request: dict[str, Any], names: list[str] | None) -> Any:
    """The server's refs that start with one of `names`, or all."""
    from fleetctl.sources.git.http import GitRefusal

    refs = client.get_refs(
        client.path, ref_prefix=None if names is None else [n.encode() for n in names]
    )
    if len(refs.refs) > request["refs"]:
        raise GitRefusal(
            "source",
            f"{request['shown']} has more than {request['refs']} refs",
            "Use a repository with fewer.",
        )
    return refs


def _text(refs: dict[bytes, bytes | None]) -> dict[str, str]:
    return {key.decode("utf-8", "replace"): value.decode() for key, value in refs.items() if value}


def _no_such(refs: dict[str, str], request: dict[str, Any]) -> Exception:
    """With the nearest names."""
    from fleetctl.sources.git.http import GitRefusal

    name, revision = request["shown"], request["revision"]
    if not refs:
        return GitRefusal("source", f"{name} is empty: it has no commit yet", "Push a commit.")
    ref_name = revision or request["branch"]
    names = sorted(
        {
            r.split("/", 2)[2]
            for r in refs
            if r.startswith(("refs/heads/", "refs/tags/")) and not r.endswith(_PEELED_SUFFIX)
        }
    )
    near = close_words(ref_name, names, most=3) or names[:5]
    step = f"Valid names are, for example, {', '.join(near)}." if near else "Push it first."
    if _SHORT.fullmatch(revision):
        step = (
            "A commit that is at no branch or tag and was not fetched before needs all 40 digits. "
            + step
        )
    subject = f"{'revision' if revision else 'branch'} {ref_name}" if ref_name else "default branch"
    return GitRefusal("not-found", f"{name} has no {subject}", step)


def _fill(
    client: Any, store: Path, resolved_ref: tuple[str, str, str | None], request: dict[str, Any]
) -> str:
    """The commit, whole in the store. What a store lacks although it says otherwise is fetched once
    more into a new one.
    """
    from fleetctl.sources.git import store as gitstore

    target, peeled_commit, kind = resolved_ref
    for last in (False, True):
        repo = gitstore.prepare(
            store, kind or ("sha256" if len(peeled_commit) == 64 else "sha1"), 2 * request["pack"]
        )
        try:
            if gitstore.listing_path(store, peeled_commit).exists():
                return peeled_commit
            _fetch(client, repo, target, request)
            commit = _peel(repo, target)
            gitstore.record(repo, store, commit, request)
            return commit
        except KeyError:
            if last:
                raise
        finally:
            repo.close()
        (store / "broken").touch()
    raise AssertionError


def _fetch(client: Any, repo: Any, target: str, request: dict[str, Any]) -> None:
    """The object and what it reaches: only its newest state when the server can do that, and all
    branches when it gives out no other.
    """
    from dulwich.errors import GitProtocolError, HangupException

    def wants(_refs: Any, depth: Any = None) -> list[bytes]:
        return [target.encode()]

    def branches(refs: Any, depth: Any = None) -> list[bytes]:
        return [
            sha for name, sha in refs.items() if name.startswith((b"refs/heads/", b"refs/tags/"))
        ]

    try:
        client.fetch(client.path, repo, determine_wants=wants, depth=1)
    except (GitProtocolError, HangupException) as error:
        if "does not support shallow" in str(error):
            client.fetch(client.path, repo, determine_wants=wants)
        elif target == request["revision"]:
            client.fetch(client.path, repo, determine_wants=branches)
        else:
            raise


def _peel(repo: Any, name: str) -> str:
    """The commit behind an annotated tag. Raises Refusal when it is none."""
    from dulwich.objects import Commit, Tag

    from fleetctl.sources.git.http import GitRefusal

    git_object = repo[name.encode()]
    for _ in range(10):
        if not isinstance(git_object, Tag):
            break
        git_object = repo[git_object.object[1]]
    if not isinstance(git_object, Commit):
        raise GitRefusal(
            "not-found", f"{name[:12]} is not a commit", "Name a branch, a tag or a commit."
        )
    return str(git_object.id.decode())


def _explain(error: Exception, request: dict[str, Any]) -> Exception:
    """A foreign error as one line that names what to do."""
    from fleetctl.sources.git.http import GitRefusal, too_large
    from fleetctl.sources.network_errors import one_line

    name, text = request["shown"], str(error)
    if isinstance(error, MemoryError):
        return GitRefusal(
            "source", f"{name} needs more memory than a fetch may use", "Make its files smaller."
        )
    if isinstance(error, OSError) and error.errno == 27:  # EFBIG
        return too_large(name, request["pack"])
    if isinstance(error, OSError) and error.errno is not None:
        return GitRefusal(
            "source",
            f"{name} cannot be stored: {error.strerror}",
            "Look at the disk of the data directory.",
        )
    if _SHA.fullmatch(request["revision"]) and (
        isinstance(error, KeyError) or "not our ref" in text or "want" in text
    ):
        return GitRefusal(
            "not-found",
            f"{name} has no commit {request['revision']}",
            "Push it, or correct the revision.",
        )
    if isinstance(error, KeyError):
        return GitRefusal(
            "source", f"{name} did not send all that belongs to the commit", "Look at the server."
        )
    return GitRefusal(
        "source",
        f"{name} cannot be read: {one_line(error)}",
        "Look at the address and at the server.",
    )
