"""What changes, and what a summary says of it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.formats.semver import best
from fleetctl.core.model.ids import BundleName, ClusterId, Digest, Generation
from fleetctl.core.model.plan import Have, Want, decide, too_many
from fleetctl.core.model.status import Report, State
from fleetctl.core.model.summary import count, deployment_state, seen_state, summarize, worst_of

KEY = (ClusterId("c"), BundleName("b"))
STORED = (
    b'{"archive":"a","options_digest":"o","options_key":"k","size":1,"target":"t",'
    b'"customization":"","commit":"c","keep_resources":false,"shown":"facts","decision":7}'
)


def want(archive: str = "a", options: str = "o", facts: str = "") -> Want:
    return Want(Digest(archive), Digest(options), options, bundle_facts=facts)


def have(archive: str = "a", options: str = "o", *, removed: bool = False) -> Have:
    return Have(Generation(1), Digest(archive), Digest(options), options, removed=removed)


def test_the_stored_form_of_a_staged_version_keeps_its_keys() -> None:
    """Rows of an older manager are read, and equal versions keep their key."""
    staged = msgspec.json.decode(STORED, type=Want)
    assert staged.bundle_facts == "facts"
    assert msgspec.json.encode(staged) == STORED


class TestDecide:
    def test_only_content_redeploys(self) -> None:
        """Another archive or other options: a new generation. Another label of the bundle: the same
        one, told anew.
        """
        assert decide({KEY: want("x")}, {KEY: have()})[0].redeploy
        assert decide({KEY: want("a", "p")}, {KEY: have()})[0].redeploy
        told = decide({KEY: want(facts="labels")}, {KEY: have()})
        assert [c.redeploy for c in told] == [False]
        assert decide({KEY: want()}, {KEY: have()}) == []

    def test_what_nobody_wants_becomes_one_tombstone(self) -> None:
        """Once, and it comes back as a new generation."""
        assert [c.want for c in decide({}, {KEY: have()})] == [None]
        assert decide({}, {KEY: have(removed=True)}) == []
        assert decide({KEY: want()}, {KEY: have(removed=True)})[0].redeploy


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_limit_of_removals(removals: int, of: int) -> None:
    """I7: more than max(5, 20 %)."""
    assert too_many(removals, of) == (removals > max(5, of / 5))


class TestStates:
    def test_an_old_report_is_no_answer_to_a_new_generation(self) -> None:
        """Ready at 1 says nothing of 2; Ready without ready resources is not ready."""
        ready = Report(
            bundle=BundleName("b"),
            generation=Generation(1),
            applied=Generation(1),
            state=State.READY,
            ready=True,
        )
        assert deployment_state(ready, Generation(1)) is State.READY
        assert deployment_state(ready, Generation(2)) is State.WAIT_APPLIED
        lying = Report(
            bundle=BundleName("b"),
            generation=Generation(2),
            applied=Generation(1),
            state=State.READY,
            ready=True,
        )
        assert deployment_state(lying, Generation(2)) is State.NOT_READY

    def test_silence_is_never_ready(self) -> None:
        """Offline when silent for too long, Pending before it ever enrolled."""
        assert seen_state(State.READY, offline=True, enrolled=True) is State.OFFLINE
        assert seen_state(State.READY, offline=False, enrolled=False) is State.PENDING

    @given(st.lists(st.sampled_from(State)))
    def test_counts_are_the_sum_of_their_parts(self, states: list[State]) -> None:
        """And the worst of them is what stands for all."""
        made = summarize(count(states))
        assert made["desiredReady"] == len(states)
        assert sum(n for key, n in made.items() if key != "desiredReady") == len(states)
        assert worst_of(count(states)) is min(states, key=list(State).index, default=State.READY)


def test_version_constraints() -> None:
    """As Masterminds/semver reads them."""
    known = ["1.0.0", "1.2.3", "1.2.9", "1.10.0", "2.0.0-rc.1", "0.3.1", "v3.0.0", "nonsense"]
    asked = {
        "": "v3.0.0",
        "1.2.3": "1.2.3",
        "~1.2": "1.2.9",
        "^1": "1.10.0",
        "1.2.x": "1.2.9",
        ">=1.0 <1.10": "1.2.9",
        "1.0 - 1.2": "1.2.9",
        "^0.3 || 1.0.0": "1.0.0",
        ">2.0.0-alpha, <3": "2.0.0-rc.1",
        ">4": None,
        "!=3.0.0": "1.10.0",
    }
    assert {constraint: best(constraint, known) for constraint in asked} == asked
