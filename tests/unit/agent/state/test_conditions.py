"""What concerns an agent as a whole."""

from __future__ import annotations

from pathlib import Path

from agent.state.conditions import NAME, Troubles, read


def troubles(folder: Path, heard: list[str]) -> Troubles:
    return Troubles(folder, lambda: heard.append("changed"), lambda: 1_700_000_000.0)


def test_a_trouble_is_told_once_and_goes_away(tmp_path: Path) -> None:
    """The same words again are no news; other words keep the time of the first."""
    heard: list[str] = []
    found = troubles(tmp_path, heard)
    found.say("disk-full", "no room")
    found.say("disk-full", "no room")
    assert ([(t.code, t.message, t.since) for t in found.all()], heard) == (
        [("disk-full", "no room", "2023-11-14T22:13:20Z")],
        ["changed"],
    )
    found.say("disk-full", "no room at all")
    assert [t.message for t in read(tmp_path)] == ["no room at all"]
    found.unsay("disk-full")
    found.unsay("disk-full")
    assert (found.all(), read(tmp_path), len(heard)) == ([], [], 3)


def test_those_of_an_earlier_start_are_not_shown_for_ever(tmp_path: Path) -> None:
    """What still stands will be said again; a file that cannot be read is nothing."""
    troubles(tmp_path, []).say("clock", "off")
    troubles(tmp_path, [])
    assert read(tmp_path) == []
    (tmp_path / NAME).write_bytes(b"[{")
    assert read(tmp_path) == []


def test_a_disk_that_takes_nothing_stops_no_report(tmp_path: Path) -> None:
    """The file cannot be written (its directory is gone); the trouble is told all the same."""
    heard: list[str] = []
    found = troubles(tmp_path / "gone", heard)
    found.say("disk-full", "no room")
    assert (len(found.all()), heard) == (1, ["changed"])
