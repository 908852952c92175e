"""When something is looked at, on a clock of the test's own."""

from __future__ import annotations

import pytest

from agent.drift.index import ObjectIndex
from agent.drift.queue import ObservationQueue
from agent.drift.watch import WatchedObject, WatchScope
from agent.drift.watch_events import WatchEventHandler, is_newer
from agent.kube.ratelimit import Bucket, Buckets
from agent.state.last_applied import ObjectKey
from fleetctl.core.model.ids import BundleName

WEB, DB = BundleName("web"), BundleName("db")
M, OTHER = ObjectKey("v1", "ConfigMap", "n", "m"), ObjectKey("v1", "ConfigMap", "n", "other")
NODE = ObjectKey("v1", "Node", "", "n1")
MAPS = WatchScope("", "v1", "ConfigMap")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestPace:
    def test_a_bucket(self) -> None:
        """A burst at once, then by its rate; what costs more is waited for afterwards; a pause
        empties it.
        """
        clock = Clock()
        bucket = Bucket(2.0, 3.0, clock)
        bucket.take(3)
        assert bucket.wait() == 0.5
        bucket.take(2)
        assert bucket.wait() == 1.5
        clock.now += 100
        assert (bucket.wait(), bucket.full) == (0.0, True)
        bucket.pause(7)
        assert bucket.wait() == pytest.approx(7)

    def test_one_for_each_key(self) -> None:
        """Who flaps waits longer and longer, others do not; those that rest are forgotten."""
        clock = Clock()
        buckets = Buckets(0.25, 2.0, clock)
        assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 4.0, 8.0]
        assert buckets.take("b") == 0.0
        clock.now += 1000
        buckets.sweep()
        assert buckets.take("a") == 0.0


class TestAgenda:
    def test_one_change_is_due_at_once_and_many_are_one(self) -> None:
        """Changes within a tenth of a second are looked at together; one that is on the agenda is
        no news.
        """
        clock = Clock()
        agenda = ObservationQueue(clock)
        assert agenda.wait() == float("inf")
        assert [agenda.changed(M), agenda.changed(M)] == [True, False]
        assert not agenda.take()
        clock.now += agenda.wait()
        assert agenda.take().places == {M}
        assert not agenda.take()

    def test_an_object_that_flaps(self) -> None:
        """Five looks at once, then one every four seconds: never more than five seconds behind."""
        clock = Clock()
        agenda = ObservationQueue(clock)
        looks = 0
        for _ in range(3000):
            agenda.changed(M)
            clock.now += 0.01
            looks += bool(agenda.take())
        assert 5 <= looks <= 5 + 30 / 4
        agenda.changed(M)
        assert agenda.wait() <= 5

    def test_what_is_not_ready_is_looked_at_again_with_growing_pauses(self) -> None:
        """5 s, 10 s, … up to two minutes, until it is ready."""
        clock = Clock()
        agenda = ObservationQueue(clock)
        pauses = []
        for _ in range(7):
            agenda.judged(WEB, ready=False)
            pauses.append(agenda.wait())
            clock.now += agenda.wait()
            assert agenda.take().whole == {WEB}
        assert pauses == [5, 10, 20, 40, 80, 120, 120]
        agenda.judged(WEB, ready=True)
        assert agenda.wait() == float("inf")

    def test_all_together_are_bounded(self) -> None:
        """Sixteen bundles at a time, and nothing while the API server wants to be left alone."""
        clock = Clock()
        agenda = ObservationQueue(clock)
        agenda.whole(BundleName(f"b{n:02}") for n in range(20))
        assert len(agenda.take().whole) == 16
        agenda.pause(9)
        assert agenda.wait() == pytest.approx(9)
        assert not agenda.take()
        clock.now += 9.1
        assert len(agenda.take().whole) == 4

    def test_a_bundle_that_is_gone(self) -> None:
        """Nothing of it stays on the agenda."""
        agenda = ObservationQueue(Clock())
        agenda.whole([WEB])
        agenda.suspect(WEB, 1)
        agenda.judged(WEB, ready=False)
        agenda.drop(WEB)
        assert agenda.wait() == float("inf")


class TestIndex:
    def test_who_has_what(self) -> None:
        """An object of two bundles stays while one has it; a wish counts by kind, rights and
        namespace.
        """
        index = ObjectIndex()
        assert index.put(WEB, {M, NODE}, "")
        assert not index.put(WEB, {NODE, M}, "")
        assert index.put(DB, {M, OTHER}, "looker")
        assert index.of(M) == (WEB, DB)
        looker = WatchScope("looker", "v1", "ConfigMap")
        assert index.wish() == {
            MAPS: {"n": 1},
            WatchScope("", "v1", "Node"): {"": 1},
            looker: {"n": 2},
        }
        assert index.within(MAPS) == [M]
        assert sorted(index.within(looker)) == [M, OTHER]
        assert index.within(MAPS._replace(namespace="elsewhere")) == []
        assert index.drop(WEB)
        assert not index.drop(WEB)
        assert (M in index, NODE in index) == (True, False)


def ears(clock: Clock) -> tuple[WatchEventHandler, ObservationQueue, ObjectIndex]:
    agenda, index = ObservationQueue(clock), ObjectIndex()
    index.put(WEB, {M}, "")
    return (
        WatchEventHandler(agenda, index, lambda: {"n/web": WEB}, lambda: None, lambda _: None),
        agenda,
        index,
    )


def told(agenda: ObservationQueue, clock: Clock) -> tuple[set[ObjectKey], set[BundleName]]:
    clock.now += 3
    todo = agenda.take()
    return todo.places, todo.extras


class TestWatchEventHandler:
    @pytest.mark.parametrize(
        ("known", "version", "there", "due"),
        [
            (("u", "7"), "7", True, False),
            (("u", "7"), "6", True, False),
            (("u", "7"), "10", True, True),
            (("u", "7"), "7", False, True),
            (("", ""), "7", True, True),
            (("u", "a"), "b", True, True),
            (None, "7", True, True),
        ],
    )
    def test_what_was_judged_is_not_looked_at_again(
        self, known: tuple[str, str] | None, version: str, there: bool, due: bool
    ) -> None:
        """By version; what is gone always is."""
        clock = Clock()
        heard, agenda, _ = ears(clock)
        if known:
            heard.versions[M] = known
        heard.changed(MAPS, WatchedObject("n", "m", version, ""), there=there)
        assert told(agenda, clock)[0] == ({M} if due else set())
        assert is_newer("8", ("u", "7"))

    def test_a_list_tells_what_is_missing(self) -> None:
        """What had been there and is not listed is looked for by name."""
        clock = Clock()
        heard, agenda, _ = ears(clock)
        heard.listed(MAPS, [])
        assert told(agenda, clock)[0] == set()
        heard.versions[M] = ("u", "7")
        heard.listed(MAPS, [WatchedObject("n", "m", "7", "n/web")])
        assert told(agenda, clock)[0] == set()
        heard.listed(MAPS, [])
        assert told(agenda, clock)[0] == {M}

    def test_suspects(self) -> None:
        """An object of our release that no bundle has; one of another release, or of none, is not;
        until it is gone or cleared.
        """
        clock = Clock()
        heard, agenda, index = ears(clock)
        for name, release in (("a", "n/web"), ("b", "n/other"), ("c", "")):
            heard.changed(MAPS, WatchedObject("n", name, "9", release), there=True)
        assert told(agenda, clock) == (set(), {WEB})
        assert heard.extras(WEB) == {M._replace(name="a")}
        heard.changed(MAPS, WatchedObject("n", "a", "9", "n/web"), there=False)
        assert (told(agenda, clock)[1], heard.extras(WEB)) == ({WEB}, frozenset())
        heard.left(WEB, frozenset({OTHER}))
        assert heard.extras(WEB) == {OTHER}
        index.put(DB, {OTHER}, "")
        assert heard.extras(WEB) == frozenset()
        heard.cleared(frozenset({OTHER}))
        index.drop(DB)
        assert heard.extras(WEB) == frozenset()
