"""Decides which bundles of a scan are bundles that had another name, or another GitRepo, before.

A move comes from a person (`fleetctl bundle moved`), from `movedFrom` in fleet.yaml, or from a
GitRepo that claimed a name before its owner dropped it. Bundles that only look alike wait for a
person. manager/ingest/rename.py carries out what is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import within
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.scan.renames import Alike, BundleMove, keeping, probable, release_name_of

from ..store.queries.bundles import ReleaseHolder, RepoBundle
from ..store.queries.ingest.moves import MoveRow

# Why a move waits that was requested for a name that no scan has found.
NOT_THERE = "the move is declared, and the new bundle does not exist yet"
_REQUEST_REASON = "said"


@dataclass(frozen=True)
class MoveFacts:
    """What the store knows about names. `owners`: the GitRepo of each bundle of the workspace;
    `requests`: moves and claims that wait for a scan; `gitrepos`: those that exist; `holders`:
    bundles that kept a release when they were renamed.
    """

    owners: Mapping[BundleName, str]
    requests: Sequence[MoveRow] = ()
    gitrepos: Collection[str] = ()
    holders: Sequence[ReleaseHolder] = ()


@dataclass(frozen=True)
class MoveDecision:
    """`moves` moves, moves that a person must decide on (`open`), and problems of bundles whose
    move is impossible. `leaving`: bundles that go to the GitRepo named, which has scanned them
    already.
    """

    moves: list[BundleMove] = field(default_factory=list)
    open: list[BundleMove] = field(default_factory=list)
    problems: list[ScanProblem] = field(default_factory=list)
    leaving: dict[BundleName, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NameDifference:
    """`missing`: bundles that are only in the store; `new`: bundles that are only in Git; `names`:
    all bundles in Git.
    """

    missing: Sequence[BundleSpec]
    new: Sequence[BundleSpec]
    names: Collection[BundleName]


def compare_names(
    bundles: Mapping[BundleName, RepoBundle],
    specs: Sequence[BundleSpec],
    broken_paths: Collection[str],
) -> NameDifference:
    """Compare the bundles of a GitRepo by name. `broken_paths`: paths of what could not be scanned;
    a bundle below them is not missing.
    """
    names = {spec.name for spec in specs}
    missing = [bundle.spec for name, bundle in sorted(bundles.items()) if name not in names]
    missing = [
        spec for spec in missing if not any(within(spec.path, path) for path in broken_paths)
    ]
    return NameDifference(missing, [spec for spec in specs if spec.name not in bundles], names)


def decide_moves(
    facts: MoveFacts, repo: RepoSpec, difference: NameDifference, alike: Alike
) -> MoveDecision:
    """Decide which of the new bundles are missing ones. `alike`: compares two archives."""
    missing, new = difference.missing, difference.new
    if not new and not missing:
        return MoveDecision()
    requested_names = {
        row.new_name: row.old_name for row in facts.requests if row.old_name != row.new_name
    }
    decision = MoveDecision(leaving=_leaving(facts, repo, {spec.name for spec in missing}))
    missing_specs = {spec.name: spec for spec in missing if spec.name not in decision.leaving}
    for spec in new:
        _decide_requested(
            decision, facts, repo, spec, requested_names.get(spec.name), missing_specs
        )
    waiting = {
        old: target
        for target, old in requested_names.items()
        if old in missing_specs and target not in difference.names
    }
    decision.open.extend(
        BundleMove(old, target, missing_specs[old].path, target, NOT_THERE)
        for old, target in sorted(waiting.items())
    )
    moved_names = {move.old for move in decision.moves}
    free = _free_bundles(decision, facts, new)
    unmoved_specs = [
        spec
        for name, spec in missing_specs.items()
        if name not in moved_names and name not in waiting
    ]
    decision.open.extend(probable(unmoved_specs, free, alike))
    _refuse_taken_releases(decision, facts, free)
    return decision


def _free_bundles(
    decision: MoveDecision, facts: MoveFacts, new: Sequence[BundleSpec]
) -> list[BundleSpec]:
    """Return the new bundles that are no decided move, have no owner and no problem."""
    moved_names = {move.new for move in decision.moves}
    refused_paths = {problem.path for problem in decision.problems}
    return [
        spec
        for spec in new
        if spec.name not in moved_names
        and spec.name not in facts.owners
        and spec.path not in refused_paths
    ]


def _decide_requested(
    decision: MoveDecision,
    facts: MoveFacts,
    repo: RepoSpec,
    spec: BundleSpec,
    requested_names: BundleName | None,
    missing_specs: Mapping[BundleName, BundleSpec],
) -> None:
    """Decide whether a new bundle is the one that a person or its fleet.yaml names."""
    owners = facts.owners
    takeover = MoveRow(spec.name, spec.name, "")
    if takeover in facts.requests and owners.get(spec.name, repo.name) != repo.name:
        decision.moves.append(
            BundleMove(spec.name, spec.name, spec.path, spec.path, _REQUEST_REASON)
        )
        return
    old = requested_names or spec.moved_from
    if not old or old == spec.name or old not in owners or spec.name in owners:
        return
    if old in missing_specs or (requested_names and owners[old] != repo.name):
        path = missing_specs[old].path if old in missing_specs else ""
        decision.moves.append(BundleMove(old, spec.name, path, spec.path, _REQUEST_REASON))
        return
    decision.problems.append(
        _foreign_move(spec, old, owners[old])
        if owners[old] != repo.name
        else _move_in_use(spec, old, by_person=bool(requested_names))
    )


def _move_in_use(spec: BundleSpec, old: BundleName, *, by_person: bool) -> ScanProblem:
    source = "was said" if by_person else "movedFrom says"
    summary = (
        f"{spec.path or 'the root'}: bundle {old}, which {source} to be {spec.name} now, is still"
        " in Git"
    )
    step = f"Remove {old}, or take the move back."
    return ScanProblem(path=spec.path, code="moved-from", summary=summary, next_step=step)


def _foreign_move(spec: BundleSpec, old: BundleName, owner: str) -> ScanProblem:
    place = spec.path or "the root"
    summary = f"{place}: bundle {old}, which movedFrom names, belongs to GitRepo {owner}"
    step = (
        f"Run `fleetctl bundle moved {old} {spec.name}`: a commit cannot take a bundle from"
        " another GitRepo."
    )
    return ScanProblem(path=spec.path, code="moved-from", summary=summary, next_step=step)


def _refuse_taken_releases(
    decision: MoveDecision, facts: MoveFacts, free: Iterable[BundleSpec]
) -> None:
    """Refuse a new bundle whose release is held by a bundle that had its name before."""
    coming = {move.new for move in (*decision.moves, *decision.open)}
    specs: dict[str, BundleSpec] = {
        spec.name: spec
        for spec in free
        if spec.name not in coming and not release_name_of(spec.options)
    }
    for holder in facts.holders:
        spec = specs.get(holder.release)
        if spec is None or holder.bundle == holder.release:
            continue
        summary = (
            f"{spec.path or 'the root'}: release {holder.release} is kept by bundle"
            f" {holder.bundle}, which had this name before"
        )
        step = "Remove the bundle, or give it another `name:` or a `helm.releaseName`."
        decision.problems.append(
            ScanProblem(path=spec.path, code="moved-away", summary=summary, next_step=step)
        )


def _leaving(
    facts: MoveFacts, repo: RepoSpec, missing: Collection[BundleName]
) -> dict[BundleName, str]:
    """Return the missing bundles that another GitRepo has claimed."""
    return {
        row.old_name: row.repo
        for row in facts.requests
        if row.old_name == row.new_name
        and row.repo not in {"", repo.name}
        and row.old_name in missing
        and row.repo in facts.gitrepos
    }


def keep_releases(
    holders: Iterable[ReleaseHolder], specs: Sequence[BundleSpec]
) -> list[BundleSpec]:
    """Return the bundles with the releases that they kept when they were renamed."""
    releases = {holder.bundle: holder.release for holder in holders}
    return [
        msgspec.structs.replace(spec, options=keeping(spec.options, releases[spec.name]))
        if spec.name in releases
        else spec
        for spec in specs
    ]
