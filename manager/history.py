"""What bundles have been, and going back to it.

Rule: a rollback pins a revision: clusters get its content and options, as a new generation and through the bundle's rollout, until a person
releases it or pins another. Git is followed meanwhile and changes nothing; who gets the bundle, and how fast, is as Git says now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.bundle import BundleSpec
from fleetctl.core.errors import NotFound, RefusedError
from fleetctl.core.ids import BundleName, ClusterId, CommitId, Workspace
from fleetctl.sources.gitstore import About
from manager.gathering import in_parts
from manager.store.schema import bundles, deployments, revisions

KEPT = 10
_json = msgspec.json.encode
Place = tuple[Workspace, BundleName]


def record(connection: Connection, specs: Iterable[BundleSpec], about: About, now: str) -> None:
    """Each bundle that has just changed, under its generation of now; the oldest beyond ten go, but for the pinned one."""
    b, r = bundles.c, revisions.c
    for spec in specs:
        where = (b.workspace == spec.workspace) & (b.name == spec.name)
        row = connection.execute(sa.select(b.generation, b.pinned).where(where)).one()
        values = {"workspace": spec.workspace, "bundle": spec.name, "number": row.generation, "commit": spec.commit, "taken": now}
        said = {"author": about.author, "subject": about.subject, "archive": spec.archive, "spec": _json(spec)}
        connection.execute(sa.insert(revisions).prefix_with("OR REPLACE"), values | said)
        mine = (r.workspace == spec.workspace) & (r.bundle == spec.name)
        newest = sa.select(r.number).where(mine).order_by(r.number.desc()).limit(KEPT)
        connection.execute(sa.delete(revisions).where(mine, r.number != row.pinned, r.number.not_in(newest)))


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    r = revisions.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(revisions).where(r.workspace == workspace, r.bundle.in_(part)))


def archives(connection: Connection) -> set[str]:
    """Those that going back needs."""
    return set(connection.execute(sa.select(revisions.c.archive)).scalars())


def pin(connection: Connection, place: Place, number: int, reason: str) -> int:
    """Pin revision `number`, or (0) the one before that clusters should have now. The number. Raises NotFound, RefusedError."""
    row, known = _known(connection, place)
    if number and number not in known:
        step = f"See `fleetctl bundle history {place[1]}`."
        raise NotFound(f"bundle {place[1]} has no revision {number}", subject=f"bundle {place[1]}", next_step=step)
    current = row.pinned or max(known, default=0)
    older = [one for one in known if one < current and known[one] != known.get(current)]
    chosen = number or max(older, default=0)
    if not chosen:
        step = "Only its present revision is known."
        raise RefusedError(f"bundle {place[1]} has no older revision", subject=f"bundle {place[1]}", next_step=step)
    _set(connection, place, chosen, reason)
    return chosen


def release(connection: Connection, place: Place) -> None:
    """Follow Git again. Raises NotFound, RefusedError."""
    row, _ = _known(connection, place)
    if not row.pinned:
        raise RefusedError(f"bundle {place[1]} is not pinned", subject=f"bundle {place[1]}", next_step="It follows Git already.")
    _set(connection, place, 0, "")


def _known(connection: Connection, place: Place) -> tuple[Any, dict[int, BundleSpec]]:
    """The bundle's row, and its revisions by number: what of each reaches clusters, so that equal ones are the same to them."""
    b, r = bundles.c, revisions.c
    row = connection.execute(sa.select(b.pinned).where(b.workspace == place[0], b.name == place[1])).one_or_none()
    if row is None:
        step = "See `fleetctl get bundles`."
        raise NotFound(f"bundle {place[1]} does not exist in workspace {place[0]}", subject=f"bundle {place[1]}", next_step=step)
    rows = connection.execute(sa.select(r.number, r.spec).where(r.workspace == place[0], r.bundle == place[1]).order_by(r.number)).all()
    known = {one.number: msgspec.json.decode(one.spec, type=BundleSpec) for one in rows}
    newest = next(reversed(known.values()), None)
    return row, {number: msgspec.structs.replace(_pinned(newest or spec, spec), commit=CommitId("")) for number, spec in known.items()}


def _set(connection: Connection, place: Place, number: int, reason: str) -> None:
    b = bundles.c
    where = (b.workspace == place[0]) & (b.name == place[1])
    connection.execute(sa.update(bundles).where(where).values(pinned=number, pin_reason=reason, generation=b.generation + 1))


def listing(connection: Connection, workspace: Workspace, bundle: BundleName, offline: Callable[[ClusterId], bool]) -> list[dict[str, Any]]:
    """The revisions, newest first: what each was, and on how many clusters it is; nobody is ready who is `offline`. Raises NotFound."""
    row, _ = _known(connection, (workspace, bundle))
    r, d = revisions.c, deployments.c
    rows = connection.execute(sa.select(revisions).where(r.workspace == workspace, r.bundle == bundle).order_by(r.number.desc())).all()
    told = sa.select(d.cluster_id, d.archive, d.commit, d.state).where(
        d.workspace == workspace, d.bundle == bundle, ~d.removed, d.generation > 0
    )
    there = [(row.archive, row.commit, row.state == "Ready" and not offline(row.cluster_id)) for row in connection.execute(told)]
    newest = rows[0].number if rows else 0
    return [_shown(one, there, current=one.number == (row.pinned or newest), pinned=one.number == row.pinned) for one in rows]


def _shown(row: Any, there: Iterable[tuple[str, str, bool]], *, current: bool, pinned: bool) -> dict[str, Any]:
    mine = [ready for archive, commit, ready in there if (archive, commit) == (row.archive, row.commit)]
    return {
        "number": row.number,
        "commit": row.commit,
        "author": row.author,
        "subject": row.subject,
        "taken": row.taken,
        "clusters": len(mine),
        "ready": sum(mine),
        "current": current,
        "pinned": pinned,
    }


def with_pins(connection: Connection, workspace: Workspace, specs: list[BundleSpec]) -> list[BundleSpec]:
    """The specs with the content of what is pinned; who gets it, pauses and the rollout are as Git says now."""
    b, r = bundles.c, revisions.c
    query = sa.select(r.bundle, r.spec).join(bundles, (b.workspace == r.workspace) & (b.name == r.bundle) & (b.pinned == r.number))
    pins = {row.bundle: msgspec.json.decode(row.spec, type=BundleSpec) for row in connection.execute(query.where(r.workspace == workspace))}
    return [_pinned(spec, pins[spec.name]) if spec.name in pins else spec for spec in specs]


def _pinned(now: BundleSpec, then: BundleSpec) -> BundleSpec:
    kept = {key: getattr(now, key) for key in ("targets", "overrides_targets", "paused", "rollout_strategy", "repo")}
    return msgspec.structs.replace(then, **kept)
