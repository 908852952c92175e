"""The journal survives what a crash can do to a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.state.journal import Entry, Journal, read_entries
from fleetctl import durable
from fleetctl.core.model.ids import BundleName, Epoch, Generation


def entry(name: str, generation: int = 1, *, removed: bool = False) -> Entry:
    return Entry(bundle=BundleName(name), generation=Generation(generation), removed=removed)


def written(path: Path, *entries: Entry) -> bytes:
    journal = Journal(path)
    for one in entries:
        journal.put(one)
    journal.close()
    return path.read_bytes()


class TestJournal:
    def test_the_latest_record_of_a_bundle_wins(self, tmp_path: Path) -> None:
        """Across a restart; a removed bundle is gone."""
        written(tmp_path / "j", entry("a", 1), entry("b"), entry("a", 2), entry("b", removed=True))
        assert read_entries(tmp_path / "j") == {"a": entry("a", 2)}

    def test_a_torn_tail_is_cut_and_written_over(self, tmp_path: Path) -> None:
        """Whatever part of the last record reached the disk, the ones before it are whole and the
        next one follows.
        """
        path = tmp_path / "j"
        whole = written(path, entry("a"))
        full = written(path, entry("b"))
        for cut in range(len(whole), len(full)):
            path.write_bytes(full[:cut])
            written(path, entry("c"))
            assert set(read_entries(path)) == {"a", "c"}

    def test_a_broken_middle_is_kept_aside_and_what_is_readable_counts_as_begun(
        self, tmp_path: Path
    ) -> None:
        """No crash flips a bit: what was lost there may have been anything, so nothing is taken for
        finished; the next record mends it.
        """
        path = tmp_path / "j"
        first = written(path, entry("a", 1))
        data = bytearray(written(path, entry("b", 2), entry("c", 3)))
        data[len(first) + 12] ^= 1
        path.write_bytes(data)
        journal = Journal(path)
        assert journal.is_broken
        assert {name: (e.generation, e.began) for name, e in journal.entries.items()} == {
            "a": (1, True),
            "c": (3, True),
        }
        assert path.with_suffix(".broken").read_bytes() == bytes(data)
        journal.put(entry("d", 4))
        journal.close()
        again = Journal(path)
        assert not again.is_broken
        assert set(again.entries) == {"a", "c", "d"}

    def test_a_removal_is_remembered_by_its_order(self, tmp_path: Path) -> None:
        """So that an older document does not bring the bundle back; also over a restart and a
        compaction.
        """
        journal = Journal(tmp_path / "j")
        journal.put(entry("a", 5))
        journal.put(msgspec.structs.replace(entry("a", 6, removed=True), epoch=Epoch(1)))
        journal.compact()
        journal.close()
        assert Journal(tmp_path / "j").floor(BundleName("a")) == (1, 6)

    def test_a_disk_that_takes_nothing_changes_nothing(self, tmp_path: Path) -> None:
        """What could be read is known, the record is refused, and it is taken when there is room
        again.
        """
        written(tmp_path / "j", entry("a", 1))
        journal = Journal(tmp_path / "j")
        before = durable.use(Full())
        try:
            for _ in range(3):
                with pytest.raises(OSError, match="space"):
                    journal.put(entry("a", 2))
        finally:
            durable.use(before)
        assert journal.entries == {"a": entry("a", 1)} == read_entries(tmp_path / "j")
        journal.put(entry("a", 3))
        assert read_entries(tmp_path / "j") == {"a": entry("a", 3)}

    def test_a_large_journal_is_compacted(self, tmp_path: Path) -> None:
        """Many records of one bundle end as one."""
        journal = Journal(tmp_path / "j")
        for at in range(2500):
            journal.put(msg(at))
        journal.close()
        assert (tmp_path / "j").stat().st_size < 600_000
        assert read_entries(tmp_path / "j")[BundleName("a")].generation == 2499


class Full(durable.Disk):
    """A disk that takes the first bytes of a record and then no more."""

    def write(self, handle: int, data: bytes, at: int) -> None:
        super().write(handle, data[:5], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def msg(at: int) -> Entry:
    return Entry(bundle=BundleName("a"), generation=Generation(at), error="x" * 400)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_journal(data: bytes) -> None:
    """Never a crash: what is not a record ends the reading."""
    from agent.state.journal import _records

    found, at = _records(data)
    assert 0 <= at <= len(data)
    assert isinstance(found, list)
