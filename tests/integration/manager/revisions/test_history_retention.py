"""How long revisions are kept: ten different contents, and everything of the last 30 days."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Digest, Workspace
from fleetctl.sources.git.store import About
from manager.clock import rfc3339
from manager.revisions import history
from manager.store.schema import bundles, meta, metadata, revisions

SPACE, BUNDLE = Workspace("fleet-default"), BundleName("web")
DAY = 86400.0


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as one:
        metadata.create_all(one)
        one.execute(sa.insert(meta), {"key": "generation", "value": 0})
        row = {
            "workspace": SPACE,
            "name": BUNDLE,
            "uid": "u",
            "generation": 0,
            "created_at": "",
            "commit": "",
        }
        one.execute(sa.insert(bundles), row | {"archive": "", "spec": b"{}", "repo": "apps"})
        yield one


def record(connection: Connection, content: str, day: float) -> None:
    connection.execute(sa.update(bundles).values(generation=bundles.c.generation + 1))
    spec = BundleSpec(workspace=SPACE, name=BUNDLE, archive=Digest(content))
    history.record(connection, [spec], About(), rfc3339(day * DAY))


def numbers(connection: Connection) -> list[int]:
    return list(
        connection.execute(sa.select(revisions.c.number).order_by(revisions.c.number)).scalars()
    )


def test_contents_that_take_turns_do_not_push_others_out(connection: Connection) -> None:
    """Ten contents, then two of them by turns for months: the other eight stay."""
    for n in range(10):
        record(connection, f"content-{n}", day=n)
    for turn, day in zip(itertools.cycle("89"), range(100, 160, 2), strict=False):
        record(connection, f"content-{turn}", day=day)
    assert set(range(1, 9)) <= set(numbers(connection))


def test_everything_of_the_last_thirty_days_stays(connection: Connection) -> None:
    for n in range(40):
        record(connection, f"content-{n}", day=100 + n)
    assert numbers(connection) == list(range(10, 41))


def test_a_busy_month_is_bounded(connection: Connection) -> None:
    for n in range(history.MOST_REVISIONS + 20):
        record(connection, f"content-{n}", day=100 + n / 100)
    assert len(numbers(connection)) == history.MOST_REVISIONS
