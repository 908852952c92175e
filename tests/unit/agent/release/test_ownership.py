"""Whose an object is, and who may take it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.deploy.delete_objects import remaining_error
from agent.release.ownership import LiveObject, OwnershipClaim, judge
from agent.release.records import ObjectRef
from fleetctl.core.model.errors import OwnershipConflict
from fleetctl.core.model.ids import BundleName
from fleetctl.tools.helm import Release

WEB, DB, SHOP = Release("web", "a"), Release("db", "a"), Release("shop", "b")


def live(name: str, owner: Release | None, **more: Any) -> LiveObject:
    return LiveObject(ObjectRef("v1", "ConfigMap", "a", name), owner, **more)


def claim(*, may_take: bool = False, leaving: tuple[str, ...] = ()) -> OwnershipClaim:
    holders = {WEB: BundleName("web"), DB: BundleName("db"), Release("old", "a"): BundleName("web")}
    return OwnershipClaim(
        BundleName("web"), WEB, holders, [BundleName(name) for name in leaving], may_take=may_take
    )


class TestJudge:
    def test_ones_own_is_taken_from_nobody(self) -> None:
        """Marks of this release, or of one that the bundle had before."""
        former = live("b", Release("old", "a"))
        assert judge([live("a", WEB), former], claim()) == [former]

    def test_another_bundle_is_named_whatever_is_asked(self) -> None:
        """Unless it is to be removed."""
        for may_take in (False, True):
            with pytest.raises(
                OwnershipConflict, match="ConfigMap a/one belongs to bundle db already"
            ):
                judge([live("one", DB)], claim(may_take=may_take))
        assert judge([live("one", DB)], claim(leaving=("db",))) == [live("one", DB)]

    def test_what_is_nobodys_or_somebody_elses_must_be_asked_for(self) -> None:
        """And the error says whose it is."""
        with pytest.raises(
            OwnershipConflict, match="ConfigMap a/one exists already, and no release owns it"
        ):
            judge([live("one", None)], claim())
        with pytest.raises(OwnershipConflict, match=r"belongs to release b/shop already$"):
            judge([live("one", SHOP)], claim(), [SHOP])
        with pytest.raises(
            OwnershipConflict,
            match="belongs to release b/shop already, which no longer exists",
        ):
            judge([live("one", SHOP)], claim())
        assert len(judge([live("one", None), live("two", SHOP)], claim(may_take=True))) == 2

    def test_how_many_there_are_is_told(self) -> None:
        """The first by name, and the key that takes all of them."""
        with pytest.raises(
            OwnershipConflict,
            match=r"ConfigMap a/one exists already, and no release owns it \(and 2 more\)",
        ) as caught:
            judge([live("one", None), live("two", None), live("three", None)], claim())
        assert "helm.takeOwnership: true" in caught.value.next_step

    def test_a_namespace_that_the_agent_created_goes_to_the_bundle_that_states_it(self) -> None:
        """Unless a release holds it that is there, or another bundle."""
        space = live("space", None, created_here=True)
        assert judge([space], claim()) == [space]
        gone = live("space", SHOP, created_here=True)
        assert judge([gone], claim()) == [gone]
        with pytest.raises(OwnershipConflict, match="belongs to release b/shop already"):
            judge([gone], claim(), [SHOP])
        with pytest.raises(OwnershipConflict, match="belongs to bundle db already"):
            judge([live("space", DB, created_here=True)], claim())

    def test_what_is_being_deleted_is_not_taken(self) -> None:
        """It would go after it was applied."""
        with pytest.raises(OwnershipConflict, match="is being deleted"):
            judge([live("one", None, deleting="2026-11-25T00:00:00Z")], claim(may_take=True))


class TestRemains:
    def test_the_object_and_what_holds_it(self) -> None:
        """One with a finalizer before one that is only slow."""
        held = live("held", WEB, finalizers=("example.com/a", "example.com/b"))
        assert (
            remaining_error([live("slow", WEB), held]).summary
            == "ConfigMap a/held (and 1 more) is deleted and is held by finalizer example.com/a,"
            " example.com/b"
        )
        assert (
            remaining_error([live("slow", WEB)]).summary
            == "ConfigMap a/slow is deleted and still exists"
        )
