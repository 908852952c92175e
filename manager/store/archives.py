"""Archives by their digest, in a directory.

Rule (I2): an archive is whole on the disk before any row names it, and is removed only when no row
has named it for longer than the longest download. A name that exists is never written again: it
holds the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fleetctl import durable
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import FleetError, UnavailableError
from fleetctl.core.model.ids import Digest
from fleetctl.core.scan.renames import likeness

GRACE_SECONDS = 6 * 3600.0
_MOST_READ = 50
_MOST_MARKS = 100_000


class Archives:
    """`DATA_DIR/archives/ab/abcdef…`, uncompressed canonical tars."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # files that were read whole: inode, size, time of change
        self._intact: dict[Digest, tuple[int, int, int]] = {}

    @property
    def folder(self) -> Path:
        return self._folder

    def path(self, digest: Digest) -> Path:
        return self._folder / digest[:2] / digest

    def add(self, archives: Iterable[tuple[Digest, bytes]]) -> int:
        """Write those that are missing, durable when this returns; how many were new. Raises
        UnavailableError on a full disk.
        """
        folders: set[Path] = set()
        new = 0
        try:
            for digest, data in archives:
                path = self.path(digest)
                if path.exists():
                    os.utime(path)  # it may be older than the grace, and is wanted again
                    continue
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                durable.write_unsynced(path, data)
                folders |= {path.parent, self._folder}
                new += 1
            for folder in folders:
                durable.disk.sync_folder(folder)
        except OSError as error:
            summary = f"an archive cannot be written: {error.strerror}"
            raise UnavailableError(
                summary, subject=str(self._folder), next_step="Make room on the disk."
            ) from error
        return new

    def is_intact(self, digest: Digest) -> bool:
        """Whether the file is there and has that digest. A damaged one is removed. Each file is
        read once.
        """
        path = self.path(digest)
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_size, status.st_ctime_ns)
            if self._intact.get(digest) == mark:
                return True
            with path.open("rb") as file:
                digest_of_file = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        if digest_of_file != digest:
            path.unlink(missing_ok=True)
            return False
        if len(self._intact) > _MOST_MARKS:
            self._intact.clear()
        self._intact[digest] = mark
        return True

    def absent(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that are not on the disk."""
        return [digest for digest in digests if not self.path(digest).is_file()]

    def likeness(self) -> Callable[[Digest, Digest], float]:
        """How much of two archives is the same, 0 to 1; at most `_MOST_READ` are read for it, and
        one that cannot be is like none.
        """
        files_by_digest: dict[Digest, Mapping[str, File]] = {}

        def read(digest: Digest) -> Mapping[str, File]:
            if digest not in files_by_digest and len(files_by_digest) < _MOST_READ:
                try:
                    files_by_digest[digest] = unpack(self.path(digest).read_bytes())
                except (OSError, FleetError):
                    files_by_digest[digest] = {}
            return files_by_digest.get(digest, {})

        return lambda first, other: float(first == other) or likeness(read(first), read(other))

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that are not on the disk; the others count as wanted from now on."""
        removed_archives: list[Digest] = []
        for digest in digests:
            try:
                os.utime(self.path(digest))
            except FileNotFoundError:
                removed_archives.append(digest)
        return removed_archives

    def sweep(self, is_used: Callable[[Digest], bool], *, now: float) -> int:
        """Remove archives and broken-off writes that nobody names and that are older than the
        grace; how many.
        """
        removed_count = 0
        for path in self._folder.glob("??/*"):
            old = now - path.stat().st_mtime > GRACE_SECONDS
            if old and (path.name.startswith(".") or not is_used(Digest(path.name))):
                path.unlink(missing_ok=True)
                removed_count += 1
        return removed_count
