"""What an answer is worth."""

from __future__ import annotations

import msgspec
import pytest

from agent.controlplane.backoff import pause_seconds, unknown_agent_seconds
from agent.controlplane.responses import Answer, next_poll, problem
from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    DuplicateAgent,
    FleetError,
    LoginError,
    NotEnrolled,
    SendAll,
    TryLater,
    UsageError,
)

HTML = b"<html><body>Please log in to the hotel's network</body></html>"


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 407, 409, 418, 500, 502, 511])
def test_a_page_for_people_is_nobodys_answer(status: int) -> None:
    """Whatever its status: nothing was refused, something is in the way."""
    found = problem(Answer(status, {"content-type": "text/html"}, HTML))
    assert isinstance(found, TryLater)
    assert f"HTTP {status}, text/html" in found.summary


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "duplicate-agent", DuplicateAgent),
        (409, "send-all", SendAll),
        (401, "not-enrolled", NotEnrolled),
        (401, "login", LoginError),
        (400, "usage", UsageError),
        (400, "something-new", FleetError),
        (401, "something-new", LoginError),
        (408, "slow-request", TryLater),
        (429, "too-busy", TryLater),
        (503, "unavailable", TryLater),
    ],
)
def test_the_managers_words_become_errors(status: int, code: str, kind: type[FleetError]) -> None:
    """By their code; what asks for patience is tried again."""
    said = msgspec.json.encode(wire.Problem(code=code, summary="no"))
    found = problem(Answer(status, {"retry-after": "7"}, said))
    assert type(found) is kind
    if isinstance(found, TryLater):
        assert found.after == 7


@pytest.mark.parametrize("said", ["", "nan", "-1", "1e3", "٣", "9" * 20, "inf"])
def test_an_interval_that_is_none_is_not_the_managers(said: str) -> None:
    """Digits only."""
    assert next_poll({wire.H_NEXT_POLL: said}) is None


def test_intervals_are_bounded() -> None:
    """No answer makes an agent ask without a pause, or never again."""
    assert [next_poll({wire.H_NEXT_POLL: said}) for said in ("0", "15", "999999999")] == [
        1,
        15,
        3600,
    ]


def test_pauses_grow_are_spread_and_end_somewhere() -> None:
    """A manager that was away for a year is asked again within a minute, or within the interval of
    a large fleet.
    """
    assert [pause_seconds(n, 1.0) for n in (1, 2, 5, 6, 9, 10_000_000)] == [2, 4, 32, 60, 60, 60]
    assert pause_seconds(9, 0.5) == 30
    assert pause_seconds(9, 0.0) == 0.5
    assert pause_seconds(20, 1.0, interval=900) == 900
    later = TryLater("busy")
    later.after = 100.0
    assert pause_seconds(1, 0.5, later) == pytest.approx(105)
    later.after = 1e9
    assert pause_seconds(1, 0.0, later) == 3600


def test_an_agent_that_nobody_knows_asks_ever_more_rarely() -> None:
    """From half a minute to a quarter of an hour."""
    assert [unknown_agent_seconds(n, 1.0) for n in (1, 2, 4, 5, 10_000_000)] == [
        60,
        120,
        480,
        900,
        900,
    ]
    assert unknown_agent_seconds(1, 0.0) == 30
