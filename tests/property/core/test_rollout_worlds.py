"""The laws of the rollout over the real manager: its database, its loop's own pass, its documents;
clusters, people and time do anything.

`FLEETCTL_ROLLOUT_EXAMPLES=500` looks longer, and at other worlds each time; hypothesis then prints
what makes a failure again. Without it the same few worlds are looked at each time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.depth import depth
from tests.support.rollouts.laws import STANDING, Laws
from tests.support.rollouts.world import World

EXAMPLES = int(os.environ.get("FLEETCTL_ROLLOUT_EXAMPLES", "0"))
RINGS = [{"name": f"ring{n}", "clusterSelector": {"matchLabels": {"ring": str(n)}}} for n in (1, 2)]
STRATEGIES: list[Mapping[str, Any]] = [
    {"maxUnavailable": 1},
    {"maxUnavailable": 2, "autoPartitionThreshold": 4, "autoPartitionSize": 3},
    {"maxUnavailable": 2, "partitions": [RINGS[0] | {"maxUnavailable": 1}, RINGS[1]]},
    {"maxUnavailable": 1, "partitions": RINGS, "approval": "first"},
    {"partitions": RINGS, "soak": "10m"},
    {"maxUnavailable": "50%", "partitions": RINGS, "maxUnavailablePartitions": 1},
    {"maxUnavailable": 1, "partitions": RINGS, "maxFailures": 0, "onFailure": "rollback"},
    {"maxUnavailable": 2, "partitions": RINGS, "maxFailures": 1, "progressDeadline": "1h"},
]
NAMES = [f"c{n}" for n in range(9)]
names = st.sampled_from(NAMES)
some = st.sets(names, max_size=4)
often = st.sampled_from([True, True, True, False])


class Worlds(RuleBasedStateMachine):
    """Anything may happen; after each look the laws hold, and in the end, when all is well,
    everybody has one version.
    """

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        rings=st.lists(st.sampled_from("123"), min_size=4, max_size=7),
    )
    def begin(self, strategy: Mapping[str, Any], rings: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-world-"))
        self.world = World(self.folder / "m", strategy)
        self.laws = Laws(self.world)
        self.world.repository()
        for name, ring in zip(NAMES, rings, strict=False):
            self.world.join(name, ring=ring)
        self.world.commit()
        self._all_is_well()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._all_is_well()
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    def _all_is_well(self) -> None:
        """From wherever it is: clusters answer and can apply what they get, people say yes; in a
        bounded number of looks it is done.
        """
        world = self.world
        for name, site in world.sites.items():
            site.online = True
            if site.paused:
                world.pause(name, on=False)
        world.broken = {version: set() for version in world.broken}
        if world.paused_in_git:
            world.paused_in_git = False
            self._commit(content=False)
        for _ in range(12 + 4 * len(world.sites)):
            self._look()
            if self._done():
                return
            world.now += 700
            for name in world.sites:
                world.poll(name)
            if world.phase() in STANDING:
                self._say("resume")
            self._say("approve")
        raise AssertionError(f"it does not come to its end: {world.rollout()}")

    def _done(self) -> bool:
        world = self.world
        told = all(self.laws.has(site) for site in world.sites.values())
        return told and world.phase() == "Completed" and set(world.states().values()) == {"Ready"}

    def _look(self) -> None:
        self.world.now += 2  # who is silent is asked once a second
        before = self.laws.before()
        self.laws.after(before, self.world.look())

    def _say(self, verb: str) -> None:
        """A person's word is a look too."""
        asked = [
            p["name"]
            for p in (self.world.rollout() or {"status": {"partitions": []}})["status"][
                "partitions"
            ]
        ]
        waiting = self.world.asking()
        before = self.laws.before()
        if verb == "approve" and waiting is not None:
            self.laws.yes.add((before.version, asked[waiting]))
        if self.world.say(verb):
            self.laws.said = {"resume": "", "pause": verb, "abort": verb}.get(verb, self.laws.said)
            if verb in {"resume", "pause", "abort"}:
                before.phase = (
                    "Progressing"
                    if verb == "resume"
                    else {"pause": "Paused", "abort": "Aborted"}[verb]
                )
            self.laws.after(before, self.world.read())

    def _commit(self, *, broken: Iterable[str] = (), content: bool) -> None:
        """A newer version ends an abort; a pause holds it too."""
        if not self.world.pinned_version():
            self.laws.said = self.laws.said.replace("abort", "")
        self.world.commit(broken=broken, content=content)

    def _then(self, look: bool) -> None:
        """The manager looks before anything else happens, or it does not."""
        self.world.read()
        if look:
            self._look()

    @rule(rounds=st.integers(1, 5))
    def it_goes_on(self, rounds: int) -> None:
        """Who is there answers, the manager looks, and so on."""
        for _ in range(rounds):
            self.world.now += 20
            for name in sorted(self.world.sites):
                self.world.poll(name)
            self._look()

    @rule(rounds=st.integers(1, 3), which=some)
    def it_goes_on_without_some(self, rounds: int, which: set[str]) -> None:
        for name in which & self.world.sites.keys():
            self.world.sites[name].online = False
        self.it_goes_on(rounds)

    @rule(which=some)
    def agents_report(self, which: set[str]) -> None:
        self.world.now += 5
        for name in sorted(which & self.world.sites.keys()) or sorted(self.world.sites):
            self.world.poll(name)
        self._look()

    @rule(which=some)
    def clusters_fall_silent(self, which: set[str]) -> None:
        for name in which & self.world.sites.keys():
            self.world.sites[name].online = False

    @rule()
    def all_are_back(self) -> None:
        for site in self.world.sites.values():
            site.online = True

    @rule(seconds=st.sampled_from([10.0, 200.0, 650.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        self._look()

    @rule(broken=some, content=often, look=often)
    def a_commit(self, broken: set[str], content: bool, look: bool) -> None:
        before = self.laws.before()
        self._commit(broken=broken, content=content)
        assert not (self.world.read() & {n for n, told in before.told.items() if told[0]}), (
            "a commit itself tells nobody who had it"
        )
        self._then(look)

    @rule(strategy=st.sampled_from(STRATEGIES), content=st.booleans(), look=often)
    def another_strategy(self, strategy: Mapping[str, Any], content: bool, look: bool) -> None:
        self.world.strategy = strategy
        self._commit(content=content)
        self._then(look)

    @rule()
    def git_pauses_or_goes_on(self) -> None:
        self.world.paused_in_git = not self.world.paused_in_git
        self._commit(content=False)
        self._then(True)

    @rule()
    def what_was_broken_is_mended(self) -> None:
        self.world.broken[self.world.version] = set()
        self.it_goes_on(1)

    @rule(name=names, ring=st.sampled_from("123"))
    def a_cluster_joins(self, name: str, ring: str) -> None:
        if name not in self.world.sites:
            standing, wanted = self.world.phase() in STANDING, self.laws.wanted()
            self.world.join(name, ring=ring)
            told = self.world.sites[name].told
            assert not told or (standing and told != wanted), "it was told without a look"
        self._look()

    @precondition(lambda self: len(self.world.sites) > 2)
    @rule(name=names)
    def a_cluster_leaves(self, name: str) -> None:
        if name in self.world.sites:
            self.world.leave(name)
        self._look()

    @rule(name=names, ring=st.sampled_from("123"), look=often)
    def a_cluster_is_relabelled(self, name: str, ring: str, look: bool) -> None:
        if name in self.world.sites:
            self.world.label(name, ring=ring)
        self._then(look)

    @rule(name=names, on=st.booleans())
    def a_cluster_is_paused(self, name: str, on: bool) -> None:
        if name in self.world.sites:
            self.world.pause(name, on=on)
        self._then(True)

    @rule(verb=st.sampled_from(["pause", "resume", "resume", "approve", "approve", "abort"]))
    def a_person_says(self, verb: str) -> None:
        self._say(verb)
        self._look()

    @rule(release=st.booleans())
    def a_person_goes_back(self, release: bool) -> None:
        if self.world.go_back(release=release):
            self.laws.said = self.laws.said.replace("abort", "") if release else ""
        self._then(True)

    @rule(away=st.sampled_from([0.0, 30.0, 86_400.0]))
    def the_manager_is_away(self, away: float) -> None:
        self.world.restart(away)
        self._look()

    @rule()
    def a_restart_decides_the_same(self) -> None:
        """One manager goes on, another is started at this moment from the same files: both tell the
        same clusters the same. Only of who is silent a new one knows less, and lets nobody more go.
        """
        self.world.now += 2
        twin = self.world.twin(self.folder / "twin")
        try:
            sleeping = any(self.laws.offline(site) for site in self.world.sites.values())
            before = self.laws.before()
            other = twin.look()
            mine = self.world.look()
            self.laws.after(before, mine)
            assert other <= mine if sleeping else other == mine
            assert sleeping or twin.rollout() == self.world.rollout()
        finally:
            twin.close()

    @invariant()
    def nobody_is_told_two_things(self) -> None:
        """Between two looks nothing moves: what a document says was wanted when it was told."""
        if hasattr(self, "world"):
            assert all(site.told <= self.world.version for site in self.world.sites.values())


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(
    max_examples=EXAMPLES or depth(4, 30),
    stateful_step_count=20,
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
