"""The files of one commit as a scan asks for them: which folders there are, what a bundle's
directory holds, and what is left out.

Symbolic links are followed as Rancher Fleet follows them (`bundlereader/loaddirectory.go`):
fleet.yaml, values files and the directories that a GitRepo names anywhere in the repository, all
other files within the bundle's directory.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fleetctl.core.filetree.fleetignore import IGNORE_FILE, IgnoreFile
from fleetctl.core.filetree.globs import matches as fits
from fleetctl.core.filetree.symlinks import Links
from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.bundle import DEFAULT_LIMITS, File
from fleetctl.core.model.errors import InvalidFile, UsageError

FLEET_FILES = ("fleet.yaml", "fleet.yml")
# Reasons of unusable entries that are never harmless: what they hold is unknown.
SUBMODULE, FOLDER, DUPLICATE = (
    "is a submodule",
    "is a folder that",
    "has a duplicate name in its folder",
)
_MOST_UNREAD = 20_000
# Entries with such names would be deployed: without them the bundle would be another one.
_DEPLOYED_FILE = re.compile(r"\.(ya?ml|json|tpl)$|(^|/)(templates|crds)/")


class Tree(Protocol):
    """One commit. Every path is valid UTF-8 and passes `bundle.check_path`; what does not is
    unusable.
    """

    def paths(self) -> Sequence[str]:
        """The regular files, sorted by bytes."""
        ...

    def read(self, path: str) -> File: ...

    def identity(self, path: str) -> str:
        """Equal for equal contents, as Git's object id is; "" when only reading would tell."""
        ...

    def links(self) -> Mapping[str, str]:
        """The symbolic links: path → target."""
        ...

    def unusable(self) -> Mapping[str, str]:
        """Submodules, and entries whose name or kind no bundle can hold: printable path →
        reason.
        """
        ...


class Contents(msgspec.Struct, frozen=True):
    """A bundle's files by their path inside it. `left_out`: sentences about files that are not
    among them.
    """

    files: dict[str, File]
    left_out: list[str]


class Index:
    """Answers a scan's questions about a tree. The tree is walked once, and each file is read once.

    Folders are real ones; `real` gives the real path of one that links lead to.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.paths = tree.paths()
        self.links = Links(tree.links())
        self.unusable = tree.unusable()
        self.known = frozenset(self.paths)
        self.folders = _by_folder(self.paths)  # every file below a folder, the root being ""
        self._links_in = _by_folder(sorted(self.links.targets, key=str.encode))
        self._unusable_in = _by_folder(sorted(self.unusable))
        for folder in (*self._links_in, *self._unusable_in):
            self.folders.setdefault(folder, [])
        names = [*self.paths, *self.links.targets]
        self.fleet = {p.rpartition("/")[0] for p in names if p.rpartition("/")[2] in FLEET_FILES}
        self.fleet |= {
            f.rpartition("/")[0] for f in self.folders if f.rpartition("/")[2] in FLEET_FILES
        }
        self._fleet_in = _by_folder([join(folder, FLEET_FILES[0]) for folder in sorted(self.fleet)])
        self._ignores_in = _by_folder([p for p in names if p.rpartition("/")[2] == IGNORE_FILE])
        self._ignore_files: dict[str, IgnoreFile] = {}
        self._subfolders: dict[str, list[str]] | None = None
        self.values: dict[str, dict[str, Any]] = {}  # of values files that were read before

    def real(self, path: str) -> str:
        """Raises InvalidFile as `Links.resolve`."""
        return self.links.resolve(path)

    def has(self, path: str) -> bool:
        """Whether a file or a link stands at `path`; whether the link leads anywhere tells only
        reading.
        """
        folder, _, name = path.rpartition("/")
        full_path = join(self.real(folder), name)
        return (
            full_path in self.known or full_path in self.links.targets or full_path in self.folders
        )

    def read(self, path: str) -> File:
        """Raises InvalidFile for a link that leads nowhere, and as `Tree.read`."""
        if path in self.known:
            return self._tree.read(path)
        real = self.real(path)
        if real in self.folders:
            raise InvalidFile("is a folder, not a file", file=path, next_step="Rename it.")
        if real not in self.known:
            raise self.links.error(
                path,
                "leads to no file" if path in self.links.targets else "is not in the repository",
            )
        return self._tree.read(real)

    def identity(self, path: str) -> str:
        return self._tree.identity(path) if path in self.known else ""

    def below(self, folder: str) -> list[str]:
        return self.folders.get(folder, [])

    def links_in(self, folder: str) -> list[str]:
        return self._links_in.get(folder, [])

    def unusable_in(self, folder: str) -> list[str]:
        return self._unusable_in.get(folder, [])

    def fleet_below(self, folder: str) -> list[str]:
        """The folders with a fleet.yaml below `folder`, without itself."""
        folders = [path.rpartition("/")[0] for path in self._fleet_in.get(folder, [])]
        return [other for other in folders if other != folder]

    def unread(self) -> list[str]:
        """The links, and the unusable entries that are or may be folders."""
        folders = [
            p
            for p, reason in self.unusable.items()
            if reason == SUBMODULE or reason.startswith(FOLDER)
        ]
        return sorted([*self.links.targets, *folders])[:_MOST_UNREAD]

    def ignores(self, folder: str) -> list[IgnoreFile]:
        """The ignore files in `folder` and below it. Raises InvalidFile."""
        return [self._ignore_file(path) for path in self._ignores_in.get(folder, [])]

    def _ignore_file(self, path: str) -> IgnoreFile:
        if path not in self._ignore_files:
            self._ignore_files[path] = IgnoreFile(
                path.rpartition("/")[0], path, self.read(path).data
            )
        return self._ignore_files[path]

    def is_loose(self, path: str, root: str) -> bool:
        """Whether no fleet.yaml stands between `path` and the folder `root`, in that folder itself
        included.
        """
        folder = path.rpartition("/")[0]
        while folder not in self.fleet:
            if folder in {root, ""}:
                return True
            folder = folder.rpartition("/")[0]
        return False

    def has_loose_yaml(self, folder: str) -> bool:
        names = (*self.below(folder), *self.links_in(folder))
        return any(p.endswith((".yaml", ".yml")) and self.is_loose(p, folder) for p in names)

    def glob(self, pattern: str) -> tuple[list[str], list[str]]:
        """The folders that match, links to folders included, sorted; and links that match and lead
        nowhere.

        One level for each part of the pattern, as Go's `filepath.Glob`. Raises UsageError.
        """
        matches, broken_links = [""], []
        for part in pattern.split("/"):
            matching = [
                join(f, name)
                for f in matches
                for name in self._names_in(self.real(f))
                if fits(part, name)
            ]
            matches = []
            for path in matching:
                try:
                    if self.real(path) in self.folders:
                        matches.append(path)
                    elif self.real(path) not in self.known:
                        broken_links.append(path)
                except InvalidFile:
                    broken_links.append(path)
        return sorted(matches), sorted(broken_links)

    def _names_in(self, folder: str) -> list[str]:
        """The folders and links directly in a folder."""
        if self._subfolders is None:
            self._subfolders = {}
            for path in {*self.folders, *self.links.targets} - {""}:
                parent, _, name = path.rpartition("/")
                self._subfolders.setdefault(parent, []).append(name)
        return self._subfolders.get(folder, [])


def _by_folder(paths: Sequence[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault("", []).append(path)
        for at, char in enumerate(path):
            if char == "/":
                folders.setdefault(path[:at], []).append(path)
    return folders


def contents(tree: Index, directory: str, omitted_paths: set[str]) -> Contents:
    """The bundle's files, without hidden ones, `omitted_paths` and what a .fleetignore names.

    Raises InvalidFile or UsageError for what the bundle needs and cannot hold: a submodule, a link
    that leads nowhere or out of the directory, a manifest with a name that cannot be packed.
    """
    collector = _Collector(tree, tree.real(directory), omitted_paths)
    if not directory.rpartition("/")[2].startswith("."):
        collector.collect()
    return Contents(collector.files, collector.left_out)


class _Collector:
    def __init__(self, tree: Index, root: str, omitted_paths: set[str]) -> None:
        self._tree, self._root, self._omitted_paths = tree, root, omitted_paths
        self._ignores = tree.ignores(root)
        self._linked_bytes = 0
        self.files: dict[str, File] = {}
        self.left_out: list[str] = []

    def collect(self) -> None:
        tree, start = self._tree, len(self._root) + 1 if self._root else 0
        for path in tree.below(self._root):
            if self._is_wanted(path[start:], path):
                self.files[path[start:]] = tree.read(path)
        for link in tree.links_in(self._root):
            if self._is_wanted(link[start:], link):
                self._follow(link, link[start:], ())
        for path in tree.unusable_in(self._root):
            if self._is_wanted(path[start:], path):
                self._judge(path, path[start:])

    def _is_wanted(self, name: str, path: str) -> bool:
        if name in self._omitted_paths or any(part.startswith(".") for part in name.split("/")):
            return False
        return not any(_is_ignored(file, path) for file in self._ignores)

    def _follow(self, link: str, name: str, outer: tuple[str, ...]) -> None:
        """Add what `link` leads to as `name`. `outer`: the folders whose links led here."""
        tree, real = self._tree, self._tree.real(link)
        if real not in tree.known and real not in tree.folders:
            raise tree.links.error(link, "leads to no file")
        if not within(real, self._root):
            place = self._root or "the repository"
            raise tree.links.error(link, f"leads out of the bundle's directory {place}")
        if real in tree.known:
            self._add(name, tree.read(real))
            return
        if real in outer or within(link, real):
            raise tree.links.error(link, "is part of a cycle")
        start = len(real) + 1 if real else 0
        for path in tree.below(real):
            inner = f"{name}/{path[start:]}"
            if self._is_wanted(inner, path) and self._is_wanted(inner, join(self._root, inner)):
                self._add(inner, tree.read(path))
        for other in tree.links_in(real):
            inner = f"{name}/{other[start:]}"
            if self._is_wanted(inner, other) and self._is_wanted(inner, join(self._root, inner)):
                self._follow(other, inner, (*outer, real))
        for path in tree.unusable_in(real):
            self._judge(path, f"{name}/{path[start:]}")

    def _add(self, name: str, file: File) -> None:
        """A file that a link adds. Raises UsageError when links multiply the bundle past its
        limits.
        """
        self._linked_bytes += len(file.data)
        self.files[name] = file
        limits = DEFAULT_LIMITS
        if len(self.files) > limits.files or self._linked_bytes > limits.total_bytes:
            summary = (
                f"with its symbolic links it holds more than {limits.files} files or"
                f" {limits.total_bytes} bytes"
            )
            raise UsageError(
                summary, next_step="Remove links to folders, or list them in .fleetignore."
            )

    def _judge(self, path: str, name: str) -> None:
        """An entry that no archive can hold: an error when the bundle would be another one without
        it.
        """
        reason = self._tree.unusable[path]
        if reason == SUBMODULE:
            url = _submodule_url(self._tree, path)
            summary = (
                f"is a submodule{f' of {url}' if url else ''}; submodules are not supported yet"
            )
            step = (
                f"Copy its files into the repository, or list {path.rpartition('/')[2]} in"
                " .fleetignore."
            )
            raise InvalidFile(summary, file=path, next_step=step)
        if reason.startswith(FOLDER) or reason == DUPLICATE or _DEPLOYED_FILE.search(name):
            raise InvalidFile(reason, file=path, next_step="Rename it, or list it in .fleetignore.")
        self.left_out.append(f"{path} is left out: it {reason}")


def _submodule_url(tree: Index, path: str) -> str:
    """What .gitmodules states for it, without a login; "" when it does not."""
    if ".gitmodules" not in tree.known:
        return ""
    sections = (
        tree.read(".gitmodules").data[: 1 << 16].decode("utf-8", "replace").split("[submodule")
    )
    for section in sections:
        keys = dict(re.findall(r"^\s*(path|url)\s*=\s*(.*?)\s*$", section, re.MULTILINE))
        if keys.get("path") == path:
            return redacted(keys.get("url", ""))[:200]
    return ""


def _is_ignored(file: IgnoreFile, path: str) -> bool:
    if not within(path, file.folder):
        return False
    return file.ignores((path[len(file.folder) + 1 :] if file.folder else path).split("/"))


def within(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and directory != "." else name


def inside(path: str) -> str | None:
    """A path within the bundle's folder, "" being the folder; None for one that leaves it."""
    normal = posixpath.normpath(path.strip("/") or ".")
    return (
        None if normal.startswith("..") else normal.removeprefix(".") if normal == "." else normal
    )
