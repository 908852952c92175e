"""Files are replaced whole; the order of their system calls is what a power cut needs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetctl import durable


class CallRecorder(durable.Disk):
    """Notes each system call; raises at the one named `failing`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing = ""

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> int:
        self._note("create")
        return super().create(path)

    def write(self, handle: int, data: bytes, at: int) -> None:
        self._note("write")
        super().write(handle, data, at)

    def sync(self, handle: int) -> None:
        self._note("sync")
        super().sync(handle)

    def rename(self, old: Path, new: Path) -> None:
        self._note("rename")
        super().rename(old, new)

    def sync_folder(self, folder: Path) -> None:
        self._note("sync_folder")
        super().sync_folder(folder)


@pytest.fixture
def recorder() -> Iterator[CallRecorder]:
    recorder = CallRecorder()
    before = durable.use(recorder)
    yield recorder
    durable.use(before)


def test_the_bytes_are_durable_before_the_name(tmp_path: Path, recorder: CallRecorder) -> None:
    durable.write_whole(tmp_path / "file", b"new")
    assert recorder.calls == ["create", "write", "sync", "rename", "sync_folder"]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("failing", ["create", "write", "sync", "rename"])
def test_a_disk_that_refuses_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, recorder: CallRecorder, failing: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    recorder.failing = failing
    with pytest.raises(OSError, match="No space"):
        durable.write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_an_unsynced_file_needs_its_folder_synced(tmp_path: Path, recorder: CallRecorder) -> None:
    durable.write_unsynced(tmp_path / "file", b"new")
    assert "sync_folder" not in recorder.calls


def test_sweep_removes_what_a_cut_has_left(tmp_path: Path) -> None:
    (tmp_path / ".file.0123abcd").write_bytes(b"part")
    (tmp_path / "file").write_bytes(b"whole")
    durable.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
