"""What the agent does next."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from agent.loops.decide import (
    HOLD_SECONDS,
    RETRY,
    Hold,
    Install,
    Remove,
    Tidy,
    Wait,
    World,
    decide,
)
from agent.state.journal import Entry
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import Dependency, Desired, DesiredBundle, Tombstone


def bundle(name: str, generation: int = 1, **more: Any) -> DesiredBundle:
    digest = Digest("0" * 64)
    return DesiredBundle(
        **{"options": Options()} | more,
        name=BundleName(name),
        generation=Generation(generation),
        archive=digest,
        size=1,
        options_digest=digest,
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


def applied(name: str, generation: int = 1, **more: Any) -> Entry:
    known = {"release": name, "namespace": "default"} | more
    return Entry(
        bundle=BundleName(name),
        generation=Generation(generation),
        applied=Generation(generation),
        **known,
    )


def tombstone(name: str, generation: int = 9) -> Tombstone:
    return Tombstone(name=BundleName(name), generation=Generation(generation))


def world(*entries: Entry, **more: Any) -> World:
    known = {"states": {}, "retry_at": {}, "busy": ()} | more
    return World({e.bundle: e for e in entries}, **known)


class TestOrder:
    """I4: never backwards."""

    def test_what_is_below_what_was_here_is_left_alone(self) -> None:
        """Also when helm was cut off, when somebody changed an object, and for a tombstone: the
        manager is behind.
        """
        wanted = desired(
            bundle("a", 7), tombstones=[Tombstone(name=BundleName("b"), generation=Generation(6))]
        )
        known = world(applied("a", 9, began=True), again=["a"], floors={"a": (1, 9), "b": (1, 8)})
        assert decide(wanted, known, 0) == []

    def test_a_higher_epoch_is_newer_whatever_its_generations(self) -> None:
        """That is how a person says that a restored manager is right."""
        entry = Entry(
            bundle=BundleName("a"), generation=Generation(9), applied=Generation(9), epoch=Epoch(1)
        )
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
        assert decide(
            desired(bundle("a", 2), bundle("b", 1)), world(applied("a"), applied("b")), 0
        ) == [Install(bundle("a", 2))]

    def test_a_helm_that_was_cut_off_runs_again(self) -> None:
        """The journal says that it began and not that it ended."""
        assert decide(desired(bundle("a")), world(applied("a", began=True)), 0) == [
            Install(bundle("a"))
        ]

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
        assert (
            decide(
                desired(bundle("a", 2, paused=True), bundle("b", paused=True)),
                world(applied("a")),
                0,
            )
            == []
        )

    def test_dependencies_go_first(self) -> None:
        """A bundle waits until the one it names is ready at its present generation, and says for
        what.
        """
        web = bundle("web", depends_on=[Dependency(name="db")])
        wanted = desired(bundle("db", 2), web)
        assert decide(wanted, world(applied("db", 1), states={"db": State.READY}), 0)[1] == Wait(
            web, "waits for bundle db, which is WaitApplied"
        )
        assert decide(wanted, world(applied("db", 2), states={"db": State.READY}), 0) == [
            Install(web)
        ]
        assert decide(desired(web), world(), 0) == [
            Wait(web, "no bundle db is meant for this cluster")
        ]


class TestRemovalsGoLast:
    """A bundle that comes may take over what one that goes holds."""

    OLD = tombstone("old")

    def test_not_before_every_new_bundle_was_tried(self) -> None:
        """One that is to be installed, or is being installed, holds the removal; one that is
        applied does not.
        """
        wanted = desired(bundle("new"), tombstones=[self.OLD])
        hold = Hold(
            self.OLD,
            "waits until bundle new was tried, because that bundle may take over its objects",
        )
        assert decide(wanted, world(applied("old")), 0) == [Install(bundle("new")), hold]
        assert decide(wanted, world(applied("old"), busy=["new"]), 0) == [hold]
        assert decide(wanted, world(applied("old"), applied("new")), 0) == [Remove(self.OLD)]

    def test_nor_before_one_that_has_changed(self) -> None:
        """An object may move to a bundle that was there before."""
        wanted = desired(bundle("other", 2), tombstones=[self.OLD])
        assert [type(a) for a in decide(wanted, world(applied("old"), applied("other", 1)), 0)] == [
            Install,
            Hold,
        ]
        again = world(applied("old"), applied("other", 2), again=["other"])
        assert [type(a) for a in decide(wanted, again, 0)] == [Install, Remove]

    def test_one_that_failed_was_tried(self) -> None:
        """It may fail because of what the old one holds."""
        failed = world(applied("old"), attempts={"new": 3}, retry_at={"new": 10.0})
        assert decide(desired(bundle("new", 3), tombstones=[self.OLD]), failed, 0) == [
            Remove(self.OLD)
        ]
        assert [
            type(a) for a in decide(desired(bundle("new", 4), tombstones=[self.OLD]), failed, 0)
        ] == [Hold]

    def test_one_that_waits_in_vain_holds_nothing_and_one_that_waits_its_turn_does(self) -> None:
        """A dependency that nobody brings, or that failed, may never come; one that is not ready
        yet will.
        """
        web = bundle("web", depends_on=[Dependency(name="db")])
        assert decide(desired(web, tombstones=[self.OLD]), world(applied("old")), 0)[1] == Remove(
            self.OLD
        )
        both = desired(bundle("db"), web, tombstones=[self.OLD])
        slow = world(applied("old"), applied("db"), states={"db": State.NOT_READY})
        assert [type(a) for a in decide(both, slow, 0)] == [Wait, Hold]
        failed = world(
            applied("old"),
            states={"db": State.ERR_APPLIED},
            attempts={"db": 1},
            retry_at={"db": 10.0},
        )
        assert [type(a) for a in decide(both, failed, 0)] == [Wait, Remove]

    def test_ten_minutes_are_the_most(self) -> None:
        """Since the tombstone was first seen."""
        wanted = desired(bundle("new"), tombstones=[self.OLD])
        seen = world(applied("old"), busy=["new"], since={("old", 9): 100.0})
        assert [type(a) for a in decide(wanted, seen, 99 + HOLD_SECONDS)] == [Hold]
        assert [type(a) for a in decide(wanted, seen, 100 + HOLD_SECONDS)] == [Remove]

    def test_what_holds_nothing_or_has_begun_goes_at_once(self) -> None:
        """A tombstone of a bundle that is not here, and a removal that was cut off."""
        wanted = desired(bundle("new"), tombstones=[self.OLD])
        assert decide(wanted, world(), 0)[1] == Remove(self.OLD)
        assert decide(wanted, world(applied("old", removing=True)), 0)[1] == Remove(self.OLD)

    def test_a_release_that_another_bundle_is_to_have_waits_for_it(self) -> None:
        """However long: the release is wanted, under that bundle's name."""
        heir = bundle("new", options=Options(helm=HelmOptions(release_name="shop")))
        old = applied("old", release="shop")
        hold = Hold(self.OLD, "waits until bundle new has taken over its release")
        wanted = desired(heir, tombstones=[self.OLD])
        assert decide(
            wanted, world(old, attempts={"new": 1}, retry_at={"new": 9e9}), HOLD_SECONDS * 9
        ) == [hold]
        began = Entry(bundle=BundleName("new"), release="shop", namespace="default", began=True)
        assert decide(wanted, world(old, began, busy=["new"]), 0) == [hold]
        assert decide(wanted, world(old, applied("new", release="shop")), 0) == [Remove(self.OLD)]

    def test_two_never_work_on_one_release(self) -> None:
        """A bundle waits while its release is being removed under another's name."""
        heir = bundle("new", options=Options(helm=HelmOptions(release_name="shop")))
        old = applied("old", release="shop", removing=True)
        assert decide(desired(heir, tombstones=[self.OLD]), world(old, busy=["old"]), 0) == [
            Wait(heir, "waits until bundle old is removed, which has this release")
        ]

    def test_a_former_release_is_cleared_away(self) -> None:
        """Once the bundle is applied under its new name, and again until it has worked."""
        moved = applied("a", former=(("b", "default"),))
        assert decide(desired(bundle("a")), world(moved), 0) == [Tidy(bundle("a"))]
        assert decide(desired(bundle("a")), world(moved, busy=["a"]), 0) == []
        assert decide(desired(bundle("a")), world(moved, retry_at={"a": 9.0}), 0) == []
        assert decide(desired(bundle("a", 2)), world(moved), 0) == [Install(bundle("a", 2))]


class TestReasons:
    """Who waits says for what, and why that does not come."""

    WEB = bundle("web", depends_on=[Dependency(name="db")])

    def reason(
        self,
        *others: DesiredBundle,
        tombstones: list[Tombstone] | None = None,
        web: DesiredBundle = WEB,
        **more: Any,
    ) -> str:
        """Why `web` waits, or "" when it does not."""
        entries = more.pop("entries", [])
        actions = decide(desired(*others, web, tombstones=tombstones), world(*entries, **more), 0)
        return next(
            (a.reason for a in actions if isinstance(a, Wait) and a.bundle.name == "web"), ""
        )

    def test_a_dependency_that_failed_says_why(self) -> None:
        """In the words of its own report."""
        failed = {"states": {"db": State.ERR_APPLIED}, "messages": {"db": "no such chart"}}
        assert (
            self.reason(bundle("db"), **failed)
            == "waits for bundle db, which is ErrApplied: no such chart"
        )

    def test_a_dependency_that_is_paused_or_goes(self) -> None:
        """Neither comes by itself."""
        paused = bundle("db", paused=True)
        assert (
            self.reason(paused, states={"db": State.OUT_OF_SYNC})
            == "waits for bundle db, which is paused"
        )
        broken = {"entries": [applied("db")], "states": {"db": State.NOT_READY}}
        assert self.reason(paused, **broken) == "waits for bundle db, which is paused and NotReady"
        assert (
            self.reason(tombstones=[tombstone("db")])
            == "waits for bundle db, which is being removed"
        )

    def test_accepted_states(self) -> None:
        """Also of a dependency that failed at what it should be now; what runs of an older
        generation does not count.
        """
        web = bundle(
            "web",
            depends_on=[Dependency(name="db", accepted_states=[State.READY, State.ERR_APPLIED])],
        )
        assert (
            self.reason(
                bundle("db", 2), web=web, entries=[applied("db")], states={"db": State.ERR_APPLIED}
            )
            == ""
        )
        assert self.reason(
            bundle("db", 2), web=web, entries=[applied("db")], states={"db": State.READY}
        ).endswith("which is WaitApplied")

    def test_every_bundle_that_a_selector_picks(self) -> None:
        """All of them, among those with the name if there is one; a reference to nothing waits for
        nothing, as in Fleet.
        """
        web = bundle(
            "web",
            labels={"tier": "a"},
            depends_on=[Dependency(selector={"matchLabels": {"tier": "a"}})],
        )
        two = [
            bundle("db", labels={"tier": "a"}),
            bundle("mq", labels={"tier": "a"}),
            bundle("no", labels={"tier": "b"}),
        ]
        ready = {"entries": [applied("db")], "states": {"db": State.READY}}
        assert self.reason(*two, web=web, **ready) == "waits for bundle mq, which is WaitApplied"
        both = bundle(
            "web", depends_on=[Dependency(name="db", selector={"matchLabels": {"tier": "b"}})]
        )
        assert self.reason(*two, web=both, **ready) == "no bundle db is meant for this cluster"
        assert self.reason(*two, web=bundle("web", depends_on=[Dependency()])) == ""


def test_cycles_are_named() -> None:
    """A bundle that waits for itself through others says through which; one that only depends on a
    cycle says what it waits for.
    """
    a = bundle("a", depends_on=[Dependency(name="b")])
    b = bundle("b", depends_on=[Dependency(selector={"matchLabels": {"x": "1"}})])
    c = bundle("c", depends_on=[Dependency(name="a")], labels={"x": "1"})
    d = bundle("d", depends_on=[Dependency(name="a")])
    reasons = {
        action.bundle.name: action.reason
        for action in decide(desired(a, b, c, d), world(), 0)
        if isinstance(action, Wait)
    }
    assert reasons["a"] == "waits for itself: a waits for b waits for c waits for a"
    assert reasons["d"] == "waits for bundle a, which is WaitApplied"
    [alone] = decide(desired(bundle("e", depends_on=[Dependency(name="e")])), world(), 0)
    assert isinstance(alone, Wait)
    assert alone.reason == "waits for itself: e waits for e"


def test_waits_grow_to_ten_minutes() -> None:
    """Between half of the wait and all of it."""
    assert [RETRY.seconds(n, 1) for n in (1, 2, 3, 30)] == [5, 10, 20, 600]
    assert RETRY.seconds(1, 0) == 2.5
