"""The files of one commit as a scan asks for them: which folders there are, what a bundle's directory holds, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleetctl.core.bundle import File
from fleetctl.core.ignores import IGNORE_FILE, IgnoreFile

FLEET_FILES = ("fleet.yaml", "fleet.yml")


class Tree(Protocol):
    """The regular files of one commit. Links and submodules are not among them."""

    def paths(self) -> Sequence[str]:
        """Every path, sorted by bytes."""
        ...

    def read(self, path: str) -> File: ...

    def identity(self, path: str) -> str:
        """Equal for equal contents, as Git's object id is; "" when only reading would tell."""
        ...


class Index:
    """What the scan asks of a tree again and again, made once: ten thousand files are walked a few times, not once a bundle."""

    def __init__(self, tree: Tree) -> None:
        self.read, self.identity = tree.read, tree.identity
        self.paths = tree.paths()
        self.folders: dict[str, list[str]] = {}  # every file below a folder, the root being ""
        for path in self.paths:
            self.folders.setdefault("", []).append(path)
            for at, char in enumerate(path):
                if char == "/":
                    self.folders.setdefault(path[:at], []).append(path)
        self.fleet = {p.rpartition("/")[0] for p in self.paths if p.rpartition("/")[2] in FLEET_FILES}
        self._ignore_paths = {p.rpartition("/")[0]: p for p in self.paths if p.rpartition("/")[2] == IGNORE_FILE}
        self._ignore_files: dict[str, IgnoreFile] = {}
        self.known = frozenset(self.paths)

    def below(self, directory: str) -> list[str]:
        return self.folders.get(directory, [])

    def ignores(self, directory: str) -> list[IgnoreFile]:
        """The ignore files in `directory` and below it; each is read once. Raises InvalidFile."""
        found = []
        for folder, path in self._ignore_paths.items():
            if within(folder, directory):
                if folder not in self._ignore_files:
                    self._ignore_files[folder] = IgnoreFile(folder, path, self.read(path).data)
                found.append(self._ignore_files[folder])
        return found

    def is_loose(self, path: str, root: str) -> bool:
        """Whether no fleet.yaml stands between `path` and the folder `root`, in that folder itself included."""
        folder = path.rpartition("/")[0]
        while folder not in self.fleet:
            if folder in {root, ""}:
                return True
            folder = folder.rpartition("/")[0]
        return False


def files_below(tree: Index, directory: str, left_out: set[str]) -> dict[str, File]:
    """The bundle's files by their path inside it, without hidden ones, `left_out` and what a .fleetignore names."""
    start = len(directory) + 1 if directory else 0
    ignores = tree.ignores(directory)
    found: dict[str, File] = {}
    if directory.rpartition("/")[2].startswith("."):
        return found
    for path in tree.below(directory):
        name = path[start:]
        if name in left_out or any(part.startswith(".") for part in name.split("/")):
            continue
        if not any(_ignored(file, path) for file in ignores):
            found[name] = tree.read(path)
    return found


def _ignored(file: IgnoreFile, path: str) -> bool:
    if not within(path, file.folder):
        return False
    return file.ignores((path[len(file.folder) + 1 :] if file.folder else path).split("/"))


def within(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and directory != "." else name
