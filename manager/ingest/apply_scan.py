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
from fleetctl.core.scan.problems import EMPTY, LEFT_OUT, Problem
from fleetctl.core.scan.renames import Alike, Move, equal
from fleetctl.core.targeting.target import select
from fleetctl.sources.git.store import About

from ..identifiers import new_uid
from ..reconcile.reconcile import reconcile
from ..revisions import history
from ..store import Reader, Writer
from ..store.commands import bundles as commands
from ..store.commands.gitrepos import ScanRecord, store_scan
from ..store.commands.moves import delete_moves_of_bundles, replace_claims
from ..store.queries import Scope, fleet_clusters, groups
from ..store.queries.bundles import RepoBundle, bundle_owners, release_holders, repo_bundles
from ..store.queries.clusters import cluster_names
from ..store.queries.gitrepos import find_scan_state, gitrepo_names
from ..store.queries.moves import stored_moves
from ..store.queries.removals import clusters_of_bundles
from .moves import (
    MoveDecision,
    MoveFacts,
    UnmatchedBundles,
    decide_moves,
    keep_releases,
    unmatched_bundles,
)
from .rename import hand_over, rename

# Why a bundle that was scanned is not taken over, while its siblings are.
_REFUSED = frozenset({"name-taken", "moved-from", "moved-away"})


@dataclass(frozen=True)
class CompletedScan:
    """The result of a scan. It is complete, and may remove bundles, only without problems;
    `warnings` block nothing. `unread`: paths as in core.scan.Scan; `alike`: compares two archives.
    """

    commit: CommitId
    specs: list[BundleSpec]
    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    about: About = field(default_factory=About)
    alike: Alike = equal


@dataclass(frozen=True)
class ScanFacts:
    """What the store knows: `stored` bundles of the GitRepo, bundles that are only in Git or only
    in the store, and names.
    """

    stored: dict[BundleName, RepoBundle]
    unmatched: UnmatchedBundles
    names: MoveFacts


@dataclass(frozen=True)
class ScanComparison:
    """A scan beside the `stored` bundles of its GitRepo. `specs`: bundles to take over; `removed`:
    bundles that are not in Git any more; `moves`: bundles that have another name now.
    """

    stored: dict[BundleName, RepoBundle]
    specs: list[BundleSpec]
    problems: list[Problem]
    removed: list[BundleName]
    moves: MoveDecision = field(default_factory=MoveDecision)


@dataclass(frozen=True)
class BundleChanges:
    """Bundles to store: `new` ones, `revised` ones with other content, those whose pause was
    `switched`, and those of which only the commit is newer (`unchanged`).
    """

    new: list[BundleSpec] = field(default_factory=list)
    revised: list[BundleSpec] = field(default_factory=list)
    switched: list[BundleSpec] = field(default_factory=list)
    unchanged: list[BundleSpec] = field(default_factory=list)


@dataclass(frozen=True)
class ScanDecision:
    """What taking over a scan stores. `claims`: bundles of other GitRepos that this one makes too;
    `removed`: bundles to delete; `held`: the removal that waits for a person, or None.
    """

    changes: BundleChanges
    claims: set[BundleName]
    problems: list[Problem]
    removed: list[BundleName]
    held: dict[str, Any] | None


def compare_with_store(reader: Reader, repo: RepoSpec, scan: CompletedScan) -> ScanComparison:
    """Compare a scan with the store. Reads only: a plan calls this as the scanner does."""
    return compare_scan(gather_scan(reader, repo, scan), repo, scan)


def gather_scan(reader: Reader, repo: RepoSpec, scan: CompletedScan) -> ScanFacts:
    """Read what `compare_scan` needs. Requests and GitRepos are read only when names differ."""
    stored = repo_bundles(reader, repo.workspace, repo.name)
    unmatched = unmatched_bundles(stored, scan.specs, {p.path for p in scan.problems})
    differ = bool(unmatched.new or unmatched.missing)
    names = MoveFacts(
        owners=bundle_owners(reader, repo.workspace),
        requests=stored_moves(reader, repo.workspace) if differ else (),
        gitrepos=gitrepo_names(reader, repo.workspace) if unmatched.missing else (),
        holders=release_holders(reader, repo.workspace),
    )
    return ScanFacts(stored, unmatched, names)


def compare_scan(facts: ScanFacts, repo: RepoSpec, scan: CompletedScan) -> ScanComparison:
    """Find what the scan changes, which bundles moved, and which must not be taken over."""
    stored = facts.stored
    moves = decide_moves(facts.names, repo, facts.unmatched, scan.alike)
    moved = {move.old for move in moves.decided}
    taken = _names_of_others(facts.names.owners, repo, scan, moved)
    problems = [*scan.problems, *taken, *moves.problems]
    refused = {p.path for p in problems if p.code in _REFUSED}
    accepted = [spec for spec in scan.specs if spec.path not in refused]
    specs = keep_releases(facts.names.holders, accepted)
    removed: set[BundleName] = set()
    if not problems:
        removed = stored.keys() - {spec.name for spec in scan.specs} - moved - moves.leaving.keys()
    emptied = _emptied_places(stored, removed, scan)
    if emptied:
        problems, removed = [*problems, *emptied], set()
    return ScanComparison(stored, specs, problems, sorted(removed), moves)


def _names_of_others(
    owners: Mapping[BundleName, str],
    repo: RepoSpec,
    scan: CompletedScan,
    moved: Collection[BundleName],
) -> list[Problem]:
    """Return a problem for each bundle whose name another GitRepo has: the first GitRepo keeps
    it.
    """
    return [
        Problem(
            path=spec.path,
            code="name-taken",
            summary=(
                f"{spec.path or 'the root'}: bundle {spec.name} belongs to GitRepo"
                f" {owners[spec.name]} already"
            ),
            next_step="Give it another `name:` in its fleet.yaml.",
        )
        for spec in scan.specs
        if owners.get(spec.name, repo.name) != repo.name and spec.name not in moved
    ]


def _emptied_places(
    stored: Mapping[BundleName, RepoBundle], removed: Collection[BundleName], scan: CompletedScan
) -> list[Problem]:
    """Return problems for bundles whose directory is still there, but holds nothing to deploy or is
    not searched: that is rarely meant as a removal.
    """
    reasons = {w.path: w.summary for w in scan.warnings if w.code in {EMPTY, LEFT_OUT}}
    unread = set(scan.unread)
    problems = []
    for name in sorted(removed):
        path = stored[name].spec.path
        reason = reasons.get(path) or _unread_reason(path, unread)
        if reason:
            summary = (
                f"{reason}; bundle {name}, which was made from {path or 'the root'}, stays as it is"
            )
            step = "Correct the directory, or delete it to remove the bundle."
            problems.append(Problem(path=path, code=EMPTY, summary=summary, next_step=step))
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
    confirmed: tuple[int, str] | None,
    now: str,
) -> tuple[set[ClusterId], dict[str, Any] | None]:
    """Take over a scan of the GitRepo's `generation`. `confirmed`: the number of removals and the
    commit that a person confirmed. Returns the clusters whose documents changed, and the removal
    that is held or None.
    """
    if find_scan_state(writer, repo.workspace, repo.name) is None:
        return set(), None  # deleted while it was scanned
    comparison, touched = apply_moves(writer, repo, scan, now)
    emptied = emptied_clusters(writer, repo, comparison)
    decision = decide_scan(comparison, scan, confirmed, emptied)
    touched |= _commit_scan(writer, repo, generation, scan, decision, now)
    return touched, decision.held


def apply_moves(
    writer: Writer, repo: RepoSpec, scan: CompletedScan, now: str
) -> tuple[ScanComparison, set[ClusterId]]:
    """Carry out the decided moves. Returns the comparison after them, and the clusters whose
    documents changed.
    """
    comparison = compare_with_store(writer, repo, scan)
    moves, touched = comparison.moves, set[ClusterId]()
    for move in moves.decided:
        if move.old == move.new:
            hand_over(writer, repo.workspace, move.old, repo.name)
        else:
            touched |= rename(writer, repo.workspace, move, repo.name, now)
    for name, other in moves.leaving.items():
        hand_over(writer, repo.workspace, name, other)
    if moves.decided or moves.leaving:
        comparison = compare_with_store(writer, repo, scan)
    return comparison, touched


def decide_scan(
    comparison: ScanComparison,
    scan: CompletedScan,
    confirmed: tuple[int, str] | None,
    emptied: list[str],
) -> ScanDecision:
    """Decide what is stored. `emptied`: clusters that would lose their last bundle."""
    removed, problems = comparison.removed, comparison.problems
    is_confirmed = bool(removed) and confirmed == (len(removed), scan.commit)
    moves = [] if is_confirmed else comparison.moves.open
    undecided = {move.new for move in moves}
    if moves and not removed:
        problems = [*problems, *map(_undecided, moves)]
    taken = {p.path for p in comparison.problems if p.code == "name-taken"}
    held = None if is_confirmed else removal_to_hold(comparison, scan.commit, emptied)
    specs = [spec for spec in comparison.specs if spec.name not in undecided]
    return ScanDecision(
        changes=bundle_changes(specs, comparison.stored),
        claims={spec.name for spec in scan.specs if spec.path in taken},
        problems=problems,
        removed=[] if held else removed,
        held=held,
    )


def _undecided(move: Move) -> Problem:
    """Return the problem of a move in an incomplete scan: nothing is removed, and what may have
    moved is not installed either.
    """
    step = (
        f"Say `fleetctl bundle moved {move.old} {move.new}` if it is, and correct the other"
        " problems."
    )
    return Problem(path=move.new_path, code="looks-like-a-move", summary=move.words, next_step=step)


def bundle_changes(
    specs: Collection[BundleSpec], stored: Mapping[BundleName, RepoBundle]
) -> BundleChanges:
    """Sort the bundles by how they differ from the stored ones. A bundle that differs only in
    `paused` keeps its generation, its history and its rollout.
    """
    changes = BundleChanges()
    for spec in specs:
        old = stored.get(spec.name)
        if old is None:
            changes.new.append(spec)
        elif is_changed(old, spec):
            changes.revised.append(spec)
        elif old.spec.paused != spec.paused:
            changes.switched.append(spec)
        elif old.commit != spec.commit:
            changes.unchanged.append(spec)
    return changes


def removal_to_hold(
    comparison: ScanComparison, commit: CommitId, emptied: list[str]
) -> dict[str, Any] | None:
    """Return the removal as it waits for a person, or None when it may happen. `emptied`: clusters
    that would lose their last bundle.
    """
    removed, total = comparison.removed, len(comparison.stored)
    moves = comparison.moves.open
    if not removed or not (too_many(len(removed), total) or emptied or moves):
        return None
    return {
        "removals": len(removed),
        "of": total,
        "bundles": removed,
        "commit": commit,
        "clusters": emptied,
        "moves": [{"from": move.old, "to": move.new, "message": move.words} for move in moves],
    }


def emptied_clusters(reader: Reader, repo: RepoSpec, comparison: ScanComparison) -> list[str]:
    """Return the names of the clusters that would lose their last bundle, sorted."""
    workspace, removed = repo.workspace, comparison.removed
    if not removed:
        return []
    losing = clusters_of_bundles(reader, workspace, removed, inside=True)
    emptied = losing - clusters_of_bundles(reader, workspace, removed, inside=False)
    if not emptied:
        return []
    fleet = fleet_clusters(reader, Scope(workspace, clusters=emptied))
    known_groups = groups(reader, workspace)
    for spec in comparison.specs:
        emptied -= {match.cluster.id for match in select(spec, fleet, known_groups)}
    return cluster_names(reader, emptied)


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
    workspace, changes, removed = repo.workspace, decision.changes, decision.removed
    replace_claims(writer, workspace, repo.name, decision.claims, now)
    commands.insert_bundles(writer, [(spec, new_uid()) for spec in changes.new], now)
    commands.update_bundle_contents(writer, changes.revised)
    commands.update_bundle_pauses(writer, changes.switched)
    commands.update_bundle_commits(writer, changes.unchanged)
    history.record(writer, [*changes.new, *changes.revised], scan.about, now)
    if removed:
        commands.delete_bundles(writer, workspace, removed)
        history.forget(writer, workspace, removed)
        delete_moves_of_bundles(writer, workspace, removed)
    problems = [*decision.problems, *scan.warnings]
    record = ScanRecord(scan.commit, generation, now, problems, decision.held)
    store_scan(writer, workspace, repo.name, record)
    changed = {spec.name for spec in (*changes.new, *changes.revised, *changes.switched)}
    scope = Scope(workspace, bundles=changed | set(removed))
    return reconcile(writer, scope, now=now) if scope.bundles else set()
