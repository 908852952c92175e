"""Files that must survive a power cut: a function returns when its change is durable, or raises
OSError and leaves the old state.

Rule: a file is written beside its name, fsynced and renamed, and its folder is fsynced; only the
agent's journal is appended to. `disk` has the system calls; tests replace it with a recorder, and
try every state that a power cut can leave.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Disk:
    """The system calls that change a disk."""

    def create(self, path: Path) -> int:
        return os.open(path, _NEW, 0o600)

    def write(self, handle: int, data: bytes, at: int) -> None:
        """Writes all of `data`; a disk that fills up first takes a part."""
        done = 0
        while done < len(data):
            done += os.pwrite(handle, data[done:], at + done)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


disk = Disk()


def use(replacement: Disk) -> Disk:
    """Replace the system calls. Returns the ones before."""
    global disk
    before, disk = disk, replacement
    return before


def write_whole(path: Path, data: bytes, *, on_written: Callable[[], None] = lambda: None) -> None:
    """Replace `path`, mode 0600; a crash leaves the old file or the new one. `on_written` is called
    when the new file is durable beside the old one.
    """
    write_unsynced(path, data, on_written=on_written)
    disk.sync_folder(path.parent)


def write_unsynced(
    path: Path, data: bytes, *, on_written: Callable[[], None] = lambda: None
) -> None:
    """As `write_whole`, but the name is durable only after `disk.sync_folder` of the parent: for
    many files in one folder.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = disk.create(temporary)
        try:
            disk.write(handle, data, 0)
            disk.sync(handle)
        finally:
            os.close(handle)
        on_written()
        disk.rename(temporary, path)
    except BaseException:
        disk.unlink(temporary)
        raise


def put_in_place(part: Path, path: Path) -> None:
    """Make `part`, which something else has written, durable as `path`."""
    handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)
    disk.rename(part, path)
    disk.sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a power cut in the middle of `write_whole` has left in `folder`. Never raises,
    because such files do no harm.
    """
    try:
        for path in folder.glob(".*.????????"):
            disk.unlink(path)
    except OSError:
        return
