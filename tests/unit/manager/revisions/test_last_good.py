"""The revision that is known to work."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, CommitId, Digest, Workspace
from manager.revisions.last_good import last_good


def specs(*contents: str) -> dict[int, BundleSpec]:
    """Revisions 1, 2, … with these contents."""
    return {
        number: BundleSpec(
            workspace=Workspace("w"),
            name=BundleName("web"),
            archive=Digest(content),
            commit=CommitId(f"{number:040x}"),
        )
        for number, content in enumerate(contents, 1)
    }


def test_the_newest_completed_revision_is_the_last_good_one() -> None:
    assert last_good(specs("a", "b", "c"), current=3, good=1) == 1


def test_without_a_completed_rollout_it_is_the_revision_before() -> None:
    assert last_good(specs("a", "b", "c"), current=3, good=0) == 2


def test_a_revision_with_the_current_content_is_not_gone_back_to() -> None:
    """A commit that changes nothing for clusters makes a revision of its own."""
    assert last_good(specs("a", "b", "b"), current=3, good=2) == 1


def test_the_first_revision_has_none_before() -> None:
    assert last_good(specs("a"), current=1, good=1) == 0
