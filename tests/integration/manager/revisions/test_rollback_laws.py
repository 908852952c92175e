"""Going back is always possible: whatever commits, people, agents and restarts did before, on the
real tables.

Each cluster wants exactly its own pin, or the bundle's, or the newest; generations only grow; what
history says a cluster has is what it has; and at the end a rollback brings every cluster to a
version that works, though nobody resumes or approves anything.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.engine import Connection, Engine

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model import wire
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Digest, RepoName, Workspace
from fleetctl.core.model.plan import Want
from fleetctl.core.model.status import Report, State
from fleetctl.sources.git.store import About
from manager.agents import registration
from manager.agents.enrolment_batch import Enrolment, EnrolmentItem, enrol
from manager.agents.registration import EnrolmentClaim
from manager.agents.report_batch import ReportItem, store_batch
from manager.clock import rfc3339
from manager.commands import rollouts as rolloutsaid
from manager.commands.object_delete import delete_cluster
from manager.commands.rollback import ClusterSelection, RollbackRequest, roll_back
from manager.commands.rollout_loop import RolloutLoop
from manager.ingest.apply_scan import CompletedScan, apply_scan
from manager.presence import Presence, PresenceTable
from manager.store import migrate
from manager.store.engine import Store
from manager.store.queries.clusters import find_cluster
from manager.store.schema import (
    bundles,
    deployments,
    meta,
    repos,
    revisions,
    rollouts,
    staged_targets,
)
from manager.views import cluster_history
from tests.support.depth import depth

SPACE, BUNDLE, REPO = Workspace("w"), BundleName("web"), RepoName("apps")
PLACE = (SPACE, BUNDLE)
NAMES = ("a", "b", "c", "d", "e")
STRATEGIES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"maxUnavailable": 1},
    {"maxUnavailable": 1, "maxFailures": 0},
    {"maxUnavailable": 1, "maxFailures": 0, "onFailure": "rollback"},
    {"maxUnavailable": 1, "partitions": [{"name": "canary", "clusterName": "a"}]},
)
BAD = 3  # contents 3, 7, 11 … do not start anywhere
SECONDS = 40.0
subsets = st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)


def archive_of(content: int) -> Digest:
    return Digest(hashlib.sha256(str(content).encode()).hexdigest())


def starts(content: int) -> bool:
    return content % 4 != BAD


@dataclass
class Model:
    """What should be, by the rules alone."""

    revisions: dict[int, int] = field(default_factory=dict)  # number → content
    whole: int = 0
    own: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.own.get(name) or self.whole or max(self.revisions)

    def content(self, name: str) -> int:
        return self.revisions[self.number(name)]


class GoingBack(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="going-back-"))
        self.now, self.commits, self.registrations = 1_800_000_000.0, 0, 0
        self.model = Model()
        self.ids: dict[str, ClusterId] = {}
        self.silent: set[str] = set()
        self.strategy: dict[str, Any] | None = None
        self.open()

    def open(self) -> None:
        self.engine: Engine = sa.create_engine(f"sqlite:///{self.folder / 'fleet.db'}")
        self.live = PresenceTable(self.now)
        self.rolling = RolloutLoop(cast("Store", None), self.live, lambda: self.now)
        self.hear()

    def hear(self) -> None:
        for name, cluster in self.ids.items():
            presence = self.live.clusters.get(cluster, Presence(b"key"))
            presence.last_seen = presence.last_seen if name in self.silent else self.now
            self.live.place(cluster, presence)

    def teardown(self) -> None:
        try:
            if self.model.revisions:
                self.everything_can_go_back()
        finally:
            self.engine.dispose()
            shutil.rmtree(self.folder)

    # What people, Git and agents do

    @initialize(strategy=st.sampled_from(STRATEGIES), names=subsets)
    def begin(self, strategy: dict[str, Any] | None, names: set[str]) -> None:
        with self.engine.begin() as connection:
            migrate.up(connection, "x")
            connection.execute(
                sa.insert(meta), [{"key": "epoch", "value": 1}, {"key": "generation", "value": 0}]
            )
            connection.execute(sa.insert(repos), {"workspace": SPACE, "name": REPO})
        self.strategy = strategy
        for name in sorted(names):
            self.join(name)
        self.commit(0)

    @rule(content=st.integers(0, 7))
    def commit(self, content: int) -> None:
        self.commits += 1
        spec = BundleSpec(
            workspace=SPACE,
            name=BUNDLE,
            repo=REPO,
            commit=CommitId(f"{self.commits:040}"),
            archive=archive_of(content),
            targets=[Target(name="all", cluster_selector={})],
            rollout_strategy=self.strategy,
        )
        repo = RepoSpec(workspace=SPACE, name=REPO, spec=GitRepoSpec(repo="https://git.test/apps"))
        with self.engine.begin() as connection:
            taken = CompletedScan(spec.commit, [spec], [], about=About("Ada", f"content {content}"))
            apply_scan(connection, repo, 1, taken, confirmation=None, now=rfc3339(self.now))
            self.model.revisions = self.known(connection)
        assert self.model.revisions[max(self.model.revisions)] == content

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        if name in self.ids:
            return
        with self.engine.begin() as connection:
            now, token = rfc3339(self.now), f"{name}-{self.registrations}".encode()
            self.registrations += 1
            claim = EnrolmentClaim(SPACE, name, {}, expires=rfc3339(self.now + 60), now=now)
            registration.register(connection, token, claim, replace=True)
            (enrolment,) = enrol(connection, [EnrolmentItem(token, b"key", now, "")])
            assert isinstance(enrolment, Enrolment)
            self.ids[name] = enrolment.cluster.id
        self.hear()

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if len(self.ids) < 2 or name not in self.ids:
            return
        cluster = self.ids.pop(name)
        with self.engine.begin() as connection:
            row = find_cluster(connection, cluster)
            assert row is not None
            delete_cluster(connection, row, now=rfc3339(self.now), uninstall=False)
        self.live.forget(cluster)
        for kept in (self.model.own, self.model.generations):
            kept.pop(name, None)
        self.silent.discard(name)

    @rule(number=st.integers(0, 12))
    def roll_back(self, number: int) -> None:
        model = self.model
        number = number if number in model.revisions else 0
        number_now = model.whole or max(model.revisions)
        chosen = number or self.before(number_now, whole=True)
        if not chosen:
            self.refused(RollbackRequest())
        else:
            done = self.done(RollbackRequest(number)).number
            assert done == chosen, (number, chosen, done, model)
            model.whole = chosen

    @rule(number=st.integers(0, 12), names=subsets)
    def roll_back_some(self, number: int, names: set[str]) -> None:
        model = self.model
        number = number if number in model.revisions else 0
        ask = RollbackRequest(number, "why", "ada", ClusterSelection(tuple(sorted(names))))
        now, whole = {model.number(name) for name in names}, not names & model.own.keys()
        chosen = number or (self.before(now.pop(), whole=whole) if len(now) == 1 else 0)
        if names - self.ids.keys() or not chosen or not any(self.told(name) for name in names):
            self.refused(ask)
        else:
            assert self.done(ask).number == chosen
            model.own |= dict.fromkeys(names, chosen)

    @rule(names=subsets)
    def release_some(self, names: set[str]) -> None:
        ask = RollbackRequest(
            person="ada", clusters=ClusterSelection(tuple(sorted(names))), release=True
        )
        if names - self.ids.keys() or not names & self.model.own.keys():
            self.refused(ask)
        else:
            self.done(ask)
            self.model.own = {
                name: number for name, number in self.model.own.items() if name not in names
            }

    @rule(everyone=st.booleans())
    def release(self, everyone: bool) -> None:
        ask = RollbackRequest(release=True, everyone=everyone)
        if not self.model.whole and not (everyone and self.model.own):
            self.refused(ask)
        else:
            self.done(ask)
            self.model.whole, self.model.own = 0, {} if everyone else self.model.own

    @rule(verb=st.sampled_from(["pause", "resume", "abort"]))
    def say(self, verb: str) -> None:
        with self.engine.connect() as connection:
            try:
                rolloutsaid.command(connection, SPACE, BUNDLE, verb, "", self.now)
            except RefusedError:
                return
            connection.commit()

    @rule(name=st.sampled_from(NAMES))
    def fall_silent_or_come_back(self, name: str) -> None:
        self.silent ^= {name} & self.ids.keys()
        self.hear()

    @rule()
    def restart(self) -> None:
        self.engine.dispose()
        self.now += 10
        self.open()

    @rule(seconds=st.sampled_from([1.0, SECONDS, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hear()
        self.look()

    @rule(names=subsets)
    def report(self, names: set[str]) -> None:
        for name in sorted((names & self.ids.keys()) - self.silent):
            with self.engine.begin() as connection:
                self.answer(connection, name)
        self.look()

    # What must hold

    @invariant()
    def each_wants_what_it_should(self) -> None:
        with self.engine.connect() as connection:
            for name, row in self.rows(connection).items():
                if row.staged_key:
                    text = connection.execute(
                        sa.select(staged_targets.c.json).where(
                            staged_targets.c.key == row.staged_key
                        )
                    ).scalar_one()
                    archive = msgspec.json.decode(text, type=Want).archive
                else:
                    archive = Digest(row.archive)
                assert archive == archive_of(self.model.content(name)), (name, self.model)

    @invariant()
    def generations_only_grow(self) -> None:
        with self.engine.connect() as connection:
            for name, row in self.rows(connection).items():
                assert row.generation >= self.model.generations.get(name, 0)
                self.model.generations[name] = row.generation

    @invariant()
    def history_is_true(self) -> None:
        with self.engine.connect() as connection:
            contents = self.known(connection)
            for name, row in self.rows(connection).items():
                items = cluster_history.list_history(
                    connection, SPACE, name, BUNDLE, lambda _: False
                )
                assert [i["generation"] for i in items] == sorted(
                    {i["generation"] for i in items}, reverse=True
                )
                assert bool(items) == (row.generation > 0)
                if items and items[0]["number"] in contents:
                    assert archive_of(contents[items[0]["number"]]) == row.archive

    @precondition(lambda self: bool(self.model.revisions))
    @invariant()
    def what_is_pinned_is_kept(self) -> None:
        with self.engine.connect() as connection:
            assert {self.model.whole, *self.model.own.values()} - {0} <= self.known(
                connection
            ).keys()

    def everything_can_go_back(self) -> None:
        """Without a resume: first those with a pin of their own, then the whole bundle to a version
        that starts.
        """
        self.silent = set()
        self.settle()
        with self.engine.connect() as connection:
            for name, row in self.rows(connection).items():
                if name in self.model.own and row.generation > 0:
                    assert (row.staged_key, row.archive) == (
                        "",
                        archive_of(self.model.content(name)),
                    ), (name, self.model)
        good = [number for number, content in self.model.revisions.items() if starts(content)]
        if not good:
            return
        own = {
            name: number
            for name, number in self.model.own.items()
            if not starts(self.model.revisions[number])
        }
        if own:
            self.done(RollbackRequest(good[0], clusters=ClusterSelection(tuple(own))))
            self.model.own |= dict.fromkeys(own, good[0])
        self.done(RollbackRequest(good[-1]))
        self.model.whole = good[-1]
        self.settle()
        with self.engine.connect() as connection:
            for name, row in self.rows(connection).items():
                assert (row.staged_key, row.state, row.archive) == (
                    "",
                    "Ready",
                    archive_of(self.model.content(name)),
                ), (name, self.model)
        self.each_wants_what_it_should()

    # How it is done

    def settle(self) -> None:
        """Everybody reports until nothing changes any more."""
        before: Any = None
        for _ in range(40):
            self.now += 1
            self.hear()
            with self.engine.begin() as connection:
                for name in self.ids:
                    self.answer(connection, name)
            self.look()
            with self.engine.connect() as connection:
                now = [
                    (row.generation, row.staged_key, row.state)
                    for row in self.rows(connection).values()
                ]
            if now == before:
                return
            before = now
        raise AssertionError(f"it does not come to rest: {before}")

    def look(self) -> None:
        """As the manager's loop, every rollout."""
        with self.engine.begin() as connection:
            self.rolling.advance(connection, bundle=(SPACE, BUNDLE), now=self.now)
            pinned = (
                connection.execute(
                    sa.select(bundles.c.pinned_revision).where(bundles.c.name == BUNDLE)
                ).scalar()
                or 0
            )
        if pinned != self.model.whole:
            assert (self.strategy or {}).get("onFailure") == "rollback"
            assert pinned in self.model.revisions
            self.model.whole = pinned

    def answer(self, connection: Connection, name: str) -> None:
        row = self.rows(connection).get(name)
        if row is None or row.generation < 1:
            return
        good = any(row.archive == archive_of(content) and starts(content) for content in range(8))
        state = State.READY if good else State.ERR_APPLIED
        report = Report(
            bundle=BUNDLE,
            generation=row.generation,
            applied=row.generation if good else row.applied_generation,
            state=state,
            ready=good,
        )
        request = wire.StatusRequest(instance="i", seq=1)
        store_batch(connection, [ReportItem(self.ids[name], request, [report], None, self.now)])

    def done(self, ask: RollbackRequest) -> Any:
        with self.engine.begin() as connection:
            return roll_back(connection, PLACE, ask, rfc3339(self.now))

    def refused(self, ask: RollbackRequest) -> None:
        """Nothing of it is kept."""
        with self.engine.connect() as connection:
            before = self.state(connection)
        with pytest.raises((RefusedError, NotFound)) as why:
            self.done(ask)
        assert why.value.next_step
        with self.engine.connect() as connection:
            assert self.state(connection) == before

    def state(self, connection: Connection) -> list[Any]:
        tables = (bundles, deployments, revisions, meta)
        return [
            tuple(row)
            for table in tables
            for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
        ]

    def before(self, number: int, *, whole: bool) -> int:
        """The newest before with another content, 0 for none; while the bundle's rollout is under
        way, the last that was completed.
        """
        contents = self.model.revisions
        older = max(
            (one for one in contents if one < number and contents[one] != contents[number]),
            default=0,
        )
        with self.engine.connect() as connection:
            row = connection.execute(
                sa.select(rollouts.c.phase, rollouts.c.last_good_revision)
            ).one_or_none()
        good = (
            row.last_good_revision if row is not None and row.phase != "Completed" and whole else 0
        )
        return good if good in contents and contents[good] != contents[number] else older

    def told(self, name: str) -> bool:
        with self.engine.connect() as connection:
            row = self.rows(connection).get(name)
        return row is not None and row.generation > 0

    def rows(self, connection: Connection) -> dict[str, Any]:
        d, names = deployments.c, {cluster: name for name, cluster in self.ids.items()}
        return {
            names[row.cluster_id]: row
            for row in connection.execute(
                sa.select(deployments).where(~d.is_removed, d.bundle == BUNDLE)
            )
        }

    def known(self, connection: Connection) -> dict[int, int]:
        """Content by number."""
        contents = {archive_of(content): content for content in range(8)}
        return {
            row.number: contents[row.archive]
            for row in connection.execute(sa.select(revisions).order_by(revisions.c.number))
        }


TestGoingBack = GoingBack.TestCase
TestGoingBack.settings = settings(
    max_examples=depth(8, 60),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
