"""Bundles that have another name now, or another GitRepo, and keep their releases and all that is
known of them.

Rule: a bundle that moves goes on as what it was. Its revisions, decisions, pins, rollout and holds
go with it, and so does what each cluster was told: the same content and options, with the release
that it has written into them. Each cluster is told both at once, the bundle under its new name and
a tombstone for the old one; its agent sees one release under two names, upgrades it in place and
gives the old name up (agent/loops/decide.py). That changes no object, so it happens on all clusters
at once; what else the commit changes goes through the rollout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.filetree.tree import within
from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Digest, Generation, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.model.status import State
from fleetctl.core.scan.problems import Problem
from fleetctl.core.scan.renames import Alike, Move, keeping, probable, stated_release

from ..rollout import staging
from ..security.secret_sealing import sources, version_of
from ..store.queries import in_parts, next_generation
from ..store.queries.bundles import RepoBundle
from ..store.schema import (
    bundles,
    clusters,
    deployments,
    metadata,
    moves,
    objects,
    repos,
    revisions,
)
from ..store.schema import options as options_table

_json = msgspec.json.encode
NOT_THERE = "that was said, and it is not there yet"


@dataclass(frozen=True)
class Found:
    """What a scan shows: `decided` moves, those that a person must decide on (`open`), and what is
    in the way of others. `leaving`: bundles that go to the GitRepo that is named, which has made
    them already.
    """

    decided: list[Move] = field(default_factory=list)
    open: list[Move] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    leaving: dict[BundleName, str] = field(default_factory=dict)


def find(
    connection: Connection,
    repo: RepoSpec,
    had: Mapping[BundleName, RepoBundle],
    specs: list[BundleSpec],
    broken: Collection[str],
    alike: Alike,
) -> Found:
    """`specs`: what is in Git, of whatever name; `broken`: paths of what could not be made, which
    is no sign of anything. Reads only.
    """
    there = {spec.name for spec in specs}
    missing = [row.spec for name, row in sorted(had.items()) if name not in there]
    missing = [spec for spec in missing if not any(within(spec.path, path) for path in broken)]
    fresh = [spec for spec in specs if spec.name not in had]
    if not fresh and not missing:
        return Found()
    owner = _owners(connection, repo.workspace)
    said = [
        (row.old, row.new, row.repo)
        for row in connection.execute(sa.select(moves).where(moves.c.workspace == repo.workspace))
    ]
    named = {new: old for old, new, _ in said if old != new}
    found = Found(leaving=_leaving(connection, repo, said, {spec.name for spec in missing}))
    gone = {spec.name: spec for spec in missing if spec.name not in found.leaving}
    for spec in fresh:
        _judge(found, repo, spec, (named.get(spec.name, BundleName("")), said), owner, gone)
    done, refused = {move.old for move in found.decided}, {p.path for p in found.problems}
    left = [spec for name, spec in gone.items() if name not in done]
    waiting = {old: new for new, old in named.items() if old in gone and new not in there}
    found.open.extend(
        Move(old, BundleName(new), gone[old].path, new, NOT_THERE)
        for old, new in sorted(waiting.items())
    )
    came = {move.new for move in found.decided}
    new = [
        spec
        for spec in fresh
        if spec.name not in came and spec.name not in owner and spec.path not in refused
    ]
    found.open.extend(probable([spec for spec in left if spec.name not in waiting], new, alike))
    _refuse_kept(connection, repo, found, new)
    return found


def _judge(
    found: Found,
    repo: RepoSpec,
    spec: BundleSpec,
    said: tuple[BundleName, list[tuple[str, str, str]]],
    owner: Mapping[BundleName, str],
    gone: Mapping[BundleName, BundleSpec],
) -> None:
    """Whether somebody has said of a bundle that is new here what it was before."""
    person, every = said
    if (spec.name, spec.name, "") in every and owner.get(spec.name, repo.name) != repo.name:
        found.decided.append(Move(spec.name, spec.name, spec.path, spec.path, "said"))
        return
    old = person or spec.moved_from
    if not old or old == spec.name or old not in owner or spec.name in owner:
        return
    if old in gone or (person and owner[old] != repo.name):
        found.decided.append(
            Move(old, spec.name, gone[old].path if old in gone else "", spec.path, "said")
        )
        return
    who = "was said" if person else "movedFrom says"
    summary = (
        f"{spec.path or 'the root'}: bundle {old}, which {who} to be {spec.name} now, is still"
        " in Git"
    )
    step = f"Remove {old}, or take the move back."
    if owner[old] != repo.name:
        summary = (
            f"{spec.path or 'the root'}: bundle {old}, which movedFrom names, belongs to GitRepo"
            f" {owner[old]}"
        )
        step = (
            f"Say `fleetctl bundle moved {old} {spec.name}`: one GitRepo may not take another's"
            " bundles by itself."
        )
    found.problems.append(
        Problem(path=spec.path, code="moved-from", summary=summary, next_step=step)
    )


def _refuse_kept(
    connection: Connection, repo: RepoSpec, found: Found, new: Iterable[BundleSpec]
) -> None:
    """A new bundle whose release another one has kept since it was called so."""
    coming = {move.new for move in (*found.decided, *found.open)}
    names = {
        spec.name: spec
        for spec in new
        if spec.name not in coming and not stated_release(spec.options)
    }
    b = bundles.c
    for part in in_parts(sorted(names)):
        query = sa.select(b.name, b.release).where(
            b.workspace == repo.workspace, b.release.in_(part), b.name != b.release
        )
        for row in connection.execute(query):
            spec = names[row.release]
            summary = (
                f"{spec.path or 'the root'}: release {row.release} is kept by bundle {row.name},"
                " which was called so before"
            )
            step = "Remove it here, or give it another `name:` or a `helm.releaseName`."
            found.problems.append(
                Problem(path=spec.path, code="moved-away", summary=summary, next_step=step)
            )


def _leaving(
    connection: Connection,
    repo: RepoSpec,
    said: Iterable[tuple[str, str, str]],
    missing: Collection[str],
) -> dict[BundleName, str]:
    claims = {
        BundleName(old): claimer
        for old, new, claimer in said
        if old == new and claimer not in {"", repo.name} and old in missing
    }
    if not claims:
        return {}
    o = objects.c
    known = set(
        connection.execute(
            sa.select(o.name).where(o.kind == "GitRepo", o.workspace == repo.workspace)
        ).scalars()
    )
    return {name: claimer for name, claimer in claims.items() if claimer in known}


def _owners(connection: Connection, workspace: Workspace) -> dict[BundleName, str]:
    rows = connection.execute(
        sa.select(bundles.c.name, bundles.c.repo).where(bundles.c.workspace == workspace)
    )
    return {BundleName(row.name): row.repo for row in rows}


def claim(connection: Connection, repo: RepoSpec, names: Collection[BundleName], now: str) -> None:
    """Remember that the GitRepo makes bundles of names that others have: when those drop one, it
    goes over instead of going away.
    """
    m = moves.c
    connection.execute(
        sa.delete(moves).where(
            m.workspace == repo.workspace, m.repo == repo.name, m.old.not_in(list(names))
        )
    )
    rows = [
        {"workspace": repo.workspace, "old": name, "new": name, "repo": repo.name, "at": now}
        for name in sorted(names)
    ]
    if rows:
        connection.execute(sa.insert(moves).prefix_with("OR IGNORE"), rows)


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    """Bundles that are no more move nowhere."""
    for part in in_parts(sorted(gone)):
        connection.execute(
            sa.delete(moves).where(moves.c.workspace == workspace, moves.c.old.in_(part))
        )


def kept_releases(
    connection: Connection, workspace: Workspace, specs: list[BundleSpec]
) -> list[BundleSpec]:
    """The bundles with the releases that they keep."""
    b = bundles.c
    rows = connection.execute(
        sa.select(b.name, b.release).where(b.workspace == workspace, b.release != "")
    )
    kept = {row.name: row.release for row in rows}
    return (
        [
            (
                msgspec.structs.replace(s, options=keeping(s.options, kept[s.name]))
                if s.name in kept
                else s
            )
            for s in specs
        ]
        if kept
        else specs
    )


def hand_over(connection: Connection, workspace: Workspace, name: BundleName, repo: str) -> None:
    """Another GitRepo has the bundle from now on; both are scanned anew."""
    b, d, r, m = bundles.c, deployments.c, repos.c, moves.c
    old = connection.execute(
        sa.select(b.repo).where(b.workspace == workspace, b.name == name)
    ).scalar_one()
    connection.execute(
        sa.update(bundles).where(b.workspace == workspace, b.name == name).values(repo=repo)
    )
    connection.execute(
        sa.update(deployments).where(d.workspace == workspace, d.bundle == name).values(repo=repo)
    )
    both = (r.workspace == workspace) & r.name.in_({old, repo})
    connection.execute(sa.update(repos).where(both).values(scanned_generation=0))
    connection.execute(
        sa.delete(moves).where(m.workspace == workspace, m.old == name, m.new == name)
    )


def move(
    connection: Connection, workspace: Workspace, moving: Move, repo: str, now: str
) -> set[ClusterId]:
    """Everything of the bundle under its new name, in the GitRepo `repo`. The clusters whose
    document is another one now.
    """
    old, new = moving.old, moving.new
    b, m = bundles.c, moves.c
    here = (b.workspace == workspace) & (b.name == old)
    row = connection.execute(sa.select(b.repo, b.release, b.spec).where(here)).one()
    if row.repo != repo:
        hand_over(connection, workspace, old, repo)
    release = row.release or old
    spec = msgspec.json.encode(
        _renamed(msgspec.json.decode(row.spec, type=BundleSpec), new, release)
    )
    connection.execute(sa.update(bundles).where(here).values(name=new, release=release, spec=spec))
    _rename_rows(connection, workspace, old, new)
    _rename_revisions(connection, workspace, new, release)
    touched = _rename_deployments(connection, workspace, moving, release, now)
    connection.execute(
        sa.delete(moves).where(m.workspace == workspace, (m.new == new) | (m.old == old))
    )
    staging.touch(connection, workspace, [new], staging.ANEW)
    return touched


def _renamed(spec: BundleSpec, new: BundleName, release: str) -> BundleSpec:
    return msgspec.structs.replace(spec, name=new, options=keeping(spec.options, release))


def _rename_rows(
    connection: Connection, workspace: Workspace, old: BundleName, new: BundleName
) -> None:
    """Whatever else is kept by the bundle's name, in every table that has such a column."""
    for table in metadata.sorted_tables:
        if table.name in {"deployments", "counts"} or not {"workspace", "bundle"} <= set(
            table.c.keys()
        ):
            continue
        mine = table.c.workspace == workspace
        connection.execute(sa.delete(table).where(mine, table.c.bundle == new))
        connection.execute(sa.update(table).where(mine, table.c.bundle == old).values(bundle=new))


def _rename_revisions(
    connection: Connection, workspace: Workspace, new: BundleName, release: str
) -> None:
    r = revisions.c
    mine = (r.workspace == workspace) & (r.bundle == new)
    for row in connection.execute(sa.select(r.number, r.spec).where(mine)).all():
        spec = _renamed(msgspec.json.decode(row.spec, type=BundleSpec), new, release)
        connection.execute(
            sa.update(revisions).where(mine, r.number == row.number).values(spec=_json(spec))
        )


def _rename_deployments(
    connection: Connection, workspace: Workspace, moving: Move, release: str, now: str
) -> set[ClusterId]:
    """The rows under the new name, and tombstones in their place where the cluster was told
    anything.
    """
    d = deployments.c
    here = d.workspace == workspace
    connection.execute(sa.delete(deployments).where(here, d.bundle == moving.new))
    mine = here & (d.bundle == moving.old) & ~d.removed
    generation = next_generation(connection)
    keys = connection.execute(
        sa.select(d.options_key, d.options_digest).where(mine).distinct()
    ).all()
    for key, digest in keys:
        new = _options(connection, workspace, key, Digest(digest), release)
        _copy(
            connection,
            mine & (d.options_key == key) & (d.options_digest == digest),
            moving.new,
            new,
            generation,
        )
    gone = {
        "removed": True,
        "generation": next_generation(connection),
        "state": State.WAIT_APPLIED.value,
        "reported": 0,
    }
    blank = {"staged": "", "message": "", "kept": False}
    connection.execute(
        sa.update(deployments).where(mine, d.generation != 0).values(**gone, **blank)
    )
    connection.execute(sa.delete(deployments).where(mine))
    told = set(
        connection.execute(
            sa.select(d.cluster_id).where(here, d.bundle == moving.new, d.generation != 0)
        ).scalars()
    )
    for part in in_parts(sorted(told)):
        connection.execute(sa.update(clusters).where(clusters.c.id.in_(part)).values(issued=now))
    return {ClusterId(i) for i in told}


def _copy(
    connection: Connection,
    where: Any,
    bundle: BundleName,
    new: tuple[str, str],
    generation: Generation,
) -> None:
    """What a cluster was told is told again under the new name, and waits to be answered."""
    d = deployments.c
    told = d.generation > 0
    values: dict[str, Any] = {
        "bundle": sa.literal(bundle),
        "options_key": sa.literal(new[0]),
        "options_digest": sa.literal(new[1]),
        "generation": sa.case((told, generation), else_=d.generation),
        "state": sa.case((told, State.WAIT_APPLIED.value), else_=d.state),
        "reported": sa.literal(0),
        "moved": sa.case((told, generation), else_=d.moved),
    }
    columns = [column.name for column in deployments.c if column.computed is None]
    rows = sa.select(*(values.get(name, d[name]) for name in columns)).where(where)
    connection.execute(sa.insert(deployments).from_select(columns, rows))


def on_the_way(connection: Connection, workspace: Workspace, bundle: BundleName) -> set[ClusterId]:
    """Clusters whose agents have not answered yet that the bundle has another name: nobody knows
    how they are, so nothing else is changed there meanwhile.
    """
    d = deployments.c
    mine = (d.workspace == workspace) & (d.bundle == bundle) & ~d.removed
    query = sa.select(d.cluster_id).where(
        mine, sa.text("moved = generation"), sa.text("reported < generation")
    )
    return {ClusterId(i) for i in connection.execute(query).scalars()}


def _options(
    connection: Connection, workspace: Workspace, key: str, digest: Digest, release: str
) -> tuple[str, str]:
    """(key, digest) of the options with the release in them. The digest is such that nothing is
    deployed again for it.
    """
    text = connection.execute(
        sa.select(options_table.c.json).where(options_table.c.key == key)
    ).scalar_one()
    had = msgspec.json.decode(text, type=Options)
    kept = keeping(had, release)
    new = opts.to_json(kept)
    found = hashlib.sha256(new).hexdigest()
    connection.execute(
        sa.insert(options_table).prefix_with("OR IGNORE"), [{"key": found, "json": new}]
    )
    if digest == opts.digest(had):
        return found, opts.digest(kept)
    wanted = opts.downstream_of(had)
    version = version_of(wanted, sources(connection, workspace, wanted))
    return found, hashlib.sha256(f"{opts.digest(kept)}\n{version}".encode()).hexdigest()
