"""Takes over a completed scan: one transaction from bundles to desired states, with the removals
that are allowed. Gathers facts, compares and decides without a connection, and commits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId
from fleetctl.core.model.plan import too_many
from fleetctl.core.scan.problems import EMPTY, LEFT_OUT, ScanProblem
from fleetctl.core.scan.renames import Alike, BundleMove, equal
from fleetctl.core.targeting.target import select
from fleetctl.sources.git.store import About

from ..identifiers import new_uid
from ..reconcile.reconcile import reconcile
from ..revisions import history
from ..store import Reader, Writer
from ..store.commands import bundles as commands
from ..store.commands.ingest.gitrepos import ScanRecord, store_scan
from ..store.commands.ingest.moves import delete_moves_of_bundles, replace_claims
from ..store.queries import Scope, fleet_clusters, groups
from ..store.queries.bundles import RepoBundle, bundle_owners, release_holders, repo_bundles
from ..store.queries.clusters import cluster_names
from ..store.queries.ingest.gitrepos import find_scan_state, gitrepo_names
from ..store.queries.ingest.moves import stored_moves
from ..store.queries.rollout.removals import clusters_of_bundles
from .moves import (
    MoveDecision,
    MoveFacts,
    NameDifference,
    compare_names,
    decide_moves,
    keep_releases,
)
from .rename import hand_over, rename

# Why a bundle that was scanned is not taken over, while its siblings are.
_REFUSAL_CODES = frozenset({"name-taken", "moved-from", "moved-away"})


@dataclass(frozen=True)
class CompletedScan:
    """The result of a scan. It is complete, and may remove bundles, only without problems;
    `warnings` block nothing. `unread`: paths as in core.scan.Scan; `alike`: compares two archives.
    """

    commit: CommitId
    specs: list[BundleSpec]
    problems: list[ScanProblem]
    warnings: list[ScanProblem] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    about: About = field(default_factory=About)
    alike: Alike = equal


@dataclass(frozen=True)
class ScanFacts:
    """What the store knows: `bundles` bundles of the GitRepo, bundles that are only in Git or only
    in the store, and names.
    """

    bundles: dict[BundleName, RepoBundle]
    difference: NameDifference
    names: MoveFacts


@dataclass(frozen=True)
class ScanComparison:
    """A scan beside the `bundles` bundles of its GitRepo. `specs`: bundles to take over;
    `removals`: bundles that are not in Git any more; `moves`: bundles that have another name now.
    """

    bundles: dict[BundleName, RepoBundle]
    specs: list[BundleSpec]
    problems: list[ScanProblem]
    removals: list[BundleName]
    moves: MoveDecision = field(default_factory=MoveDecision)


@dataclass(frozen=True)
class BundleChanges:
    """Bundles to store: `new` ones, `new_contents` ones with other content, those whose pause was
    `pause_changes`, and those of which only the commit is newer (`new_commits`).
    """

    new: list[BundleSpec] = field(default_factory=list)
    new_contents: list[BundleSpec] = field(default_factory=list)
    pause_changes: list[BundleSpec] = field(default_factory=list)
    new_commits: list[BundleSpec] = field(default_factory=list)


@dataclass(frozen=True)
class ScanDecision:
    """What taking over a scan stores. `claims`: bundles of other GitRepos that this one makes too;
    `removals`: bundles to delete; `held_removal`: the removal that waits for a person, or None.
    """

    changes: BundleChanges
    claims: set[BundleName]
    problems: list[ScanProblem]
    removals: list[BundleName]
    held_removal: dict[str, Any] | None


def compare_with_store(reader: Reader, repo: RepoSpec, scan: CompletedScan) -> ScanComparison:
    """Compare a scan with the store. Reads only: a plan calls this as the scanner does."""
    return compare_scan(gather_scan(reader, repo, scan), repo, scan)


def gather_scan(reader: Reader, repo: RepoSpec, scan: CompletedScan) -> ScanFacts:
    """Read what `compare_scan` needs. Requests and GitRepos are read only when names differ."""
    bundles = repo_bundles(reader, repo.workspace, repo.name)
    difference = compare_names(bundles, scan.specs, {p.path for p in scan.problems})
    differ = bool(difference.new or difference.missing)
    names = MoveFacts(
        owners=bundle_owners(reader, repo.workspace),
        requests=stored_moves(reader, repo.workspace) if differ else (),
        gitrepos=gitrepo_names(reader, repo.workspace) if difference.missing else (),
        holders=release_holders(reader, repo.workspace),
    )
    return ScanFacts(bundles, difference, names)


def compare_scan(facts: ScanFacts, repo: RepoSpec, scan: CompletedScan) -> ScanComparison:
    """Find what the scan changes, which bundles moved, and which must not be taken over."""
    bundles = facts.bundles
    moves = decide_moves(facts.names, repo, facts.difference, scan.alike)
    moved_names = {move.old for move in moves.moves}
    name_conflicts = _names_of_others(facts.names.owners, repo, scan, moved_names)
    problems = [*scan.problems, *name_conflicts, *moves.problems]
    refused_paths = {p.path for p in problems if p.code in _REFUSAL_CODES}
    accepted_specs = [spec for spec in scan.specs if spec.path not in refused_paths]
    specs = keep_releases(facts.names.holders, accepted_specs)
    removals: set[BundleName] = set()
    if not problems:
        removals = (
            bundles.keys() - {spec.name for spec in scan.specs} - moved_names - moves.leaving.keys()
        )
    empty_clusters = _empty_place_problems(bundles, removals, scan)
    if empty_clusters:
        problems, removals = [*problems, *empty_clusters], set()
    return ScanComparison(bundles, specs, problems, sorted(removals), moves)


def _names_of_others(
    owners: Mapping[BundleName, str],
    repo: RepoSpec,
    scan: CompletedScan,
    moved_names: Collection[BundleName],
) -> list[ScanProblem]:
    """Return a problem for each bundle whose name another GitRepo has: the first GitRepo keeps
    it.
    """
    return [
        ScanProblem(
            path=spec.path,
            code="name-taken",
            summary=(
                f"{spec.path or 'the root'}: bundle {spec.name} belongs to GitRepo"
                f" {owners[spec.name]} already"
            ),
            next_step="Give it another `name:` in its fleet.yaml.",
        )
        for spec in scan.specs
        if owners.get(spec.name, repo.name) != repo.name and spec.name not in moved_names
    ]


def _empty_place_problems(
    bundles: Mapping[BundleName, RepoBundle], removals: Collection[BundleName], scan: CompletedScan
) -> list[ScanProblem]:
    """Return problems for bundles whose directory is still there, but holds nothing to deploy or is
    not searched: that is rarely meant as a removal.
    """
    reasons = {w.path: w.summary for w in scan.warnings if w.code in {EMPTY, LEFT_OUT}}
    unread = set(scan.unread)
    problems = []
    for name in sorted(removals):
        path = bundles[name].spec.path
        reason = reasons.get(path) or _unread_reason(path, unread)
        if reason:
            summary = (
                f"{reason}; bundle {name}, which was made from {path or 'the root'}, stays as it is"
            )
            step = "Correct the directory, or delete it to remove the bundle."
            problems.append(ScanProblem(path=path, code=EMPTY, summary=summary, next_step=step))
    return problems


def _unread_reason(path: str, unread: Collection[str]) -> str:
    """Return why a path was not searched, or ""."""
    parts = path.split("/")
    parents = ("/".join(parts[: n + 1]) for n in range(len(parts)))
    parent = next((parent for parent in parents if parent in unread), "")
    if not parent:
        return ""
    return (
        f"{parent} is now a symbolic link, a submodule or unreadable, and is not searched"
        " for bundles"
    )


def is_changed(old: RepoBundle | None, spec: BundleSpec) -> bool:
    """Return whether `spec` differs from the stored bundle in more than commit and pause."""
    return old is None or _content(old.spec) != _content(spec)


def needs_reconcile(old: RepoBundle | None, spec: BundleSpec) -> bool:
    """Return whether clusters must receive a change: other content, or a pause that begins or ends
    in Git.
    """
    return old is None or is_changed(old, spec) or old.spec.paused != spec.paused


def _content(spec: BundleSpec) -> BundleSpec:
    """Return the bundle without what makes no revision: the commit, and whether it is paused."""
    return msgspec.structs.replace(spec, commit=CommitId(""), paused=False)


def apply_scan(
    writer: Writer,
    repo: RepoSpec,
    generation: int,
    scan: CompletedScan,
    *,
    confirmation: tuple[int, str] | None,
    now: str,
) -> tuple[set[ClusterId], dict[str, Any] | None]:
    """Take over a scan of the GitRepo's `generation`. `confirmation`: the number of removals and
    the commit that a person confirmed. Returns the clusters whose documents changed, and the
    removal that is held or None.
    """
    if find_scan_state(writer, repo.workspace, repo.name) is None:
        return set(), None  # deleted while it was scanned
    comparison, changed_clusters = apply_moves(writer, repo, scan, now)
    empty_clusters = find_empty_clusters(writer, repo, comparison)
    decision = decide_scan(comparison, scan, confirmation, empty_clusters)
    changed_clusters |= _commit_scan(writer, repo, generation, scan, decision, now)
    return changed_clusters, decision.held_removal


def apply_moves(
    writer: Writer, repo: RepoSpec, scan: CompletedScan, now: str
) -> tuple[ScanComparison, set[ClusterId]]:
    """Carry out the decided moves. Returns the comparison after them, and the clusters whose
    documents changed.
    """
    comparison = compare_with_store(writer, repo, scan)
    moves, changed_clusters = comparison.moves, set[ClusterId]()
    for move in moves.moves:
        if move.old == move.new:
            hand_over(writer, repo.workspace, move.old, repo.name)
        else:
            changed_clusters |= rename(writer, repo.workspace, move, repo.name, now)
    for name, other in moves.leaving.items():
        hand_over(writer, repo.workspace, name, other)
    if moves.moves or moves.leaving:
        comparison = compare_with_store(writer, repo, scan)
    return comparison, changed_clusters


def decide_scan(
    comparison: ScanComparison,
    scan: CompletedScan,
    confirmation: tuple[int, str] | None,
    empty_clusters: list[str],
) -> ScanDecision:
    """Decide what is stored. `empty_clusters`: clusters that would lose their last bundle."""
    removals, problems = comparison.removals, comparison.problems
    is_confirmed = bool(removals) and confirmation == (len(removals), scan.commit)
    moves = [] if is_confirmed else comparison.moves.open
    undecided_names = {move.new for move in moves}
    if moves and not removals:
        problems = [*problems, *map(_describe_open_move, moves)]
    name_conflicts = {p.path for p in comparison.problems if p.code == "name-taken"}
    held_removal = (
        None if is_confirmed else removal_to_hold(comparison, scan.commit, empty_clusters)
    )
    specs = [spec for spec in comparison.specs if spec.name not in undecided_names]
    return ScanDecision(
        changes=bundle_changes(specs, comparison.bundles),
        claims={spec.name for spec in scan.specs if spec.path in name_conflicts},
        problems=problems,
        removals=[] if held_removal else removals,
        held_removal=held_removal,
    )


def _describe_open_move(move: BundleMove) -> ScanProblem:
    """Return the problem of a move in an incomplete scan: nothing is removed, and what may have
    moved is not installed either.
    """
    step = (
        f"Run `fleetctl bundle moved {move.old} {move.new}` if it is, and correct the other"
        " problems."
    )
    return ScanProblem(
        path=move.new_path, code="looks-like-a-move", summary=move.words, next_step=step
    )


def bundle_changes(
    specs: Collection[BundleSpec], bundles: Mapping[BundleName, RepoBundle]
) -> BundleChanges:
    """Sort the bundles by how they differ from the stored ones. A bundle that differs only in
    `paused` keeps its generation, its history and its rollout.
    """
    changes = BundleChanges()
    for spec in specs:
        old = bundles.get(spec.name)
        if old is None:
            changes.new.append(spec)
        elif is_changed(old, spec):
            changes.new_contents.append(spec)
        elif old.spec.paused != spec.paused:
            changes.pause_changes.append(spec)
        elif old.commit != spec.commit:
            changes.new_commits.append(spec)
    return changes


def removal_to_hold(
    comparison: ScanComparison, commit: CommitId, empty_clusters: list[str]
) -> dict[str, Any] | None:
    """Return the removal as it waits for a person, or None when it may happen. `empty_clusters`:
    clusters that would lose their last bundle.
    """
    removals, total = comparison.removals, len(comparison.bundles)
    moves = comparison.moves.open
    if not removals or not (too_many(len(removals), total) or empty_clusters or moves):
        return None
    return {
        "removals": len(removals),
        "of": total,
        "bundles": removals,
        "commit": commit,
        "clusters": empty_clusters,
        "moves": [{"from": move.old, "to": move.new, "message": move.words} for move in moves],
    }


def find_empty_clusters(reader: Reader, repo: RepoSpec, comparison: ScanComparison) -> list[str]:
    """Return the names of the clusters that would lose their last bundle, sorted."""
    workspace, removals = repo.workspace, comparison.removals
    if not removals:
        return []
    losing = clusters_of_bundles(reader, workspace, removals, inside=True)
    empty_clusters = losing - clusters_of_bundles(reader, workspace, removals, inside=False)
    if not empty_clusters:
        return []
    fleet = fleet_clusters(reader, Scope(workspace, clusters=empty_clusters))
    known_groups = groups(reader, workspace)
    for spec in comparison.specs:
        empty_clusters -= {match.cluster.id for match in select(spec, fleet, known_groups)}
    return cluster_names(reader, empty_clusters)


def _commit_scan(
    writer: Writer,
    repo: RepoSpec,
    generation: int,
    scan: CompletedScan,
    decision: ScanDecision,
    now: str,
) -> set[ClusterId]:
    """Store a decision and reconcile what it changes. Returns the clusters whose documents
    changed.
    """
    workspace, changes, removals = repo.workspace, decision.changes, decision.removals
    replace_claims(writer, workspace, repo.name, decision.claims, now)
    commands.insert_bundles(writer, [(spec, new_uid()) for spec in changes.new], now)
    commands.update_bundle_contents(writer, changes.new_contents)
    commands.update_bundle_pauses(writer, changes.pause_changes)
    commands.update_bundle_commits(writer, changes.new_commits)
    history.record(writer, [*changes.new, *changes.new_contents], scan.about, now)
    if removals:
        commands.delete_bundles(writer, workspace, removals)
        history.forget(writer, workspace, removals)
        delete_moves_of_bundles(writer, workspace, removals)
    problems = [*decision.problems, *scan.warnings]
    record = ScanRecord(scan.commit, generation, now, problems, decision.held_removal)
    store_scan(writer, workspace, repo.name, record)
    changed_names = {
        spec.name for spec in (*changes.new, *changes.new_contents, *changes.pause_changes)
    }
    scope = Scope(workspace, bundles=changed_names | set(removals))
    return reconcile(writer, scope, now=now) if scope.bundles else set()
