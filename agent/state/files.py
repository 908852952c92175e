"""The one door to what must survive a power cut: a function returns when its change is durable, or
raises OSError with the old state kept.

Rule: a file is written beside its name, fsynced, renamed, and its folder fsynced; the journal alone
is appended to. `io` is what tests put a recorder in place of, to try every state that a power cut
can leave behind.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Io:
    """The system calls that change a disk."""

    def create(self, path: Path) -> int:
        return os.open(path, _NEW, 0o600)

    def write(self, handle: int, data: bytes, at: int) -> None:
        """All of it: a disk that fills up takes a part first."""
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


io = Io()


def use(other: Io) -> Io:
    """Put `other` in the place of the system calls; the one before."""
    global io
    before, io = io, other
    return before


def write_whole(path: Path, data: bytes, *, written: Callable[[], None] = lambda: None) -> None:
    """Replace `path`; a crash leaves the old file or the new one. `written` is called when the new
    one is durable beside the old.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = io.create(temporary)
        try:
            io.write(handle, data, 0)
            io.sync(handle)
        finally:
            os.close(handle)
        written()
        io.rename(temporary, path)
    except BaseException:
        io.unlink(temporary)
        raise
    io.sync_folder(path.parent)


def put_in_place(part: Path, path: Path) -> None:
    """`part`, however it was written, becomes `path`."""
    handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        io.sync(handle)
    finally:
        os.close(handle)
    io.rename(part, path)
    io.sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a power cut in the middle of `write_whole` has left in `folder`. Never raises:
    litter is no trouble.
    """
    try:
        for path in folder.glob(".*.????????"):
            io.unlink(path)
    except OSError:
        return
