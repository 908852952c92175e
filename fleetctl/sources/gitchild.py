"""The child process that talks to a Git server: JSON on stdin, one line of JSON on stdout, limits set before anything is read.

Only HTTP and HTTPS; credentials come by stdin and go to the repository's own origin alone (dulwich drops them at a redirect elsewhere).
"""

from __future__ import annotations

import ctypes
import difflib
import json
import os
import re
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_MOST_PACKS = 40
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_READ_SECONDS = 30.0


class Refusal(Exception):
    """What the parent raises: the kind, one line, and the next step."""

    def __init__(self, kind: str, summary: str, next_step: str) -> None:
        super().__init__(summary)
        self.answer = {"kind": kind, "error": summary, "next_step": next_step}


def main() -> None:
    _leash(int(sys.argv[1]))
    asked = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (asked["pack"], asked["pack"]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is an error with a name
    try:
        answer = {"commit": work(asked)}
    except Refusal as why:
        answer = why.answer
    sys.stdout.write(json.dumps(answer) + "\n")


def _leash(parent: int) -> None:
    """Die with the manager."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def work(asked: dict[str, Any]) -> str:
    """The commit's id. Raises Refusal."""
    parts = urlsplit(asked["url"])
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        step = "Write it as https://HOST/PATH."
        raise Refusal("usage", f"{asked['shown']} is not an http or https address of a Git repository", step)
    client, path = _client(asked)
    try:
        return _follow(client, path, asked)
    except Refusal:
        raise
    except Exception as why:
        raise _explained(why, asked) from why


def _client(asked: dict[str, Any]) -> tuple[Any, str]:
    import urllib3
    from dulwich.client import Urllib3HttpGitClient

    kinds: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED", "retries": urllib3.Retry(total=5, connect=0, read=0, redirect=5)}
    if asked["ca"]:
        kinds["ca_cert_data"] = asked["ca"]
    parts = urlsplit(asked["url"])
    host = parts.netloc.rpartition("@")[2]
    username, password = asked["username"] or parts.username, asked["password"] or parts.password
    base = f"{parts.scheme}://{host}"
    pool = urllib3.PoolManager(**kinds)
    client = Urllib3HttpGitClient(
        base, pool_manager=pool, username=username or None, password=password or None, timeout=_READ_SECONDS, quiet=True
    )
    return client, parts.path or "/"


def _follow(client: Any, path: str, asked: dict[str, Any]) -> str:
    found = client.get_refs(path.encode())
    if len(found.refs) > asked["refs"]:
        raise Refusal("source", f"{asked['shown']} has more than {asked['refs']} refs", "Use a repository with fewer.")
    commit = _wanted({k.decode("utf-8", "replace"): v for k, v in found.refs.items() if v}, asked)
    if commit == asked["known"]:
        return commit
    store = Path(asked["store"])
    if not _has(store, commit):
        if store.exists() and len(list(store.glob("objects/pack/*.pack"))) > _MOST_PACKS:
            shutil.rmtree(store)
        _fetch(client, path, store, commit)
    return _peeled(store, commit)


def _wanted(refs: dict[str, bytes], asked: dict[str, Any]) -> str:
    """The object that branch or revision names. Raises Refusal with the nearest names."""
    revision, branch = asked["revision"], asked["branch"]
    if _SHA.fullmatch(revision):
        return str(revision)
    if not refs:
        raise Refusal("source", f"{asked['shown']} is empty: it has no commit yet", "Push a commit.")
    names = [f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}", f"refs/heads/{revision}"] if revision else [f"refs/heads/{branch}"]
    for name in names if revision or branch else ["HEAD", "refs/heads/main", "refs/heads/master"]:
        if name in refs:
            return refs[name].decode()
    kind = "revision" if revision else "branch"
    known = sorted({r.split("/", 2)[2] for r in refs if r.count("/") >= 2 and not r.endswith("^{}")})
    near = difflib.get_close_matches(revision or branch, known, 3) or known[:5]
    step = f"Known are for example {', '.join(near)}." if near else "Push it first."
    raise Refusal("not-found", f"{asked['shown']} has no {kind} {revision or branch or 'HEAD'}", step)


def _has(store: Path, commit: str) -> bool:
    """Whether the commit was fetched to its end: a mark is written after the pack."""
    return (store / "fetched" / commit).exists()


def _fetch(client: Any, path: str, store: Path, commit: str) -> None:
    from dulwich.repo import Repo

    if not (store / "objects").is_dir():
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(mode=0o700, parents=True)
        Repo.init_bare(str(store)).close()
    repo = Repo(str(store), bare=True)
    try:
        client.fetch(path.encode(), repo, determine_wants=lambda refs, depth=None: [commit.encode()], depth=1)
    finally:
        repo.close()
    mark = store / "fetched"
    mark.mkdir(exist_ok=True)
    (mark / commit).touch()


def _peeled(store: Path, name: str) -> str:
    """The commit behind an annotated tag."""
    from dulwich.objects import Tag
    from dulwich.repo import Repo

    repo = Repo(str(store), bare=True)
    try:
        found = repo[name.encode()]
        while isinstance(found, Tag):
            found = repo[found.object[1]]
        return found.id.decode()
    finally:
        repo.close()


def _explained(why: Exception, asked: dict[str, Any]) -> Refusal:
    """A foreign error as one line that names what to do."""
    from dulwich.client import HTTPUnauthorized
    from dulwich.errors import NotGitRepository

    shown, said = asked["shown"], str(why)
    if isinstance(why, HTTPUnauthorized):
        if asked["username"] or asked["password"]:
            return Refusal(
                "login", f"{shown} refuses the user or the password", "Give the right ones with --username and --password-stdin."
            )
        return Refusal("login", f"{shown} needs a user and a password", "Give them with --username and --password-stdin.")
    if isinstance(why, NotGitRepository):
        return Refusal("not-found", f"{shown} is not a Git repository", "Correct the address; a private one may need a password.")
    if "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said:
        return Refusal("source", f"the certificate of {shown} is not trusted", "Give its authority with --ca-file.")
    if "NameResolution" in said or "Name or service" in said or "name resolution" in said:
        return Refusal("source", f"the host of {shown} cannot be resolved", "Correct the address, or look at DNS.")
    if "refused" in said.lower() or "unreachable" in said.lower():
        return Refusal("source", f"{shown} does not take connections", "Start the server, or correct the address.")
    if "timed out" in said.lower():
        return Refusal("source", f"{shown} did not answer in time", "Look at the server.")
    if "403" in said:
        return Refusal("login", f"{shown} forbids this user to read it", "Use a user who may.")
    line = re.sub(r"(?<=://)[^/@\s]+@", "", said.splitlines()[0] if said else type(why).__name__)
    return Refusal("source", f"{shown} cannot be read: {line[:200]}", "Look at the address and at the server.")


if __name__ == "__main__":
    main()
