"""Which removals are held: by share, by all at once, by what a cluster would be left with."""

from __future__ import annotations

import pytest

from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.rollout.removal_guard import Cause, Past, RemovalLimits, judge

WEB, DB = BundleName("web"), BundleName("db")
LIMITS = RemovalLimits()


def clusters(count: int, *, start: int = 0) -> list[ClusterId]:
    return [ClusterId(f"c{i}") for i in range(start, start + count)]


@pytest.mark.parametrize(
    ("fresh", "past", "cause"),
    [
        (1, Past(of=3), None),  # an ordinary day
        # the only one that has it: what is left of the cluster is judged by itself
        (1, Past(of=1), None),
        (2, Past(of=2), Cause.ALL),
        (5, Past(of=6), None),
        (6, Past(of=12), Cause.MANY),
        (6, Past(of=30), None),  # 20 % of 30
        (7, Past(of=30), Cause.MANY),
        (1000, Past(of=5000), None),
        (1001, Past(of=5000), Cause.MANY),
        (5000, Past(of=5000), Cause.ALL),
        # singly, within the hour: the sixth of 30 is the last that may
        (1, Past(of=25, window=5), None),
        (1, Past(of=24, window=6), Cause.MANY),
        (1, Past(of=62, day=40), Cause.MANY),  # a drip over a day: 40 % of 102 are 40
        (1, Past(of=90, day=40), None),
        (1, Past(of=4, window=5), Cause.MANY),
        (1, Past(of=40, day=9), None),
        (3, Past(of=3, held=1), Cause.ALL),
        (1, Past(of=12, held=1), None),
        (1, Past(of=12, held=5), Cause.MANY),
    ],
)
def test_one_bundle(fresh: int, past: Past, cause: Cause | None) -> None:
    """More than max(5, 20 %) of those that have it, with what was lost within the hour and what is
    held already.
    """
    verdict = judge({WEB: clusters(fresh)}, {WEB: past}, set(), LIMITS)
    assert verdict.causes.get(WEB) == cause
    assert len(verdict.go) == (0 if cause else fresh)
    assert verdict.go.isdisjoint(verdict.held)


def test_a_cluster_that_would_be_left_with_nothing_keeps_what_it_has() -> None:
    """All that it would lose by this change is held, and the other clusters go; of a bundle with
    too many the share is what is said.
    """
    empty, other = clusters(2)
    past = {WEB: Past(of=30), DB: Past(of=30)}
    verdict = judge({WEB: [empty, other], DB: [empty]}, past, {empty}, LIMITS)
    assert verdict.go == {(other, WEB)}
    assert verdict.causes == {WEB: Cause.LAST, DB: Cause.LAST}
    many = judge({WEB: clusters(10), DB: [empty]}, past, {empty}, LIMITS)
    assert many.causes == {WEB: Cause.MANY, DB: Cause.LAST}
    assert many.go == set()


def test_one_bundle_holds_nothing_of_another() -> None:
    """A label that many bundles select: each is judged by itself."""
    verdict = judge(
        {WEB: clusters(6), DB: clusters(6)}, {WEB: Past(of=10), DB: Past(of=100)}, set(), LIMITS
    )
    assert verdict.causes == {WEB: Cause.MANY}
    assert len(verdict.go) == 6
