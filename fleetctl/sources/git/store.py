"""The bare store of one repository, filled by the child: objects, and one listing for each commit
that was fetched to its end.

Layout: `objects/` as Git has it, `refs/heads/last` so that the next fetch is a difference,
`listings/ID` the listing. A listing is written last and by rename, so a commit that has one is
whole. Only the child writes here, one at a time.

A listing says what the manager's process may read, so that it never walks trees that others made:
files with object, mode and size, and why other entries are left out.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.filetree.tree import DUPLICATE, FOLDER, SUBMODULE
from fleetctl.core.model.bundle import check_path
from fleetctl.durable import write_whole
from fleetctl.sources.git.http import GitRefusal, too_large

_LISTINGS = "listings"
_MOST_PACKS = 40
_MOST_TARGET = 4096  # bytes, as in Linux
_LAST = b"refs/heads/last"


class TreeEntry(msgspec.Struct, frozen=True, array_like=True):
    path: str
    object: str
    executable: bool
    size: int  # bytes


class About(msgspec.Struct, frozen=True):
    """Who wrote a commit, the first line of what they said of it, and when, in Unix seconds."""

    author: str = ""
    subject: str = ""
    written: float = 0.0


class TreeListing(msgspec.Struct, frozen=True):
    """The regular files of a commit, sorted by path bytes; its symbolic links with their targets;
    and path → reason for what no bundle can hold.
    """

    files: list[TreeEntry]
    links: dict[str, str]
    unusable: dict[str, str]
    about: About = About()


def listing_path(store: Path, commit: str) -> Path:
    """The folder's name changes with the format of `Listing`, so that an older store is made
    again.
    """
    return store / _LISTINGS / commit


def commits_with_prefix(store: Path, prefix: str) -> set[str]:
    """Ids of the commits in the store that begin with these hex digits."""
    folder = store / _LISTINGS
    if not folder.is_dir():
        return set()
    return {
        path.name for path in folder.iterdir() if path.name.startswith(prefix) and not path.suffix
    }


def prepare(store: Path, object_format: str | None, budget: int) -> Any:
    """The store as a dulwich Repo. One that is broken, of another object format, or of more than
    `budget` bytes or `_MOST_PACKS` packs is made again.
    """
    from dulwich.repo import Repo

    hash_name = object_format or "sha1"
    if store.exists() and not _usable(store, hash_name, budget):
        shutil.rmtree(store)
    if not store.exists():
        store.mkdir(mode=0o700, parents=True)
        Repo.init_bare(str(store), object_format=hash_name).close()
        (store / _LISTINGS).mkdir()
    for leftover in (
        *store.glob("objects/tmp_pack_*"),
        *store.glob("objects/pack/tmp*"),
        *store.glob(f"{_LISTINGS}/*.new"),  # of earlier versions
        *store.glob(f"{_LISTINGS}/.*.????????"),  # of fleetctl.durable, after a crash
    ):
        leftover.unlink()  # by a child that was killed
    return Repo(str(store), bare=True)


def _usable(store: Path, object_format: str, budget: int) -> bool:
    from dulwich.repo import Repo

    if not (store / _LISTINGS).is_dir() or (store / "broken").exists():
        return False
    sizes = [
        path.stat().st_size
        for path in (*store.glob("objects/pack/*"), *store.glob(f"{_LISTINGS}/*"))
    ]
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


def record(repo: Any, store: Path, commit: str, request: dict[str, Any]) -> None:
    """Write the listing of `commit`, and make it the one that the next fetch builds on. Raises
    Refusal, KeyError.
    """
    files: list[TreeEntry] = []
    links: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for count, (path, fault, mode, sha) in enumerate(_walk(repo, commit)):
        if count >= request["entries"]:
            raise GitRefusal(
                "source",
                f"{request['shown']} has more than {request['entries']} files and folders",
                "Split the repository.",
            )
        if not fault and stat.S_ISLNK(mode):
            target = repo.object_store.get_raw(sha)[1]
            fault = link_fault(target)
            if not fault:
                links[path] = target.decode()
                continue
        if fault:
            unusable[path] = fault
        elif not stat.S_ISDIR(mode):
            size = len(repo.object_store.get_raw(sha)[1])
            files.append(TreeEntry(path, sha.decode(), bool(mode & 0o100), size))
    files.sort(key=lambda e: e.path.encode())
    data = msgspec.json.encode(TreeListing(files, links, unusable, _about(repo[commit.encode()])))
    if len(data) > request["pack"]:
        raise too_large(request["shown"], request["pack"])
    place = listing_path(store, commit)
    write_whole(place, data)
    repo.refs[_LAST] = commit.encode()


def _about(commit: Any) -> About:
    """As the commit says, which is anybody's claim."""
    first = (commit.message or b"").decode("utf-8", "replace").strip().split("\n", 1)[0]
    return About(
        _line(commit.author.decode("utf-8", "replace")), _line(first), float(commit.commit_time)
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _walk(repo: Any, commit: str) -> Iterator[tuple[str, str | None, int, bytes]]:
    """(path, why it is left out, mode, object) of every entry; folders that are left out are not
    entered.
    """
    from dulwich.objects import Tree, parse_tree

    todo: list[tuple[str, bytes]] = [("", repo[commit.encode()].tree)]
    while todo:
        folder, sha = todo.pop()
        tree = repo[sha]
        if not isinstance(tree, Tree):
            raise GitRefusal(
                "source",
                f"{folder or 'the root'} is not a folder in this commit",
                "Repair the repository.",
            )
        names: set[bytes] = set()
        # a Tree would hide a name that stands twice
        for name, mode, entry in parse_tree(tree.as_raw_string(), len(sha) // 2):
            path = folder + name.decode("utf-8", "backslashreplace")
            fault = DUPLICATE if name in names else entry_fault(path, name, mode)
            names.add(name)
            yield path, fault, mode, entry
            if stat.S_ISDIR(mode) and not fault:
                todo.append((path + "/", entry))


def entry_fault(path: str, name: bytes, mode: int) -> str | None:
    """Why no bundle can hold an entry of a Git tree, or None."""
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return SUBMODULE
    fault = _name_fault(path, name)
    return f"{FOLDER} {fault}" if fault and stat.S_ISDIR(mode) else fault


def _name_fault(path: str, name: bytes) -> str | None:
    if not name or name in {b".", b".."}:
        return "has no valid name"
    try:
        name.decode()
    except UnicodeDecodeError:
        return "has a name that is not UTF-8"
    return "has a name with a slash" if b"/" in name else check_path(path)


def link_fault(target: bytes) -> str | None:
    """Why a symbolic link with this target cannot be followed, or None."""
    if not target or len(target) > _MOST_TARGET or b"\0" in target:
        return f"is a symbolic link whose target is empty or longer than {_MOST_TARGET} bytes"
    try:
        target.decode()
    except UnicodeDecodeError:
        return "is a symbolic link whose target is not UTF-8"
    return None
