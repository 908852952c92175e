"""Who is heard, and when two agents with one key are told apart from one that was restarted."""

from __future__ import annotations

from fleetctl.core.model.ids import ClusterId
from manager.presence import Presence, PresenceTable, Word

C = ClusterId("c-1")


def heard(*words: tuple[str, int]) -> list[bool]:
    """For each (instance, time that it signed) whether it is told of a twin."""
    live = PresenceTable(0.0)
    live.place(C, Presence(b""))
    return [
        bool(live.note_request(C, Word(instance, f"10.0.0.{instance[-1]}", stamp, 1000.0 + n)))
        for n, (instance, stamp) in enumerate(words)
    ]


def test_a_restart_is_no_twin() -> None:
    """However often it is started again."""
    assert heard(*((f"i{n}", n) for n in range(20))) == [False] * 20


def test_two_that_take_turns_are_twins() -> None:
    """From the first return on, and both are told."""
    assert heard(("i1", 1), ("i2", 2), ("i1", 3), ("i2", 4)) == [False, False, True, True]


def test_a_slow_request_of_a_dead_agent_is_no_twin() -> None:
    """It was signed before its successor spoke, and comes after; the successor goes on
    undisturbed.
    """
    assert heard(("i1", 1), ("i2", 5), ("i1", 4), ("i1", 5), ("i2", 6)) == [False] * 5


def test_a_twin_with_a_late_clock_is_found_when_its_clock_has_caught_up() -> None:
    """Clocks are at most five minutes off here, so that is how long it can take."""
    assert heard(("i1", 100), ("i2", 400), ("i1", 110), ("i2", 410), ("i1", 401)) == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_only_the_instance_that_was_heard_last_has_an_unchanged_document() -> None:
    """Another instance, a twin, a changed or an unknown document is for the slower path."""
    live = PresenceTable(0.0)
    assert live.unchanged_revision(C, "i1") == 0
    live.place(C, Presence(b""))
    live.clusters[C].revision = 5
    live.note_request(C, Word("i1", "10.0.0.1", 1, 1000.0))
    assert (live.unchanged_revision(C, "i1"), live.unchanged_revision(C, "i2")) == (5, 0)
    live.mark_changed([C])
    assert live.unchanged_revision(C, "i1") == 0
    live.clusters[C].revision = 5
    live.note_request(C, Word("i2", "10.0.0.2", 2, 1001.0))
    live.note_request(C, Word("i1", "10.0.0.1", 3, 1002.0))
    live.clusters[C].revision = 5
    assert live.twin(C)
    assert live.unchanged_revision(C, "i1") == 0
