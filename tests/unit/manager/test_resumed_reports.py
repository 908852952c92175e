"""Whether a report that states only changes may follow on what an earlier run stored."""

from __future__ import annotations

import pytest

from fleetctl.core.model.ids import ClusterId
from manager.presence import Presence, PresenceTable
from manager.store.queries.clusters import EnrolledRow

C = ClusterId("c-1")


def row(reporter: str = "i1", seq: int = 7) -> EnrolledRow:
    return EnrolledRow(C, b"k", 0.0, "::1", reporter, seq, b"{}")


@pytest.mark.parametrize(
    ("instance", "seq", "follows"),
    [
        ("i1", 8, True),
        ("i1", 9, False),  # a report between them was stored or lost: nobody knows
        ("i1", 700, False),
        ("i2", 8, False),
    ],
)
def test_a_report_follows_only_on_the_last_stored_one(
    instance: str, seq: int, follows: bool
) -> None:
    live = PresenceTable(0.0)
    live.load(row(), "")
    assert live.clusters[C].has_full_report_of(instance, seq) is follows


def test_a_report_of_this_run_may_leave_out_numbers() -> None:
    """An agent counts requests that never arrived."""
    presence = Presence(b"k", reporter="i1", speaker="i1", seq=7)
    assert presence.has_full_report_of("i1", 700)


class TestLoading:
    def test_a_row_that_was_read_before_a_change_is_ignored(self) -> None:
        """The cluster was deleted, or got another key, after its row was read."""
        live = PresenceTable(0.0)
        live.begin_loading(1)
        live.forget(C)
        live.load(row(), "")
        assert C not in live.clusters
        live.end_loading()
        assert not live.is_loading

    def test_the_poll_interval_counts_clusters_that_are_not_loaded(self) -> None:
        live = PresenceTable(0.0)
        live.begin_loading(1_000_000)
        assert live.poll_seconds() == 900
        live.end_loading()
        assert live.poll_seconds() == 15
