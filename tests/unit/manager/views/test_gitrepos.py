"""A GitRepo's state: what is in the way of Git comes before what is wrong with its bundles."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fleetctl.core.model.status import State
from manager.views.gitrepos import repo_status

ERROR, PROBLEM = (
    b'{"summary": "no such branch"}',
    b'[{"summary": "a/fleet.yaml: no"}, {"summary": "b"}]',
)
WARNING = b'[{"summary": "left out", "warning": true}]'
HELD = b'{"removals": 6, "of": 12, "bundles": [], "commit": "abcdef", "clusters": []}'


@dataclass(frozen=True)
class Scan:
    error: bytes = b"null"
    problems: bytes = b"[]"
    held_removal: bytes = b"null"
    commit: str = "abcdef"
    scanned_generation: int = 1
    scanned_at: str = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("scan", "states", "state", "message"),
    [
        (None, {}, "GitUpdating", ""),
        (Scan(scanned_generation=0), {State.READY: 3}, "GitUpdating", ""),
        (Scan(), {}, "Ready", ""),
        (Scan(), {State.READY: 10_000}, "Ready", ""),
        (Scan(), {State.READY: 10_000, State.NOT_READY: 1}, "NotReady", ""),
        (Scan(), {State.NOT_READY: 10_000, State.ERR_APPLIED: 1}, "ErrApplied", ""),
        (Scan(), {State.READY: 1, State.OFFLINE: 1}, "Offline", ""),
        (Scan(problems=WARNING), {State.READY: 1}, "Ready", ""),
        (
            Scan(held_removal=HELD),
            {State.ERR_APPLIED: 1},
            "Held",
            "would remove 6 of 12 bundles at abcdef",
        ),
        (
            Scan(problems=PROBLEM, held_removal=HELD),
            {State.ERR_APPLIED: 1},
            "Stalled",
            "a/fleet.yaml: no (and 1 more)",
        ),
        (
            Scan(error=ERROR, problems=PROBLEM, held_removal=HELD),
            {State.READY: 1},
            "Stalled",
            "no such branch",
        ),
        (Scan(error=ERROR, scanned_generation=0), {}, "Stalled", "no such branch"),
    ],
)
def test_states_in_order(
    scan: Scan | None, states: dict[State, int], state: str, message: str
) -> None:
    """An error of the last look, problems of files, a held removal, not looked at yet, then the
    worst deployment of all.
    """
    found = repo_status(scan, states, 1, 1)
    assert (found["display"]["state"], found["display"]["message"]) == (state, message)
    ready = next(c for c in found["conditions"] if c["type"] == "Ready")
    assert ready["status"] == ("True" if state == "Ready" else "False")
    assert found["summary"]["desiredReady"] == sum(states.values())
