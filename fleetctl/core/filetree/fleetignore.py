"""Reads `.fleetignore` files: which files and folders below them are not part of a bundle.

A line is a glob for the last part of a file's or folder's path, or `NAME/*` for all that a folder
NAME contains. Source: rancher/fleet `bundlereader/loaddirectory.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleetctl.core.filetree.globs import check_glob, is_glob
from fleetctl.core.filetree.globs import matches as fits
from fleetctl.core.model.errors import InvalidFile, UsageError

IGNORE_FILE: Final = ".fleetignore"
MAX_LINES: Final = 1000  # patterns in one file


class IgnoreFile:
    """The rules of one file. A name is matched once, however many paths contain it."""

    def __init__(self, folder: str, path: str, data: bytes) -> None:
        """Raises InvalidFile, naming the line, for a malformed pattern or too many."""
        self.folder = folder
        self._names: set[str] = set()
        self._globs: list[str] = []
        self._contents: set[str] = set()  # folders of which the content is ignored
        self._results: dict[str, bool] = {}
        for count, (line, pattern) in enumerate(_patterns(data)):
            if count >= MAX_LINES:
                summary = f"holds more than {MAX_LINES} patterns"
                step = "Merge patterns, or ignore whole folders."
                raise InvalidFile(summary, file=path, line=line, next_step=step)
            self._add(pattern, path, line)

    def _add(self, pattern: str, path: str, line: int) -> None:
        if "/*" in pattern[1:]:
            self._contents.add(pattern.removesuffix("/*"))
            return
        try:
            check_glob(pattern)
        except UsageError as error:
            step = error.next_step
            raise InvalidFile(error.summary, file=path, line=line, next_step=step) from error
        if is_glob(pattern):
            self._globs.append(pattern)
        else:
            self._names.add(pattern)

    def ignores(self, parts: Sequence[str]) -> bool:
        """`parts`: the path from the folder of this file, split at slashes."""
        if self._contents and not self._contents.isdisjoint(parts[:-1]):
            return True
        return any(self._ignores_name(part) for part in parts)

    def _ignores_name(self, name: str) -> bool:
        result = self._results.get(name)
        if result is None:
            result = name in self._names or any(fits(pattern, name) for pattern in self._globs)
            self._results[name] = result
        return result


def _patterns(data: bytes) -> list[tuple[int, str]]:
    """(line number, pattern) without comments and empty lines."""
    patterns = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        text = line.removesuffix("\r")
        pattern = text if text.endswith("\\ ") else text.rstrip()
        if pattern and not pattern.startswith("#"):
            patterns.append((number, pattern))
    return patterns
