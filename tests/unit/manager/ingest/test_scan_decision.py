"""The comparison of a scan with the store, and the decision about it, on values."""

from __future__ import annotations

from typing import Any

import msgspec

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, CommitId, Digest, RepoName, Workspace
from fleetctl.core.scan.problems import ScanProblem
from manager.ingest.apply_scan import (
    CompletedScan,
    ScanComparison,
    ScanDecision,
    ScanFacts,
    bundle_changes,
    compare_scan,
    decide_scan,
)
from manager.ingest.moves import NOT_THERE, MoveFacts, compare_names
from manager.store.queries.bundles import ReleaseHolder, RepoBundle
from manager.store.queries.ingest.moves import MoveRow

SPACE, APPS = Workspace("space"), RepoName("apps")
REPO = RepoSpec(workspace=SPACE, name=APPS, spec=GitRepoSpec(repo=""))
COMMIT = CommitId("c" * 40)


def bundle(name: str, **fields: Any) -> BundleSpec:
    return BundleSpec(
        workspace=SPACE,
        name=BundleName(name),
        repo=APPS,
        commit=COMMIT,
        **{"path": name, "archive": Digest(name), **fields},
    )


def compare(
    before: list[BundleSpec],
    now: list[BundleSpec],
    *,
    requests: list[MoveRow] | None = None,
    others: dict[str, str] | None = None,
    holders: list[ReleaseHolder] | None = None,
    problems: list[ScanProblem] | None = None,
) -> tuple[ScanComparison, CompletedScan]:
    scan = CompletedScan(COMMIT, now, problems or [])
    bundles = {spec.name: RepoBundle(spec.name, spec, spec.commit) for spec in before}
    owners: dict[BundleName, str] = dict.fromkeys(bundles, APPS)
    owners |= {BundleName(name): repo for name, repo in (others or {}).items()}
    names = MoveFacts(owners, requests or [], {APPS, "base"}, holders or [])
    difference = compare_names(bundles, now, {p.path for p in scan.problems})
    return compare_scan(ScanFacts(bundles, difference, names), REPO, scan), scan


def decide(
    comparison: ScanComparison, scan: CompletedScan, *, confirmed: int = 0, emptied: str = ""
) -> ScanDecision:
    pair = (confirmed, COMMIT) if confirmed else None
    return decide_scan(comparison, scan, pair, emptied.split())


def move(old: str, new: str, repo: str = "") -> MoveRow:
    return MoveRow(BundleName(old), BundleName(new), repo)


class TestCompare:
    def test_a_bundle_that_is_not_in_git_is_removed(self) -> None:
        comparison, _ = compare([bundle("a"), bundle("b")], [bundle("a")])
        assert comparison.removals == ["b"]

    def test_an_incomplete_scan_removes_nothing(self) -> None:
        problem = ScanProblem(path="c", code="bad", summary="", next_step="")
        comparison, _ = compare([bundle("a"), bundle("b")], [bundle("a")], problems=[problem])
        assert comparison.removals == []

    def test_the_first_gitrepo_keeps_a_name(self) -> None:
        comparison, scan = compare([], [bundle("a"), bundle("b")], others={"a": "base"})
        assert [spec.name for spec in comparison.specs] == ["b"]
        assert [problem.code for problem in comparison.problems] == ["name-taken"]
        assert decide(comparison, scan).claims == {"a"}

    def test_a_renamed_bundle_keeps_its_release(self) -> None:
        holder = ReleaseHolder(BundleName("b"), "a")
        comparison, _ = compare([bundle("b")], [bundle("b")], holders=[holder])
        helm = comparison.specs[0].options.helm
        assert helm is not None
        assert helm.release_name == "a"

    def test_a_release_that_another_bundle_holds_is_refused(self) -> None:
        holder = ReleaseHolder(BundleName("b"), "a")
        comparison, _ = compare([bundle("b")], [bundle("b"), bundle("a")], holders=[holder])
        assert [problem.code for problem in comparison.problems] == ["moved-away"]


class TestMoves:
    def test_a_requested_move_is_decided(self) -> None:
        comparison, _ = compare([bundle("a")], [bundle("b")], requests=[move("a", "b")])
        assert [(m.old, m.new) for m in comparison.moves.moves] == [("a", "b")]
        assert comparison.removals == []

    def test_moved_from_is_a_move(self) -> None:
        new = bundle("b", moved_from=BundleName("a"))
        comparison, _ = compare([bundle("a")], [new])
        assert [(m.old, m.new) for m in comparison.moves.moves] == [("a", "b")]

    def test_moved_from_a_bundle_that_is_still_there_is_refused(self) -> None:
        new = bundle("b", moved_from=BundleName("a"))
        comparison, _ = compare([bundle("a")], [bundle("a"), new])
        assert [problem.code for problem in comparison.problems] == ["moved-from"]

    def test_a_gitrepo_takes_no_bundle_of_another_by_itself(self) -> None:
        new = bundle("b", moved_from=BundleName("a"))
        comparison, _ = compare([], [new], others={"a": "base"})
        assert "belongs to GitRepo base" in comparison.problems[0].summary

    def test_a_bundle_that_looks_alike_waits_for_a_person(self) -> None:
        new = bundle("b", archive=Digest("a"))
        comparison, scan = compare([bundle("a")], [new])
        assert [(m.old, m.new) for m in comparison.moves.open] == [("a", "b")]
        decision = decide(comparison, scan)
        assert decision.removals == []
        assert decision.held_removal is not None
        assert decision.changes.new == [], "what may have moved is not installed"

    def test_a_requested_name_that_is_not_in_git_waits(self) -> None:
        comparison, _ = compare([bundle("a")], [], requests=[move("a", "b")])
        assert [m.why for m in comparison.moves.open] == [NOT_THERE]

    def test_a_claimed_bundle_goes_to_the_gitrepo_that_claims_it(self) -> None:
        comparison, _ = compare([bundle("a")], [], requests=[move("a", "a", "base")])
        assert comparison.moves.leaving == {"a": "base"}
        assert comparison.removals == []

    def test_a_claim_of_a_deleted_gitrepo_does_not_count(self) -> None:
        comparison, _ = compare([bundle("a")], [], requests=[move("a", "a", "gone")])
        assert comparison.removals == ["a"]


class TestDecide:
    def test_few_removals_happen(self) -> None:
        comparison, scan = compare([bundle("a"), bundle("b")], [bundle("a")])
        decision = decide(comparison, scan)
        assert (decision.removals, decision.held_removal) == (["b"], None)

    def test_many_removals_wait_for_a_person(self) -> None:
        before = [bundle(f"b{n}") for n in range(10)]
        comparison, scan = compare(before, before[:2])
        decision = decide(comparison, scan)
        assert decision.held_removal is not None
        assert decision.held_removal["removals"] == 8
        assert decision.removals == []

    def test_a_confirmed_removal_happens(self) -> None:
        before = [bundle(f"b{n}") for n in range(10)]
        comparison, scan = compare(before, before[:2])
        assert len(decide(comparison, scan, confirmed=8).removals) == 8
        assert decide(comparison, scan, confirmed=7).held_removal is not None

    def test_a_removal_that_empties_a_cluster_waits(self) -> None:
        comparison, scan = compare([bundle("a"), bundle("b")], [bundle("a")])
        decision = decide(comparison, scan, emptied="edge")
        assert decision.held_removal is not None
        assert decision.held_removal["clusters"] == ["edge"]


def test_bundles_are_sorted_by_how_they_differ() -> None:
    old = [bundle(name) for name in ("same", "paused", "content", "commit")]
    bundles = {spec.name: RepoBundle(spec.name, spec, spec.commit) for spec in old}
    newer = CommitId("d" * 40)
    now = [
        old[0],
        msgspec.structs.replace(old[1], paused=True),
        msgspec.structs.replace(old[2], archive=Digest("other")),
        msgspec.structs.replace(old[3], commit=newer),
        bundle("new"),
    ]
    changes = bundle_changes(now, bundles)
    groups = (changes.new, changes.new_contents, changes.pause_changes, changes.new_commits)
    assert [[spec.name for spec in group] for group in groups] == [
        ["new"],
        ["content"],
        ["paused"],
        ["commit"],
    ]
