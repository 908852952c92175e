"""A folder on this disk, or one commit of a clone, as a tree to scan. Nothing is fetched or
written; Git's own program is not needed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetctl.core.filetree.tree import SUBMODULE
from fleetctl.core.model.bundle import DEFAULT_LIMITS, File
from fleetctl.core.model.errors import InvalidFile, NotFound, UsageError
from fleetctl.core.model.ids import CommitId
from fleetctl.sources.git.store import entry_fault, link_fault


@dataclass
class _Entries:
    """What a walk has met; the names as in `core.tree.Tree`."""

    files: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    def add_link(self, path: str, target: bytes) -> None:
        fault = link_fault(target)
        if fault:
            self.unusable[path] = fault
        else:
            self.links[path] = target.decode()

    def below(self, folder: str) -> _Entries:
        """The same with paths that begin at `folder`."""
        start = f"{folder}/"

        def drop_prefix(entries: dict[str, Any]) -> dict[str, Any]:
            return {
                path.removeprefix(start): entry
                for path, entry in entries.items()
                if path.startswith(start)
            }

        return _Entries(
            drop_prefix(self.files), drop_prefix(self.links), drop_prefix(self.unusable)
        )


class LocalTree:
    """`commit` is "" for a folder as it lies there."""

    def __init__(self, entries: _Entries, commit: str = "") -> None:
        self._entries, self.commit = entries, CommitId(commit)
        self._paths = sorted(entries.files, key=str.encode)
        self._files: dict[str, File] = {}

    def links(self) -> Mapping[str, str]:
        return self._entries.links

    def unusable(self) -> Mapping[str, str]:
        return self._entries.unusable

    def paths(self) -> Sequence[str]:
        return self._paths

    def read(self, path: str) -> File:
        """Raises InvalidFile when it is too large or cannot be read."""
        if path not in self._files:
            self._files[path] = self._entries.files[path]()
        return self._files[path]

    def identity(self, path: str) -> str:
        return ""


def open_local(text: str) -> LocalTree:
    """`DIR`, or `DIR@REVISION` of a clone: DIR may also be a folder inside the clone. Raises
    NotFound, UsageError.
    """
    if Path(text).is_dir():
        return _folder(Path(text))
    place, sign, revision = text.rpartition("@")
    if sign and revision and Path(place or ".").is_dir():
        return _commit(Path(place or "."), revision)
    if Path(place if sign else text).exists():
        raise UsageError(
            f"{text} is not a folder", subject=text, next_step="Name the folder, or CLONE@REVISION."
        )
    raise UsageError(
        f"there is no folder {place if sign else text}", subject=text, next_step="Correct the path."
    )


def _folder(root: Path) -> LocalTree:
    entries = _Entries()
    for folder, folders, names in os.walk(root):
        folder_path = Path(folder)
        prefix = "" if folder_path == root else f"{folder_path.relative_to(root).as_posix()}/"
        links = [name for name in folders if (folder_path / name).is_symlink()]
        for name in [*names, *links]:
            if name != ".git":
                _add_path(entries, folder_path / name, prefix)
        folders[:] = sorted(
            name
            for name in folders
            if name not in {".git", *links} and _enters(entries, folder_path / name, prefix)
        )
    return LocalTree(entries)


def _add_path(entries: _Entries, path: Path, prefix: str) -> None:
    mode, name = path.lstat().st_mode, os.fsencode(path.name)
    display_name = _printable(prefix + path.name)
    kind = stat.S_IFREG if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else 0
    fault = entry_fault(display_name, name, kind) if kind else "is no regular file"
    if fault:
        entries.unusable[display_name] = fault
    elif stat.S_ISLNK(mode):
        entries.add_link(display_name, os.fsencode(path.readlink()))
    else:
        entries.files[display_name] = _Disk(path, display_name, executable=bool(mode & 0o100))


def _enters(entries: _Entries, path: Path, prefix: str) -> bool:
    """Whether the files of a folder belong to the tree; a submodule's do not, nor can those below a
    name that no bundle can hold.
    """
    display_name = _printable(prefix + path.name)
    is_submodule = (path / ".git").exists()
    fault = (
        SUBMODULE
        if is_submodule
        else entry_fault(display_name, os.fsencode(path.name), stat.S_IFDIR)
    )
    if fault:
        entries.unusable[display_name] = fault
    return not fault


def _printable(path: str) -> str:
    """Bytes that are not UTF-8 as backslash escapes, as the manager shows them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Disk:
    """One file, read when it is asked for."""

    def __init__(self, path: Path, display_name: str, *, executable: bool) -> None:
        self._path, self._display_name, self._executable = path, display_name, executable

    def __call__(self) -> File:
        try:
            with self._path.open("rb") as file:
                data = file.read(DEFAULT_LIMITS.file_bytes + 1)
        except OSError as error:
            raise InvalidFile(
                f"cannot be read: {error.strerror}",
                file=self._display_name,
                next_step="Correct its rights.",
            ) from error
        return _read_bounded(data, self._display_name, executable=self._executable)


class _Blob:
    def __init__(self, repo: Any, sha: bytes, display_name: str, *, executable: bool) -> None:
        self._repo, self._sha, self._display_name, self._executable = (
            repo,
            sha,
            display_name,
            executable,
        )

    def __call__(self) -> File:
        return _read_bounded(
            self._repo.object_store[self._sha].data, self._display_name, executable=self._executable
        )


def _read_bounded(data: bytes, display_name: str, *, executable: bool) -> File:
    if len(data) > DEFAULT_LIMITS.file_bytes:
        summary = f"has more than the {DEFAULT_LIMITS.file_bytes} bytes that one file may have"
        raise InvalidFile(summary, file=display_name, next_step="List it in .fleetignore.")
    return File(data, executable=executable)


def _commit(place: Path, revision: str) -> LocalTree:
    """The tree of `revision` below the folder `place` of its clone."""
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo

    try:
        repo = Repo.discover(str(place.resolve()))
    except NotGitRepository as error:
        raise UsageError(
            f"{place} is not in a clone of a Git repository",
            subject=str(place),
            next_step="Leave out @REVISION.",
        ) from error
    try:
        commit = _revision(repo, revision)
    except (KeyError, ValueError, IndexError) as error:
        step = "Name a branch, a tag or a commit; `git fetch` gets what is not there yet."
        raise NotFound(
            f"there is no revision {revision}", subject=str(place), next_step=step
        ) from error
    root = Path(repo.path).resolve()
    below = place.resolve().relative_to(root).as_posix() if not repo.bare else "."
    entries = _Entries()
    _walk(repo, commit.tree, "", entries)
    if below != ".":
        entries = entries.below(below)
        if not entries.files:
            raise NotFound(
                f"{below} is not in {revision}",
                subject=str(place),
                next_step="Correct the path or the revision.",
            )
    return LocalTree(entries, commit.id.decode())


def _revision(repo: Any, text: str) -> Any:
    """A commit by branch, tag, (short) id, and `~N` and `^` behind it. Raises KeyError, ValueError,
    IndexError.
    """
    from dulwich.objectspec import parse_commit

    match = re.fullmatch(r"(.+?)((?:~\d*|\^\d*)*)", text)
    if match is None:
        raise KeyError(text)
    commit = parse_commit(repo, match[1].encode())
    for sign, number in re.findall(r"([~^])(\d*)", match[2]):
        amount = int(number) if number else 1
        if sign == "^" and amount > 0:
            commit = repo[commit.parents[amount - 1]]
        for _ in range(amount if sign == "~" else 0):
            commit = repo[commit.parents[0]]
    return commit


def _walk(repo: Any, sha: bytes, prefix: str, entries: _Entries) -> None:
    for entry in repo.object_store[sha].items():
        path = prefix + entry.path.decode("utf-8", "backslashreplace")
        fault = entry_fault(path, entry.path, entry.mode)
        if fault:
            entries.unusable[path] = fault
        elif stat.S_ISDIR(entry.mode):
            _walk(repo, entry.sha, f"{path}/", entries)
        elif stat.S_ISLNK(entry.mode):
            entries.add_link(path, repo.object_store[entry.sha].data)
        else:
            entries.files[path] = _Blob(repo, entry.sha, path, executable=bool(entry.mode & 0o100))
