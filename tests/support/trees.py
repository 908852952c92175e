"""Trees of files for scans: from a dict literal, or from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetctl.core.model.bundle import File


class DictTree:
    """`{"app/fleet.yaml": "..."}` as a Tree; `links`: path → target; `unusable`: path → reason."""

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        links: Mapping[str, str] | None = None,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        self._links, self._unusable = links or {}, unusable or {}
        self._files = {
            path: File(text.encode() if isinstance(text, str) else text)
            for path, text in files.items()
        }
        self._paths = sorted(self._files, key=str.encode)

    def paths(self) -> Sequence[str]:
        return self._paths

    def read(self, path: str) -> File:
        return self._files[path]

    def identity(self, path: str) -> str:
        return hashlib.sha256(self._files[path].data).hexdigest()

    def links(self) -> Mapping[str, str]:
        return self._links

    def unusable(self) -> Mapping[str, str]:
        return self._unusable


def folder(root: Path) -> DictTree:
    """Every regular file below `root`."""
    return DictTree(
        {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file()}
    )
