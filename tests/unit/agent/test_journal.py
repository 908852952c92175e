"""The journal survives what a crash can do to a file."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.journal import Entry, Journal, read_entries
from fleetctl.core.ids import BundleName, Generation


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
        """Whatever part of the last record reached the disk, the ones before it are whole and the next one follows."""
        path = tmp_path / "j"
        whole = written(path, entry("a"))
        full = written(path, entry("b"))
        for cut in range(len(whole), len(full)):
            path.write_bytes(full[:cut])
            written(path, entry("c"))
            assert set(read_entries(path)) == {"a", "c"}

    def test_a_large_journal_is_compacted(self, tmp_path: Path) -> None:
        """Many records of one bundle end as one."""
        journal = Journal(tmp_path / "j")
        for at in range(2500):
            journal.put(msg(at))
        journal.close()
        assert (tmp_path / "j").stat().st_size < 600_000
        assert read_entries(tmp_path / "j")[BundleName("a")].generation == 2499


def msg(at: int) -> Entry:
    return Entry(bundle=BundleName("a"), generation=Generation(at), error="x" * 400)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_journal(data: bytes) -> None:
    """Never a crash: what is not a record ends the reading."""
    from agent.journal import _records

    found, at = _records(data)
    assert 0 <= at <= len(data)
    assert isinstance(found, list)
