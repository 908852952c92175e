"""Agents that enrol together leave the rows that they leave one by one.

The same tokens and keys are used one by one, each in its own transaction, and in random groups. A
bundle gets its rollout at three clusters here, so that groups pass that number. Only the numbers of
generations differ: a group shares one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection, Engine

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.errors import LoginError
from fleetctl.core.model.ids import BundleName, CommitId, Digest, RepoName, Workspace
from fleetctl.sources.git.store import About
from manager.agents import registration
from manager.agents.enrolment_batch import ENROLMENTS, Enrolment, EnrolmentItem
from manager.agents.registration import EnrolmentClaim
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.reconcile import new_clusters
from manager.rollout import staging
from manager.store.commands.tokens import insert_registration
from manager.store.queries.tokens import RegistrationRow
from manager.store.schema import meta, repos
from tests.support.depth import depth
from tests.support.manager.group_commits import (
    grouped_counts,
    memory_engine,
    open_log,
    parts_of,
    read_tables,
)

SPACE = Workspace("w")
NOW, LATER, PAST = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z"
REPO = RepoSpec(workspace=SPACE, name=RepoName("apps"), spec=GitRepoSpec(repo="https://git.test/a"))
TARGETS = {
    "all": Target(name="all", cluster_selector={}),
    "edge": Target(name="edge", cluster_selector={"matchLabels": {"kind": "edge"}}),
}
# Token and key of an agent. "wrong" has no registration, "old" is expired, "few" has two uses.
TOKENS = ("wrong", "old", "few", "edge", "core", "paris", "rome")
items = st.builds(
    lambda token, key, now: EnrolmentItem(token.encode(), bytes([key]) * 32, now, "1.0"),
    st.sampled_from(TOKENS),
    st.integers(1, 9),
    st.sampled_from((NOW, NOW, "2026-01-02T00:00:01Z")),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = memory_engine()
    with engine.begin() as connection:
        _fill(connection)
    yield engine
    engine.dispose()


def _fill(connection: Connection) -> None:
    head = [{"key": "epoch", "value": 1}, {"key": "generation", "value": 1}]
    connection.execute(sa.insert(meta), head)
    connection.execute(sa.insert(repos), {"workspace": SPACE, "name": REPO.name})
    specs = [
        BundleSpec(
            workspace=SPACE,
            name=BundleName(name),
            repo=REPO.name,
            path=name,
            commit=CommitId("1" * 40),
            archive=Digest("2" * 64),
            size=1,
            targets=[target],
        )
        for name, target in TARGETS.items()
    ]
    scan = CompletedScan(specs[0].commit, specs, [], about=About())
    apply_scan(connection, REPO, 1, scan, confirmation=None, now=PAST)
    shared_token = RegistrationRow(b"few", SPACE, "", None, "few", b"{}", LATER, 2, False)
    for changes in (
        {},
        {"hash": b"old", "expires_at": PAST},
        {"hash": b"edge", "labels": b'{"kind":"edge"}', "remaining_uses": 100},
        {"hash": b"core", "remaining_uses": 100},
    ):
        insert_registration(connection, msgspec.structs.replace(shared_token, **changes))
    for name in ("paris", "rome"):
        claim = EnrolmentClaim(SPACE, name, {}, expires=LATER, now=PAST)
        registration.register(connection, name.encode(), claim, replace=False)


def _outcome(engine: Engine, groups: Sequence[Sequence[EnrolmentItem]]) -> tuple[Any, Any]:
    """The cluster or the error of each agent, and the rows; undone after."""
    numbers = count(1)
    results: list[Any] = []
    with pytest.MonkeyPatch.context() as patch, engine.connect() as connection:
        patch.setattr(registration, "new_cluster_id", lambda: f"c-{next(numbers):020}")
        patch.setattr(registration, "new_uid", lambda: "u")
        patch.setattr(staging, "MANY_CLUSTERS", 3)
        patch.setattr(new_clusters, "MANY_CLUSTERS", 3)
        patch.setattr(new_clusters, "_MOST_TOGETHER", 2)
        with connection.begin() as transaction, open_log(connection) as log:
            for group in groups:
                for item in group:
                    log.add_item(ENROLMENTS, item)
                results += [_summary(result) for result in log.run()]
            rows = read_tables(connection)
            assert rows["counts"] == grouped_counts(connection)
            transaction.rollback()
    return results, _without_generations(rows)


def _summary(result: Any) -> Any:
    if isinstance(result, Enrolment):
        return result.cluster.id, result.repeated
    assert result is LoginError
    return result


def _without_generations(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`deployments.generation` as whether it was sent; the counter of generations is left out."""
    column = 4
    deployments = [
        (*row[:column], row[column] > 0, *row[column + 1 :]) for row in rows["deployments"]
    ]
    return rows | {"deployments": deployments, "meta": []}


@settings(max_examples=depth(30, 500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(items, max_size=14), cuts=st.lists(st.integers(1, 13), max_size=3))
def test_agents_that_enrol_together_leave_the_rows_of_single_enrolments(
    engine: Engine, script: list[EnrolmentItem], cuts: list[int]
) -> None:
    together = _outcome(engine, list(parts_of(script, cuts)))
    assert together == _outcome(engine, [[item] for item in script])
