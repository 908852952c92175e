"""The bare store of one repository, filled by the child: objects, and one listing for each commit that was fetched to its end.

Layout: `objects/` as Git has it, `refs/heads/last` so that the next fetch is a difference, `commits/ID` the listing. A listing is written
last and by rename, so a commit that has one is whole. Only the child writes here, one at a time.

A listing says what the manager's process may read, so that it never walks trees that others made: files with object, mode and size, and
why other entries are left out.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.bundle import check_path
from fleetctl.sources.gitwire import Refusal, too_large

_MOST_PACKS = 40
_LAST = b"refs/heads/last"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    path: str
    object: str
    executable: bool
    size: int  # bytes


class About(msgspec.Struct, frozen=True):
    """Who wrote a commit, the first line of what they said of it, and when, in Unix seconds."""

    author: str = ""
    subject: str = ""
    written: float = 0.0


class Listing(msgspec.Struct, frozen=True):
    """The regular files of a commit, sorted by path bytes, and path → reason for what is left out."""

    files: list[Entry]
    left_out: dict[str, str]
    about: About = About()


def listing_path(store: Path, commit: str) -> Path:
    return store / "commits" / commit


def commits_with_prefix(store: Path, prefix: str) -> set[str]:
    """Ids of the commits in the store that begin with these hex digits."""
    folder = store / "commits"
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if path.name.startswith(prefix) and not path.suffix}


def prepare(store: Path, object_format: str | None, budget: int) -> Any:
    """The store as a dulwich Repo. One that is broken, of another object format, or of more than `budget` bytes or `_MOST_PACKS` packs is
    made again.
    """
    from dulwich.repo import Repo

    wanted = object_format or "sha1"
    if store.exists() and not _usable(store, wanted, budget):
        shutil.rmtree(store)
    if not store.exists():
        store.mkdir(mode=0o700, parents=True)
        Repo.init_bare(str(store), object_format=wanted).close()
        (store / "commits").mkdir()
    for left in (*store.glob("objects/tmp_pack_*"), *store.glob("objects/pack/tmp*"), *store.glob("commits/*.new")):
        left.unlink()  # by a child that was killed
    return Repo(str(store), bare=True)


def _usable(store: Path, object_format: str, budget: int) -> bool:
    from dulwich.repo import Repo

    if not (store / "commits").is_dir() or (store / "broken").exists():
        return False
    sizes = [path.stat().st_size for path in (*store.glob("objects/pack/*"), *store.glob("commits/*"))]
    if len(list(store.glob("objects/pack/*.pack"))) > _MOST_PACKS or sum(sizes) > budget:
        return False
    try:
        repo = Repo(str(store), bare=True)
    except Exception:
        return False
    try:
        return bool(repo.object_format.name == object_format)
    finally:
        repo.close()


def record(repo: Any, store: Path, commit: str, asked: dict[str, Any]) -> None:
    """Write the listing of `commit`, and make it the one that the next fetch builds on. Raises Refusal, KeyError."""
    files: list[Entry] = []
    left_out: dict[str, str] = {}
    for seen, (path, why, mode, sha) in enumerate(_walk(repo, commit)):
        if seen >= asked["entries"]:
            raise Refusal("source", f"{asked['shown']} has more than {asked['entries']} files and folders", "Split the repository.")
        if why:
            left_out[path] = why
        elif not stat.S_ISDIR(mode):
            size = len(repo.object_store.get_raw(sha)[1])
            files.append(Entry(path, sha.decode(), bool(mode & 0o100), size))
    files.sort(key=lambda e: e.path.encode())
    data = msgspec.json.encode(Listing(files, left_out, _about(repo[commit.encode()])))
    if len(data) > asked["pack"]:
        raise too_large(asked["shown"], asked["pack"])
    place = listing_path(store, commit)
    new = place.with_suffix(".new")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    new.rename(place)
    repo.refs[_LAST] = commit.encode()


def _about(commit: Any) -> About:
    """As the commit says, which is anybody's claim."""
    first = (commit.message or b"").decode("utf-8", "replace").strip().split("\n", 1)[0]
    return About(_line(commit.author.decode("utf-8", "replace")), _line(first), float(commit.commit_time))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _walk(repo: Any, commit: str) -> Iterator[tuple[str, str | None, int, bytes]]:
    """(path, why it is left out, mode, object) of every entry; folders that are left out are not entered."""
    from dulwich.objects import Tree, parse_tree

    todo: list[tuple[str, bytes]] = [("", repo[commit.encode()].tree)]
    while todo:
        folder, sha = todo.pop()
        tree = repo[sha]
        if not isinstance(tree, Tree):
            raise Refusal("source", f"{folder or 'the root'} is not a folder in this commit", "Repair the repository.")
        names: set[bytes] = set()
        for name, mode, entry in parse_tree(tree.as_raw_string(), len(sha) // 2):  # a Tree would hide a name that stands twice
            path = folder + name.decode("utf-8", "backslashreplace")
            why = "stands there twice" if name in names else _left_out(path, name, mode)
            names.add(name)
            yield path, why, mode, entry
            if stat.S_ISDIR(mode) and not why:
                todo.append((path + "/", entry))


def _left_out(path: str, name: bytes, mode: int) -> str | None:
    try:
        name.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return "is a submodule"
    return "its name holds a slash" if b"/" in name else check_path(path)
