"""What the agent does next."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from agent.decide import Install, Remove, Wait, World, decide, retry_seconds
from agent.journal import Entry
from fleetctl.core.ids import BundleName, ClusterId, ClusterName, Digest, Epoch, Generation, Workspace
from fleetctl.core.options import Options
from fleetctl.core.status import State
from fleetctl.core.wire import Dependency, Desired, DesiredBundle, Tombstone


def bundle(name: str, generation: int = 1, **more: Any) -> DesiredBundle:
    digest = Digest("0" * 64)
    return DesiredBundle(
        name=BundleName(name), generation=Generation(generation), archive=digest, size=1, options=Options(), options_digest=digest, **more
    )


def desired(*bundles: DesiredBundle, tombstones: list[Tombstone] | None = None) -> Desired:
    return Desired(
        workspace=Workspace("w"),
        cluster_id=ClusterId("c"),
        cluster=ClusterName("c"),
        epoch=Epoch(1),
        issued="",
        expires="",
        bundles=list(bundles),
        tombstones=tombstones or [],
    )


def applied(name: str, generation: int = 1, *, began: bool = False) -> Entry:
    return Entry(bundle=BundleName(name), generation=Generation(generation), applied=Generation(generation), began=began)


def world(*entries: Entry, **more: Any) -> World:
    known = {"states": {}, "retry_at": {}, "busy": ()} | more
    return World({e.bundle: e for e in entries}, **known)


class TestOrder:
    """I4: never backwards."""

    def test_what_is_below_what_was_here_is_left_alone(self) -> None:
        """Also when helm was cut off, when somebody changed an object, and for a tombstone: the manager is behind."""
        wanted = desired(bundle("a", 7), tombstones=[Tombstone(name=BundleName("b"), generation=Generation(6))])
        known = world(applied("a", 9, began=True), again=["a"], floors={"a": (1, 9), "b": (1, 8)})
        assert decide(wanted, known, 0) == []

    def test_a_higher_epoch_is_newer_whatever_its_generations(self) -> None:
        """That is how a person says that a restored manager is right."""
        entry = Entry(bundle=BundleName("a"), generation=Generation(9), applied=Generation(9), epoch=Epoch(1))
        wanted = structs.replace(desired(bundle("a", 3)), epoch=Epoch(2))
        assert decide(wanted, world(entry, floors={"a": (1, 9)}), 0) == [Install(bundle("a", 3))]

    def test_what_was_removed_comes_back_only_at_a_later_generation(self) -> None:
        """A bundle that a tombstone took is no reason to obey an older document."""
        floors = {"a": (1, 5)}
        assert decide(desired(bundle("a", 4)), world(floors=floors), 0) == []
        assert decide(desired(bundle("a", 6)), world(floors=floors), 0) == [Install(bundle("a", 6))]


class TestDecide:
    def test_a_new_generation_is_installed_and_the_same_one_is_not(self) -> None:
        """Only what is above the applied generation."""
        assert decide(desired(bundle("a", 2), bundle("b", 1)), world(applied("a"), applied("b")), 0) == [Install(bundle("a", 2))]

    def test_a_helm_that_was_cut_off_runs_again(self) -> None:
        """The journal says that it began and not that it ended."""
        assert decide(desired(bundle("a")), world(applied("a", began=True)), 0) == [Install(bundle("a"))]

    def test_absence_removes_nothing(self) -> None:
        """A bundle that the document does not name any more stays; only a tombstone removes."""
        gone = Tombstone(name=BundleName("b"), generation=Generation(3))
        assert decide(desired(), world(applied("a")), 0) == []
        assert decide(desired(tombstones=[gone]), world(applied("b")), 0) == [Remove(gone)]

    def test_a_failure_waits_for_its_time(self) -> None:
        """And then it is tried again."""
        failed = world(retry_at={"a": 10.0})
        assert decide(desired(bundle("a")), failed, 9) == []
        assert decide(desired(bundle("a")), failed, 10) == [Install(bundle("a"))]

    def test_a_paused_bundle_keeps_what_runs(self) -> None:
        """Neither installed nor upgraded."""
        assert decide(desired(bundle("a", 2, paused=True), bundle("b", paused=True)), world(applied("a")), 0) == []

    def test_dependencies_go_first(self) -> None:
        """A bundle waits until the one it names is ready at its present generation, and says for what."""
        web = bundle("web", depends_on=[Dependency(name="db")])
        wanted = desired(bundle("db", 2), web)
        assert decide(wanted, world(applied("db", 1), states={"db": State.READY}), 0)[1] == Wait(
            web, "waits for bundle db, which is WaitApplied"
        )
        assert decide(wanted, world(applied("db", 2), states={"db": State.READY}), 0) == [Install(web)]
        assert decide(desired(web), world(), 0) == [Wait(web, "no bundle db is meant for this cluster")]


def test_cycles_are_named() -> None:
    """A bundle that waits for itself through others says through which; one that only depends on a cycle says what it waits for."""
    a = bundle("a", depends_on=[Dependency(name="b")])
    b = bundle("b", depends_on=[Dependency(selector={"matchLabels": {"x": "1"}})])
    c = bundle("c", depends_on=[Dependency(name="a")], labels={"x": "1"})
    d = bundle("d", depends_on=[Dependency(name="a")])
    reasons = {action.bundle.name: action.reason for action in decide(desired(a, b, c, d), world(), 0) if isinstance(action, Wait)}
    assert reasons["a"] == "waits for itself: a waits for b waits for c waits for a"
    assert reasons["d"] == "waits for bundle a, which is WaitApplied"
    [alone] = decide(desired(bundle("e", depends_on=[Dependency(name="e")])), world(), 0)
    assert isinstance(alone, Wait)
    assert alone.reason == "waits for itself: e waits for e"


def test_waits_grow_to_ten_minutes() -> None:
    """Between half of the wait and all of it."""
    assert [retry_seconds(n, 1) for n in (1, 2, 3, 30)] == [5, 10, 20, 600]
    assert retry_seconds(1, 0) == 2.5
