"""Taking over what a scan found: one transaction from bundles to desired states, with the removals
that are allowed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

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
from ..store.queries import Scope, fleet_clusters, groups
from ..store.queries.bundles import RepoBundle, repo_bundles
from ..store.schema import bundles, clusters, deployments, repos
from . import moves as moving

_json = msgspec.json.encode
# Why a bundle that was scanned is not taken, while its siblings are.
_REFUSED = frozenset({"name-taken", "moved-from", "moved-away"})


@dataclass(frozen=True)
class Taken:
    """A scan's result. It is complete, and may remove, only without problems; `warnings` stand in
    nobody's way.
    """

    commit: CommitId
    specs: list[BundleSpec]
    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # as in core.scan.Scan
    about: About = field(default_factory=About)
    alike: Alike = equal  # how much of two archives is the same


@dataclass(frozen=True)
class Sifted:
    """A scan's result beside what there is: `had` are the rows of the repository's bundles, `gone`
    the bundles that are in Git no more, `moves` what has another name now.
    """

    had: dict[BundleName, RepoBundle]
    specs: list[BundleSpec]
    problems: list[Problem]
    gone: list[BundleName]
    moves: moving.Found = field(default_factory=moving.Found)


def sift(connection: Connection, repo: RepoSpec, taken: Taken) -> Sifted:
    """Reads only. A plan and a scan go on from here alike."""
    had = repo_bundles(connection, repo.workspace, repo.name)
    moves = moving.find(
        connection, repo, had, taken.specs, {p.path for p in taken.problems}, taken.alike
    )
    decided = {move.old for move in moves.decided}
    problems = [
        *taken.problems,
        *_owned_by_others(connection, repo, taken, decided),
        *moves.problems,
    ]
    refused = {p.path for p in problems if p.code in _REFUSED}
    specs = moving.kept_releases(
        connection, repo.workspace, [spec for spec in taken.specs if spec.path not in refused]
    )
    gone = (
        set(had) - {spec.name for spec in taken.specs} - decided - moves.leaving.keys()
        if not problems
        else set()
    )
    emptied = _emptied_places(had, gone, taken)
    if emptied:
        problems, gone = [*problems, *emptied], set()
    return Sifted(had, specs, problems, sorted(gone), moves)


def _emptied_places(
    had: dict[BundleName, RepoBundle], gone: Collection[BundleName], taken: Taken
) -> list[Problem]:
    """Problems for bundles whose directory is still there, but holds nothing to deploy or is not
    searched: that is rarely meant as a removal.
    """
    reasons = (
        {w.path: w.summary for w in taken.warnings if w.code in {EMPTY, LEFT_OUT}} if gone else {}
    )
    unread = set(taken.unread) if gone else set()
    problems = []
    for name in sorted(gone):
        path = had[name].spec.path
        reason = reasons.get(path)
        parts = path.split("/")
        above = next(
            (p for n in range(len(parts)) if (p := "/".join(parts[: n + 1])) in unread), ""
        )
        if reason is None and above:
            reason = (
                f"{above} is now a symbolic link, a submodule or unreadable, and is not searched"
                " for bundles"
            )
        if reason:
            summary = (
                f"{reason}; bundle {name}, which was made from {path or 'the root'}, stays as it is"
            )
            step = "Correct the directory, or delete it to remove the bundle."
            problems.append(Problem(path=path, code=EMPTY, summary=summary, next_step=step))
    return problems


def is_changed(old: RepoBundle | None, spec: BundleSpec) -> bool:
    """Return whether `spec` differs from the stored bundle in more than commit and pause."""
    return old is None or _content(old.spec) != _content(spec)


def needs_reconcile(old: RepoBundle | None, spec: BundleSpec) -> bool:
    """Return whether clusters must receive a change: other content, or a pause that begins or ends
    in Git.
    """
    return old is None or is_changed(old, spec) or old.spec.paused != spec.paused


def moved(
    connection: Connection, repo: RepoSpec, taken: Taken, now: str
) -> tuple[Sifted, set[ClusterId]]:
    """What there is once the moves that are decided were carried out, and the clusters whose
    document is another one by that.
    """
    sifted = sift(connection, repo, taken)
    touched: set[ClusterId] = set()
    for one in sifted.moves.decided:
        if one.old == one.new:
            moving.hand_over(connection, repo.workspace, one.old, repo.name)
        else:
            touched |= moving.move(connection, repo.workspace, one, repo.name, now)
    for name, other in sifted.moves.leaving.items():
        moving.hand_over(connection, repo.workspace, name, other)
    return (
        sift(connection, repo, taken) if sifted.moves.decided or sifted.moves.leaving else sifted
    ), touched


def take(
    connection: Connection,
    repo: RepoSpec,
    generation: int,
    taken: Taken,
    *,
    confirmed: tuple[int, str] | None,
    now: str,
) -> tuple[set[ClusterId], dict[str, Any] | None]:
    """(clusters whose document changed, the removal that is held or None)."""
    mine = (repos.c.workspace == repo.workspace) & (repos.c.name == repo.name)
    if connection.execute(sa.select(repos.c.name).where(mine)).first() is None:
        return set(), None  # deleted while we scanned
    sifted, touched = moved(connection, repo, taken, now)
    had, problems, gone = sifted.had, sifted.problems, sifted.gone
    moves = [] if gone and confirmed == (len(gone), taken.commit) else sifted.moves.open
    specs = [spec for spec in sifted.specs if spec.name not in {move.new for move in moves}]
    moving.claim(
        connection,
        repo,
        {
            s.name
            for s in taken.specs
            if any(p.code == "name-taken" and p.path == s.path for p in problems)
        },
        now,
    )
    if moves and not gone:
        problems = [*problems, *map(_undecided, moves)]
    dirty, revised = _store(connection, specs, had, now)
    history.record(connection, [spec for spec in specs if spec.name in revised], taken.about, now)
    held = held_removal(connection, repo, sifted, taken.commit, confirmed)
    if gone and not held:
        connection.execute(
            sa.delete(bundles).where(
                bundles.c.workspace == repo.workspace, bundles.c.name.in_(gone)
            )
        )
        history.forget(connection, repo.workspace, gone)
        moving.forget(connection, repo.workspace, gone)
        dirty |= set(gone)
    values = {
        "commit": taken.commit,
        "tried": taken.commit,
        "scanned_generation": generation,
        "scanned_at": now,
        "error": b"null",
    }
    connection.execute(
        sa.update(repos)
        .where(mine)
        .values(**values, problems=_json([*problems, *taken.warnings]), held=_json(held))
    )
    return (
        touched
        | (
            reconcile(connection, Scope(repo.workspace, bundles=dirty), now=now) if dirty else set()
        ),
        held,
    )


def _undecided(one: Move) -> Problem:
    """A move in a scan that is not complete: nothing is removed, and what may be moved is not
    installed either.
    """
    step = (
        f"Say `fleetctl bundle moved {one.old} {one.new}` if it is, and correct the other problems."
    )
    return Problem(path=one.new_path, code="looks-like-a-move", summary=one.words, next_step=step)


def _owned_by_others(
    connection: Connection, repo: RepoSpec, taken: Taken, decided: Collection[BundleName]
) -> list[Problem]:
    """Two repositories that make a bundle of one name: the first keeps it."""
    b = bundles.c
    rows = connection.execute(
        sa.select(b.name, b.repo).where(b.workspace == repo.workspace, b.repo != repo.name)
    )
    owner = {row.name: row.repo for row in rows}
    return [
        Problem(
            path=spec.path,
            code="name-taken",
            summary=(
                f"{spec.path or 'the root'}: bundle {spec.name} belongs to GitRepo"
                f" {owner[spec.name]} already"
            ),
            next_step="Give it another `name:` in its fleet.yaml.",
        )
        for spec in taken.specs
        if spec.name in owner and spec.name not in decided
    ]


def _store(
    connection: Connection, specs: list[BundleSpec], had: dict[BundleName, RepoBundle], now: str
) -> tuple[set[BundleName], set[BundleName]]:
    """Write the bundles that differ. Returns the names to reconcile, and of these the ones with a
    new revision.

    A bundle that differs only in `paused` is reconciled, and keeps its generation, its history and
    its rollout.
    """
    dirty: set[BundleName] = set()
    fresh, changed, switched, moved = [], [], [], []
    for spec in specs:
        old = had.get(spec.name)
        text = _json(spec)
        row = {"commit": spec.commit, "archive": spec.archive, "spec": text, "repo": spec.repo}
        if old is None:
            head = {
                "workspace": spec.workspace,
                "name": spec.name,
                "uid": new_uid(),
                "generation": 1,
                "created": now,
            }
            fresh.append(head | row)
        elif is_changed(old, spec):
            changed.append((spec, row))
        elif old.spec.paused != spec.paused:
            switched.append((spec, row))
        elif old.commit != spec.commit:
            moved.append({"w": spec.workspace, "n": spec.name, "c": spec.commit})
            continue
        else:
            continue
        dirty.add(spec.name)
    revised = dirty - {spec.name for spec, _ in switched}
    if fresh:
        connection.execute(sa.insert(bundles), fresh)
    for spec, row in changed:
        where = (bundles.c.workspace == spec.workspace) & (bundles.c.name == spec.name)
        connection.execute(
            sa.update(bundles).where(where).values(**row, generation=bundles.c.generation + 1)
        )
    for spec, row in switched:
        where = (bundles.c.workspace == spec.workspace) & (bundles.c.name == spec.name)
        connection.execute(sa.update(bundles).where(where).values(**row))
    if moved:
        where = (bundles.c.workspace == sa.bindparam("w")) & (bundles.c.name == sa.bindparam("n"))
        connection.execute(sa.update(bundles).where(where).values(commit=sa.bindparam("c")), moved)
    return dirty, revised


def _content(spec: BundleSpec) -> BundleSpec:
    """The bundle without what makes no revision: the commit, and whether it is paused."""
    return msgspec.structs.replace(spec, commit=CommitId(""), paused=False)


def held_removal(
    connection: Connection,
    repo: RepoSpec,
    sifted: Sifted,
    commit: CommitId,
    confirmed: tuple[int, str] | None,
) -> dict[str, Any] | None:
    """The removal as it waits for a person, or None when it may go."""
    gone, of = sifted.gone, len(sifted.had)
    if not gone or confirmed == (len(gone), commit):
        return None
    emptied = _emptied(connection, repo, sifted.specs, gone)
    if not too_many(len(gone), of) and not emptied and not sifted.moves.open:
        return None
    moves = [
        {"from": move.old, "to": move.new, "message": move.words} for move in sifted.moves.open
    ]
    return {
        "removals": len(gone),
        "of": of,
        "bundles": gone,
        "commit": commit,
        "clusters": emptied,
        "moves": moves,
    }


def _emptied(
    connection: Connection, repo: RepoSpec, specs: list[BundleSpec], gone: list[BundleName]
) -> list[str]:
    """Names of the clusters that would lose their last bundle."""
    d, c = deployments.c, clusters.c
    mine = (d.workspace == repo.workspace) & ~d.removed
    losing = set(
        connection.execute(sa.select(d.cluster_id).where(mine, d.bundle.in_(gone))).scalars()
    )
    keeping = set(
        connection.execute(sa.select(d.cluster_id).where(mine, d.bundle.not_in(gone))).scalars()
    )
    left = losing - keeping
    if left:
        scope = Scope(repo.workspace, clusters=left)
        fleet, known = fleet_clusters(connection, scope), groups(connection, repo.workspace)
        left -= {match.cluster.id for spec in specs for match in select(spec, fleet, known)}
    return (
        sorted(connection.execute(sa.select(c.name).where(c.id.in_(left))).scalars())
        if left
        else []
    )
