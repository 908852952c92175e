"""Taking over what a scan found: one transaction from bundles to desired states, with the removals that are allowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.bundle import BundleSpec
from fleetctl.core.gitrepo import RepoSpec
from fleetctl.core.ids import BundleName, ClusterId, CommitId
from fleetctl.core.plan import too_many
from fleetctl.core.scan import Problem
from fleetctl.core.target import select
from fleetctl.sources.gitstore import About
from manager import history
from manager.gathering import Scope, fleet_clusters, groups
from manager.objects import new_uid
from manager.reconcile import reconcile
from manager.store.schema import bundles, clusters, deployments, repos

_json = msgspec.json.encode


@dataclass(frozen=True)
class Taken:
    """A scan's result. It is complete, and may remove, only without problems; `warnings` stand in nobody's way."""

    commit: CommitId
    specs: list[BundleSpec]
    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)
    about: About = field(default_factory=About)


@dataclass(frozen=True)
class Sifted:
    """A scan's result beside what there is: `had` are the rows of the repository's bundles, `gone` the bundles that are in Git no more."""

    had: dict[BundleName, Any]
    specs: list[BundleSpec]
    problems: list[Problem]
    gone: list[BundleName]


def sift(connection: Connection, repo: RepoSpec, taken: Taken) -> Sifted:
    """Reads only. A plan and a scan go on from here alike."""
    had = _rows(connection, repo)
    problems = [*taken.problems, *_owned_by_others(connection, repo, taken)]
    refused = {p.path for p in problems if p.code == "name-taken"}
    specs = [spec for spec in taken.specs if spec.path not in refused]
    return Sifted(had, specs, problems, sorted(set(had) - {spec.name for spec in taken.specs}) if not problems else [])


def is_changed(row: Any, spec: BundleSpec) -> bool:
    """Whether `spec` differs from the stored bundle in more than the commit."""
    return row is None or _but_commit(msgspec.json.decode(row.spec, type=BundleSpec)) != _but_commit(spec)


def take(
    connection: Connection, repo: RepoSpec, generation: int, taken: Taken, *, confirmed: tuple[int, str] | None, now: str
) -> tuple[set[ClusterId], dict[str, Any] | None]:
    """(clusters whose document changed, the removal that is held or None)."""
    mine = (repos.c.workspace == repo.workspace) & (repos.c.name == repo.name)
    if connection.execute(sa.select(repos.c.name).where(mine)).first() is None:
        return set(), None  # deleted while we scanned
    sifted = sift(connection, repo, taken)
    had, specs, problems, gone = sifted.had, sifted.specs, sifted.problems, sifted.gone
    dirty = _store(connection, specs, had, now)
    history.record(connection, [spec for spec in specs if spec.name in dirty], taken.about, now)
    held = None
    if gone:
        held = held_removal(connection, repo, specs, gone, len(had), taken.commit, confirmed)
    if gone and not held:
        connection.execute(sa.delete(bundles).where(bundles.c.workspace == repo.workspace, bundles.c.name.in_(gone)))
        history.forget(connection, repo.workspace, gone)
        dirty |= set(gone)
    values = {"commit": taken.commit, "tried": taken.commit, "scanned_generation": generation, "scanned_at": now, "error": b"null"}
    connection.execute(sa.update(repos).where(mine).values(**values, problems=_json([*problems, *taken.warnings]), held=_json(held)))
    return reconcile(connection, Scope(repo.workspace, bundles=dirty), now=now) if dirty else set(), held


def _rows(connection: Connection, repo: RepoSpec) -> dict[BundleName, Any]:
    b = bundles.c
    rows = connection.execute(sa.select(b.name, b.spec, b.commit).where(b.workspace == repo.workspace, b.repo == repo.name))
    return {row.name: row for row in rows}


def _owned_by_others(connection: Connection, repo: RepoSpec, taken: Taken) -> list[Problem]:
    """Two repositories that make a bundle of one name: the first keeps it."""
    b = bundles.c
    rows = connection.execute(sa.select(b.name, b.repo).where(b.workspace == repo.workspace, b.repo != repo.name))
    owner = {row.name: row.repo for row in rows}
    return [
        Problem(
            path=spec.path,
            code="name-taken",
            summary=f"{spec.path or 'the root'}: bundle {spec.name} belongs to GitRepo {owner[spec.name]} already",
            next_step="Give it another `name:` in its fleet.yaml.",
        )
        for spec in taken.specs
        if spec.name in owner
    ]


def _store(connection: Connection, specs: list[BundleSpec], had: dict[BundleName, Any], now: str) -> set[BundleName]:
    """Write the bundles that differ in more than the commit; their names."""
    dirty: set[BundleName] = set()
    fresh, changed, moved = [], [], []
    for spec in specs:
        old = had.get(spec.name)
        text = _json(spec)
        row = {"commit": spec.commit, "archive": spec.archive, "spec": text, "repo": spec.repo}
        if old is None:
            head = {"workspace": spec.workspace, "name": spec.name, "uid": new_uid(), "generation": 1, "created": now}
            fresh.append(head | row)
        elif is_changed(old, spec):
            changed.append((spec, row))
        elif old.commit != spec.commit:
            moved.append({"w": spec.workspace, "n": spec.name, "c": spec.commit})
            continue
        else:
            continue
        dirty.add(spec.name)
    if fresh:
        connection.execute(sa.insert(bundles), fresh)
    for spec, row in changed:
        where = (bundles.c.workspace == spec.workspace) & (bundles.c.name == spec.name)
        connection.execute(sa.update(bundles).where(where).values(**row, generation=bundles.c.generation + 1))
    if moved:
        where = (bundles.c.workspace == sa.bindparam("w")) & (bundles.c.name == sa.bindparam("n"))
        connection.execute(sa.update(bundles).where(where).values(commit=sa.bindparam("c")), moved)
    return dirty


def _but_commit(spec: BundleSpec) -> BundleSpec:
    return msgspec.structs.replace(spec, commit=CommitId(""))


def held_removal(
    connection: Connection,
    repo: RepoSpec,
    specs: list[BundleSpec],
    gone: list[BundleName],
    of: int,
    commit: CommitId,
    confirmed: tuple[int, str] | None,
) -> dict[str, Any] | None:
    """The removal as it waits for a person, or None when it may go."""
    if confirmed == (len(gone), commit):
        return None
    emptied = _emptied(connection, repo, specs, gone)
    if not too_many(len(gone), of) and not emptied:
        return None
    return {"removals": len(gone), "of": of, "bundles": gone, "commit": commit, "clusters": emptied}


def _emptied(connection: Connection, repo: RepoSpec, specs: list[BundleSpec], gone: list[BundleName]) -> list[str]:
    """Names of the clusters that would lose their last bundle."""
    d, c = deployments.c, clusters.c
    mine = (d.workspace == repo.workspace) & ~d.removed
    losing = set(connection.execute(sa.select(d.cluster_id).where(mine, d.bundle.in_(gone))).scalars())
    keeping = set(connection.execute(sa.select(d.cluster_id).where(mine, d.bundle.not_in(gone))).scalars())
    left = losing - keeping
    if left:
        scope = Scope(repo.workspace, clusters=left)
        fleet, known = fleet_clusters(connection, scope), groups(connection, repo.workspace)
        left -= {match.cluster.id for spec in specs for match in select(spec, fleet, known)}
    return sorted(connection.execute(sa.select(c.name).where(c.id.in_(left))).scalars()) if left else []
