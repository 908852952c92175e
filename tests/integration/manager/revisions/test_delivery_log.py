"""What a cluster was told before, written in SQL by the statement that tells it something new."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import Digest
from fleetctl.core.model.plan import Want
from manager.revisions import delivery_log
from manager.revisions.audit_log import delete_decisions, find_unnamed_decisions
from manager.store.commands.delivery import LOG_CHARACTERS, delivery_columns
from manager.store.schema import decisions, deployments, metadata, pins, staged_targets


@pytest.fixture
def connection() -> Any:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


TEXTS = (
    "workspace",
    "repo",
    "archive",
    "options_digest",
    "options_key",
    "target",
    "customization",
    "commit",
)


def deployed(connection: Connection, **values: Any) -> None:
    row = dict.fromkeys(TEXTS, "") | {
        "cluster_id": "c",
        "bundle": "b",
        "size": 0,
        "bundle_facts": b"",
        "keep_resources": False,
        "is_removed": False,
    }
    connection.execute(
        sa.insert(deployments),
        row | {"generation": 1, "reported_generation": 1, "state": "Ready", "message": ""} | values,
    )


def told(connection: Connection, now: int, **values: Any) -> None:
    connection.execute(sa.update(deployments).values(**delivery_columns(now), **values))


def lines(connection: Connection) -> list[delivery_log.LoggedDelivery]:
    return delivery_log.parse_lines(
        connection.execute(sa.select(deployments.c.delivery_log)).scalar_one()
    )


def test_what_it_had_comes_first(connection: Connection) -> None:
    """Decision, generation, times, state and message are those that the row had when something else
    came.
    """
    deployed(
        connection,
        decision=7,
        generation=8,
        reported_generation=8,
        sent_at=100,
        state_since=130,
        first_ready_at=120,
        state="NotReady",
        message="a|b\nc",
    )
    told(connection, 200, decision=9, generation=10, state="WaitApplied")
    told(connection, 300, decision=11, generation=12)
    assert lines(connection) == [
        delivery_log.LoggedDelivery(9, 10, 200, "WaitApplied", 200, 0, ""),
        delivery_log.LoggedDelivery(7, 8, 100, "NotReady", 130, 120, "a|b c"),
    ]


def test_who_was_told_nothing_has_no_past(connection: Connection) -> None:
    """Neither has what an older manager told, of which nothing is known."""
    deployed(connection, generation=0, state="Pending")
    told(connection, 100)
    assert lines(connection) == []


def test_it_is_bounded(connection: Connection) -> None:
    """Ten lines are shown, the newest; long messages leave room for fewer, and no line is torn."""
    deployed(connection, sent_at=1)
    for at in range(2, 40):
        told(connection, at, generation=at, decision=at)
    assert [line.sent_at for line in lines(connection)] == list(range(38, 28, -1))
    for at in range(40, 60):
        connection.execute(
            sa.update(deployments).values(
                message="x" * 1000, reported_generation=at - 1, state="ErrApplied"
            )
        )
        told(connection, at, generation=at)
    found = lines(connection)
    assert [line.sent_at for line in found] == list(range(58, 58 - len(found), -1))
    assert 5 < len(found) < 10
    assert {len(line.message) for line in found} == {100}
    assert (
        len(connection.execute(sa.select(deployments.c.delivery_log)).scalar_one())
        <= LOG_CHARACTERS
    )


def test_decisions_that_nobody_names_are_swept(connection: Connection) -> None:
    """The last hundred stay, and older ones that a cluster has, had, is pinned to or waits for; a
    bundle with few is left alone.
    """
    row = dict.fromkeys(
        ("cause", "commit", "author", "subject", "person", "reason", "decided_at"), ""
    ) | {
        "workspace": "w",
        "number": 1,
    }
    connection.execute(
        sa.insert(decisions), [row | {"bundle": "b", "id": at} for at in range(1, 301)]
    )
    connection.execute(
        sa.insert(decisions), [row | {"bundle": "few", "id": at} for at in range(1, 100)]
    )
    deployed(connection, workspace="w", decision=5, sent_at=1)
    told(connection, 2, decision=7, generation=2)
    connection.execute(
        sa.insert(pins),
        {"workspace": "w", "bundle": "b", "cluster_id": "c", "number": 1, "decision": 9},
    )
    want = Want(Digest("a"), Digest("o"), "k", decision=11)
    connection.execute(sa.insert(staged_targets), {"key": "k", "json": msgspec.json.encode(want)})
    delete_decisions(connection, find_unnamed_decisions(connection))
    left: dict[str, set[int]] = {bundle: set() for bundle in ("b", "few")}
    for one in connection.execute(sa.select(decisions)):
        left[one.bundle].add(one.id)
    assert left["b"] == {5, 7, 9, 11, *range(201, 301)}
    assert len(left["few"]) == 99
    assert find_unnamed_decisions(connection) == []
