"""Which reports of an agent the manager stores, decided without a database."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.core.model.ids import BundleName, ClusterId, Generation
from fleetctl.core.model.status import Report, State, as_json
from manager.agents.status_reports import decide_reports
from manager.store.queries.reports import ReportedRow

WEB, AT = BundleName("web"), "2026-01-01T00:00:00Z"


def row(**changes: Any) -> ReportedRow:
    values: dict[str, Any] = {
        "cluster_id": ClusterId("c-1"),
        "bundle": WEB,
        "workspace": "w",
        "repo": "apps",
        "partition": 0,
        "is_staged": False,
        "generation": Generation(5),
        "is_removed": False,
        "reported_generation": 4,
        "applied_generation": 4,
        "state": State.WAIT_APPLIED.value,
        "first_ready_at": 0,
        "state_since": 0,
        "reported_at": AT,
        "message": "",
        "report": b"",
        "cause_key": "",
        "resource_counts": "",
    }
    return ReportedRow(**values | changes)


def report(generation: int, *, removed: bool = False) -> Report:
    number = Generation(generation)
    return Report(
        bundle=WEB,
        generation=number,
        applied=number,
        state=State.READY,
        ready=True,
        removed=removed,
    )


@pytest.mark.parametrize("generation", [3, 6])
def test_a_report_of_an_older_or_unknown_generation_is_ignored(generation: int) -> None:
    """An older report never overwrites a newer one (I8)."""
    changes = decide_reports({WEB: row()}, [report(generation)], AT)
    assert (changes.values, changes.finished_tombstones) == ([], [])


def test_a_report_of_an_unknown_bundle_is_ignored() -> None:
    assert decide_reports({}, [report(5)], AT).values == []


def test_a_report_of_the_current_generation_is_stored_and_moves_the_rollout() -> None:
    changes = decide_reports({WEB: row()}, [report(5)], AT)
    assert [(v.state, v.reported_generation, v.applied_generation) for v in changes.values] == [
        ("Ready", 5, 5)
    ]
    assert (changes.progressed_bundles, changes.workspace) == ({WEB}, "w")


def test_the_same_report_again_moves_no_rollout() -> None:
    stored = row(reported_generation=5, applied_generation=5, state=State.READY.value)
    changes = decide_reports({WEB: stored}, [report(5)], AT)
    assert (len(changes.values), changes.progressed_bundles) == (1, set())


def test_a_report_that_is_stored_already_is_not_written() -> None:
    """A full report after a restart of the manager repeats what is stored."""
    sent = report(5)
    stored = row(
        reported_generation=5,
        applied_generation=5,
        state=State.READY.value,
        report=as_json(sent),
        first_ready_at=1,
        state_since=1,
    )
    changes = decide_reports({WEB: stored}, [sent], AT)
    assert (changes.values, changes.progressed_bundles) == ([], set())


def test_a_finished_removal_deletes_the_tombstone() -> None:
    changes = decide_reports({WEB: row(is_removed=True)}, [report(5, removed=True)], AT)
    assert (changes.values, changes.finished_tombstones) == ([], [WEB])
