"""Silent clusters: the queue finds the same ones as a look at each cluster, and at a small cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.model.ids import ClusterId
from manager.presence import HEARD, OFFLINE, UNKNOWN, Presence, PresenceTable, Word

START = 1_000_000.0
CLUSTERS = [ClusterId(f"c-{n}") for n in range(4)]
HEARD_AGAIN, FORGOTTEN, ENROLLED, LATER = "heard", "forgotten", "enrolled", "later"
steps = st.lists(
    st.tuples(
        st.sampled_from([HEARD_AGAIN, HEARD_AGAIN, FORGOTTEN, ENROLLED, LATER]),
        st.sampled_from(CLUSTERS),
        st.integers(1, 400),
    ),
    max_size=40,
)


@given(steps)
def test_the_silent_clusters_are_those_that_are_not_heard(
    sequence: list[tuple[str, ClusterId, int]],
) -> None:
    """Whatever happened, up to the second in which a cluster becomes silent."""
    live, now = PresenceTable(START, offline_seconds=300.0), START
    turned_before: dict[ClusterId, str] = {}
    for cluster in CLUSTERS:
        live.place(cluster, Presence(b"k", last_seen=START - 1000.0))
    for step, cluster, seconds in sequence:
        if step == LATER:
            now += seconds
        elif step == FORGOTTEN:
            live.forget(cluster)
        elif step == ENROLLED:
            live.add_enrolled(cluster, b"k", now, "::1")
        else:
            live.note_request(cluster, Word("i", "::1", int(now), now))
        silent = live.silent(now)
        healths = {c: live.health(c, now) for c in live.clusters}
        assert silent == {c: health for c, health in healths.items() if health != HEARD}
        assert live.offline(now) == {c for c, health in healths.items() if health == OFFLINE}
        turned = live.take_turned()
        assert turned >= {c for c in silent.keys() ^ turned_before.keys() if c in live.clusters}
        turned_before = dict(silent)


def test_a_longer_interval_ends_silences() -> None:
    """A fleet that grows gets a longer poll interval: a cluster may be silent for longer."""
    live = PresenceTable(0.0)
    early = ClusterId("early")
    live.place(early, Presence(b"k", last_seen=START))
    assert live.silent(START + 400) == {early: OFFLINE}
    for n in range(40_000):  # polls each 200 s: offline after 600 s
        live.place(ClusterId(f"c-{n}"), Presence(b"k", last_seen=START + 400))
    assert live.silent(START + 400) == {}
    assert live.silent(START + 602) == {early: OFFLINE}


def test_a_restarted_manager_calls_no_cluster_offline_before_it_has_listened() -> None:
    live = PresenceTable(START)
    cluster = CLUSTERS[0]
    live.place(cluster, Presence(b"k", last_seen=START - 1000.0))
    assert live.silent(START + 1) == {cluster: UNKNOWN}
    assert live.offline(START + 1) == set()
    assert live.silent(START + 301) == {cluster: OFFLINE}


class CountedPresences(dict[ClusterId, Presence]):
    """Counts the entries that are looked at."""

    touched = 0

    def get(self, *args: Any) -> Any:
        self.touched += 1
        return super().get(*args)

    def __getitem__(self, key: ClusterId) -> Presence:
        self.touched += 1
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[ClusterId]:
        self.touched += len(self)
        return super().__iter__()

    def items(self) -> Any:
        self.touched += len(self)
        return super().items()

    def values(self) -> Any:
        self.touched += len(self)
        return super().values()


def test_a_request_and_a_look_touch_few_clusters_of_a_large_fleet() -> None:
    """A tenth of the fleet is silent; the cost is that of the clusters that turned."""
    live = PresenceTable(0.0)
    for n in range(20_000):
        seen = START - 10_000 if n % 10 == 0 else START
        live.place(ClusterId(f"c-{n}"), Presence(b"k", last_seen=seen))
    assert len(live.silent(START)) == 2000
    live.take_turned()
    presences = CountedPresences(live.clusters)
    live.clusters = presences
    heard_again = ClusterId("c-10")
    live.note_request(heard_again, Word("i", "::1", 1, START + 1))
    live.mark_changed([ClusterId("c-7")])
    assert heard_again not in live.silent(START + 2)
    assert live.take_turned() == {heard_again}
    assert [cluster for cluster, _ in live.take_unsaved()] == [heard_again]
    assert live.poll_seconds() == 100
    assert presences.touched < 20
