"""Whatever happens to labels and groups, in whatever order: no more is removed unasked than may be,
and every hold can be ended.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleetctl.core.model.errors import Conflict
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.removal_guard import RemovalLimits, allowed_removals
from manager.clock import rfc3339
from manager.commands.removals import confirm
from manager.reconcile.held_removals import list_holds
from manager.reconcile.reconcile import reconcile
from manager.store.queries import Scope
from manager.store.queries.rollout.removals import held_cluster_ids
from manager.store.schema import clusters, deployments, objects
from tests.support.depth import depth
from tests.support.pages.plans import SPACE, World

HOUR, DAY = 3600, 86_400
BUNDLES = (BundleName("apps-web"), BundleName("apps-db"), BundleName("apps-base"))
FILES = {
    "web/fleet.yaml": "overrideTargets: [{name: w, clusterGroup: web}]\n",
    "web/m.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\n",
    "db/fleet.yaml": "overrideTargets: [{name: d, clusterSelector: {matchLabels: {env: prod}}}]\n",
    "db/m.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n",
    "base/fleet.yaml": (
        "overrideTargets: [{name: b, clusterSelector: {matchLabels: {keep: 'yes'}}}]\n"
    ),
    "base/m.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
}
picks = st.sets(st.integers(0, 39), min_size=1)


class Fleet(RuleBasedStateMachine):
    """40 clusters; `went` is what was removed without a question, by bundle and time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.now = 1_700_000_000.0
        self.count = 0
        self.asked: set[str] = set()  # clusters of which a person has confirmed something
        self.went: dict[BundleName, list[float]] = {name: [] for name in BUNDLES}

    @initialize(count=st.integers(3, 40))
    def begin(self, count: int) -> None:
        self.count = count
        self.world.clusters(
            [(f"c{n:02d}", {"env": "prod", "keep": "yes"}, {}) for n in range(count)]
        )
        self.world.group("web", {"matchLabels": {"env": "prod"}})
        repo = self.world.repo(paths=["*"])
        self.world.take(self.world.scanned(FILES, repo), repo)
        self.world.settle()

    def teardown(self) -> None:
        self.world.close()

    def _done(self, work: Any, *, asked: bool = False) -> None:
        """Run `work`, count what it removes, and let agents remove it."""
        before = self._rows()
        work()
        gone = [
            key
            for key, row in self._rows().items()
            if row.is_removed and key in before and not before[key].is_removed
        ]
        if not asked:
            for _, bundle in gone:
                self.went[BundleName(bundle)].append(self.now)
        self.world.settle()

    def _rows(self) -> dict[tuple[str, str], Any]:
        d = deployments.c
        query = sa.select(
            d.cluster_id, d.bundle, d.generation, d.is_removed, d.removal_held, d.options_key
        ).where(d.bundle.in_(BUNDLES))
        return {(row.cluster_id, row.bundle): row for row in self.world.connection.execute(query)}

    def _label(self, some: set[int], env: str, keep: str = "yes") -> None:
        c = clusters.c
        ids = [ClusterId(f"id-c{n:02d}") for n in sorted(some) if n < self.count]
        where = c.id.in_(ids)
        self.world.connection.execute(
            sa.update(clusters)
            .where(where)
            .values(labels=msgspec.json.encode({"env": env, "keep": keep}))
        )
        if ids:
            reconcile(
                self.world.connection, Scope(Workspace(SPACE), clusters=ids), now=rfc3339(self.now)
            )

    @rule(some=picks, env=st.sampled_from(["prod", "test"]))
    def many_labels(self, some: set[int], env: str) -> None:
        self._done(lambda: self._label(some, env))

    @rule(some=picks, env=st.sampled_from(["prod", "test"]))
    def labels_one_after_the_other(self, some: set[int], env: str) -> None:
        def work() -> None:
            for one in sorted(some):
                self._label({one}, env)

        self._done(work)

    @rule(one=st.integers(0, 39))
    def all_labels_of_one(self, one: int) -> None:
        """Its last bundle would go too."""
        self._done(lambda: self._label({one}, "test", keep="no"))

    @rule(env=st.sampled_from(["prod", "prd"]))
    def group(self, env: str) -> None:
        def work() -> None:
            spec = msgspec.json.encode({"selector": {"matchLabels": {"env": env}}})
            self.world.connection.execute(
                sa.update(objects).where(objects.c.name == "web").values(spec=spec)
            )
            reconcile(self.world.connection, Scope(Workspace(SPACE)), now=rfc3339(self.now))

        self._done(work)

    @rule(seconds=st.sampled_from([60, 600, HOUR + 120, 5 * HOUR, DAY + 120]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(bundle=st.sampled_from(BUNDLES), off=st.integers(-1, 1))
    def a_person_confirms(self, bundle: BundleName, off: int) -> None:
        """Exactly the number, or nothing."""
        held = held_cluster_ids(self.world.connection, Workspace(SPACE), bundle)
        place = Workspace(SPACE), bundle
        if off or not held:
            with pytest.raises(Conflict):
                confirm(self.world.connection, place, len(held) + (off or 1), "", rfc3339(self.now))
            return
        before = {key for key, row in self._rows().items() if key[1] == bundle}
        self.asked |= set(held)
        self._done(
            lambda: confirm(self.world.connection, place, len(held), "", rfc3339(self.now)),
            asked=True,
        )
        assert before - {key for key in self._rows() if key[1] == bundle} == {
            (cluster, bundle) for cluster in held
        }

    @rule()
    def everything_is_put_back(self) -> None:
        """Nothing is held any more, and what was held is what it was."""
        before = {key: row.options_key for key, row in self._rows().items() if row.removal_held}
        self.group("prod")
        self._done(lambda: self._label(set(range(40)), "prod"))
        after = self._rows()
        assert not any(row.removal_held for row in after.values())
        assert {key: after[key].options_key for key in before} == before
        assert list_holds(self.world.connection) == []

    @invariant()
    def what_is_shown_is_what_is_held(self) -> None:
        held = Counter(bundle for (_, bundle), row in self._rows().items() if row.removal_held)
        assert {hold.bundle: hold.count for hold in list_holds(self.world.connection)} == held

    @invariant()
    def no_more_goes_unasked_than_may(self) -> None:
        """Of so many as ever had it: within an hour by the limit, within a day by twice as many. A
        minute is what time is counted in.
        """
        for times in self.went.values():
            for end in times:
                assert sum(end - HOUR < at <= end for at in times) <= allowed_removals(
                    40, RemovalLimits()
                ), "within the hour"
                assert sum(end - DAY < at <= end for at in times) <= 2 * allowed_removals(
                    40, RemovalLimits()
                ), "within the day"

    @invariant()
    def nobody_is_left_with_nothing(self) -> None:
        d = deployments.c
        had = set(
            self.world.connection.execute(sa.select(d.cluster_id).where(~d.is_removed)).scalars()
        )
        assert {f"id-c{n:02d}" for n in range(self.count)} - had <= self.asked


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=depth(10, 60),
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
