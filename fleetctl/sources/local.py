"""A folder on this disk, or one commit of a clone, as a tree to scan. Nothing is fetched or written; Git's own program is not needed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleetctl.core.bundle import DEFAULT_LIMITS, File
from fleetctl.core.errors import InvalidFile, NotFound, UsageError
from fleetctl.core.ids import CommitId


class LocalTree:
    """`left_out`: (path, why) of what is no regular file. `commit` is "" for a folder as it lies there."""

    def __init__(self, files: dict[str, Any], left_out: list[tuple[str, str]], commit: str = "") -> None:
        self._files, self.left_out, self.commit = files, left_out, CommitId(commit)
        self._paths = sorted(files, key=str.encode)
        self._held: dict[str, File] = {}

    def paths(self) -> Sequence[str]:
        return self._paths

    def read(self, path: str) -> File:
        """Raises InvalidFile when it is too large or cannot be read."""
        if path not in self._held:
            self._held[path] = self._files[path]()
        return self._held[path]

    def identity(self, path: str) -> str:
        return ""


def open_local(text: str) -> LocalTree:
    """`DIR`, or `DIR@REVISION` of a clone: DIR may also be a folder inside the clone. Raises NotFound, UsageError."""
    if Path(text).is_dir():
        return _folder(Path(text))
    place, sign, revision = text.rpartition("@")
    if sign and revision and Path(place or ".").is_dir():
        return _commit(Path(place or "."), revision)
    if Path(place if sign else text).exists():
        raise UsageError(f"{text} is not a folder", subject=text, next_step="Name the folder, or CLONE@REVISION.")
    raise NotFound(f"there is no folder {place if sign else text}", subject=text, next_step="Correct the path.")


def _folder(root: Path) -> LocalTree:
    files: dict[str, Any] = {}
    left_out: list[tuple[str, str]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        here = Path(folder)
        for name in [*names, *(f for f in folders if (here / f).is_symlink())]:
            path = here / name
            shown = path.relative_to(root).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                files[shown] = _Disk(path, shown, executable=bool(mode & 0o100))
            elif name != ".git":
                left_out.append((shown, "is a symbolic link" if stat.S_ISLNK(mode) else "is no regular file"))
    return LocalTree(files, left_out)


class _Disk:
    """One file, read when it is asked for."""

    def __init__(self, path: Path, shown: str, *, executable: bool) -> None:
        self._path, self._shown, self._executable = path, shown, executable

    def __call__(self) -> File:
        try:
            with self._path.open("rb") as file:
                data = file.read(DEFAULT_LIMITS.file_bytes + 1)
        except OSError as why:
            raise InvalidFile(f"cannot be read: {why.strerror}", file=self._shown, next_step="Correct its rights.") from why
        return _bounded(data, self._shown, executable=self._executable)


class _Blob:
    def __init__(self, repo: Any, sha: bytes, shown: str, *, executable: bool) -> None:
        self._repo, self._sha, self._shown, self._executable = repo, sha, shown, executable

    def __call__(self) -> File:
        return _bounded(self._repo.object_store[self._sha].data, self._shown, executable=self._executable)


def _bounded(data: bytes, shown: str, *, executable: bool) -> File:
    if len(data) > DEFAULT_LIMITS.file_bytes:
        summary = f"has more than the {DEFAULT_LIMITS.file_bytes} bytes that one file may have"
        raise InvalidFile(summary, file=shown, next_step="List it in .fleetignore.")
    return File(data, executable=executable)


def _commit(place: Path, revision: str) -> LocalTree:
    """The tree of `revision` below the folder `place` of its clone."""
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo

    try:
        repo = Repo.discover(str(place.resolve()))
    except NotGitRepository as why:
        raise UsageError(f"{place} is not in a clone of a Git repository", subject=str(place), next_step="Leave out @REVISION.") from why
    try:
        commit = _revision(repo, revision)
    except (KeyError, ValueError, IndexError) as why:
        step = "Name a branch, a tag or a commit; `git fetch` gets what is not there yet."
        raise NotFound(f"there is no revision {revision}", subject=str(place), next_step=step) from why
    root = Path(repo.path).resolve()
    below = place.resolve().relative_to(root).as_posix() if not repo.bare else "."
    files: dict[str, Any] = {}
    left_out: list[tuple[str, str]] = []
    _walk(repo, commit.tree, "", files, left_out)
    if below != ".":
        files = {path.removeprefix(f"{below}/"): blob for path, blob in files.items() if path.startswith(f"{below}/")}
        left_out = [(path.removeprefix(f"{below}/"), why) for path, why in left_out if path.startswith(f"{below}/")]
        if not files:
            raise NotFound(f"{below} is not in {revision}", subject=str(place), next_step="Correct the path or the revision.")
    return LocalTree(files, left_out, commit.id.decode())


def _revision(repo: Any, text: str) -> Any:
    """A commit by branch, tag, (short) id, and `~N` and `^` behind it. Raises KeyError, ValueError, IndexError."""
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


def _walk(repo: Any, sha: bytes, prefix: str, files: dict[str, Any], left_out: list[tuple[str, str]]) -> None:
    for entry in repo.object_store[sha].items():
        path = prefix + entry.path.decode("utf-8", "surrogateescape")
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFDIR:
            _walk(repo, entry.sha, f"{path}/", files, left_out)
        elif kind == stat.S_IFREG:
            files[path] = _Blob(repo, entry.sha, path, executable=bool(entry.mode & 0o100))
        else:
            left_out.append((path, "is a symbolic link" if kind == stat.S_IFLNK else "is a submodule"))
