"""When something is looked at, on a clock of the test's own."""

from __future__ import annotations

import pytest

from agent.drift.index import ObjectIndex
from agent.drift.queue import ObservationQueue
from agent.drift.watch import WatchedObject, WatchScope
from agent.drift.watch_events import WatchEventHandler, is_newer
from agent.state.last_applied import ObjectKey
from fleetctl.core.model.ids import BundleName
from fleetctl.core.timing.token_bucket import KeyedTokenBuckets, TokenBucket

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
        bucket = TokenBucket(2.0, 3.0, clock)
        bucket.take(3)
        assert bucket.wait() == 0.5
        bucket.take(2)
        assert bucket.wait() == 1.5
        clock.now += 100
        assert (bucket.wait(), bucket.is_full) == (0.0, True)
        bucket.pause(7)
        assert bucket.wait() == pytest.approx(7)

    def test_one_for_each_key(self) -> None:
        """Who flaps waits longer and longer, others do not; those that rest are forgotten."""
        clock = Clock()
        buckets = KeyedTokenBuckets(0.25, 2.0, clock)
        assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 4.0, 8.0]
        assert buckets.take("b") == 0.0
        clock.now += 1000
        buckets.sweep()
        assert buckets.take("a") == 0.0


class TestObservationQueue:
    def test_one_change_is_due_at_once_and_many_are_one(self) -> None:
        """Changes within a tenth of a second are looked at together; one that is on the agenda is
        no news.
        """
        clock = Clock()
        queue = ObservationQueue(clock)
        assert queue.wait() == float("inf")
        assert [queue.add_object(M), queue.add_object(M)] == [True, False]
        assert not queue.take()
        clock.now += queue.wait()
        assert queue.take().places == {M}
        assert not queue.take()

    def test_an_object_that_flaps(self) -> None:
        """Five looks at once, then one every four seconds: never more than five seconds behind."""
        clock = Clock()
        queue = ObservationQueue(clock)
        looks = 0
        for _ in range(3000):
            queue.add_object(M)
            clock.now += 0.01
            looks += bool(queue.take())
        assert 5 <= looks <= 5 + 30 / 4
        queue.add_object(M)
        assert queue.wait() <= 5

    def test_what_is_not_ready_is_looked_at_again_with_growing_pauses(self) -> None:
        """5 s, 10 s, … up to two minutes, until it is ready."""
        clock = Clock()
        queue = ObservationQueue(clock)
        pauses = []
        for _ in range(7):
            queue.set_ready(WEB, ready=False)
            pauses.append(queue.wait())
            clock.now += queue.wait()
            assert queue.take().bundles == {WEB}
        assert pauses == [5, 10, 20, 40, 80, 120, 120]
        queue.set_ready(WEB, ready=True)
        assert queue.wait() == float("inf")

    def test_all_together_are_bounded(self) -> None:
        """Sixteen bundles at a time, and nothing while the API server wants to be left alone."""
        clock = Clock()
        queue = ObservationQueue(clock)
        queue.add_bundles(BundleName(f"b{n:02}") for n in range(20))
        assert len(queue.take().bundles) == 16
        queue.pause(9)
        assert queue.wait() == pytest.approx(9)
        assert not queue.take()
        clock.now += 9.1
        assert len(queue.take().bundles) == 4

    def test_a_bundle_that_is_gone(self) -> None:
        """Nothing of it stays on the agenda."""
        queue = ObservationQueue(Clock())
        queue.add_bundles([WEB])
        queue.add_suspect(WEB, 1)
        queue.set_ready(WEB, ready=False)
        queue.drop(WEB)
        assert queue.wait() == float("inf")


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
        assert index.count_objects() == {
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


def event_handler(clock: Clock) -> tuple[WatchEventHandler, ObservationQueue, ObjectIndex]:
    queue, index = ObservationQueue(clock), ObjectIndex()
    index.put(WEB, {M}, "")
    return (
        WatchEventHandler(queue, index, lambda: {"n/web": WEB}, lambda: None, lambda _: None),
        queue,
        index,
    )


def take_due(queue: ObservationQueue, clock: Clock) -> tuple[set[ObjectKey], set[BundleName]]:
    clock.now += 3
    todo = queue.take()
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
        handler, queue, _ = event_handler(clock)
        if known:
            handler.versions[M] = known
        handler.on_change(MAPS, WatchedObject("n", "m", version, ""), exists=there)
        assert take_due(queue, clock)[0] == ({M} if due else set())
        assert is_newer("8", ("u", "7"))

    def test_a_list_tells_what_is_missing(self) -> None:
        """What had been there and is not listed is looked for by name."""
        clock = Clock()
        handler, queue, _ = event_handler(clock)
        handler.on_list(MAPS, [])
        assert take_due(queue, clock)[0] == set()
        handler.versions[M] = ("u", "7")
        handler.on_list(MAPS, [WatchedObject("n", "m", "7", "n/web")])
        assert take_due(queue, clock)[0] == set()
        handler.on_list(MAPS, [])
        assert take_due(queue, clock)[0] == {M}

    def test_suspects(self) -> None:
        """An object of our release that no bundle has; one of another release, or of none, is not;
        until it is gone or cleared.
        """
        clock = Clock()
        handler, queue, index = event_handler(clock)
        for name, release in (("a", "n/web"), ("b", "n/other"), ("c", "")):
            handler.on_change(MAPS, WatchedObject("n", name, "9", release), exists=True)
        assert take_due(queue, clock) == (set(), {WEB})
        assert handler.extras(WEB) == {M._replace(name="a")}
        handler.on_change(MAPS, WatchedObject("n", "a", "9", "n/web"), exists=False)
        assert (take_due(queue, clock)[1], handler.extras(WEB)) == ({WEB}, frozenset())
        handler.add_lost_objects(WEB, frozenset({OTHER}))
        assert handler.extras(WEB) == {OTHER}
        index.put(DB, {OTHER}, "")
        assert handler.extras(WEB) == frozenset()
        handler.clear_suspects(frozenset({OTHER}))
        index.drop(DB)
        assert handler.extras(WEB) == frozenset()
