"""What bundles have been, and going back to it.

Rule: a rollback pins a revision: clusters get its content and options, as a new generation and
through the bundle's rollout, until a person releases it or pins another. Git is followed meanwhile
and changes nothing; who gets the bundle, and how fast, is as Git says now.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Workspace
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Phase
from fleetctl.sources.git.store import About

from ..clock import rfc3339, unix
from ..rollout import late_joiners
from ..store.queries import in_parts
from ..store.schema import bundles, deployments, pins, revisions, rollouts
from ..store.schema import decisions as decisions_table
from . import audit_log
from .audit_log import Place
from .pins import content_of, counted_pins
from .pins import forget as forget_pins

# How many different contents are kept, however often they took turns; and all revisions of so many
# days, up to MOST.
KEPT, DAYS, MOST = 10, 30, 200
_json = msgspec.json.encode


_SPACE: Any = sa.bindparam("space")
_NAME: Any = sa.bindparam("named")
_NOW = sa.select(bundles.c.generation, bundles.c.pinned).where(
    (bundles.c.workspace == _SPACE) & (bundles.c.name == _NAME)
)
_REVISION = sa.insert(revisions).prefix_with("OR REPLACE")
_MINE = (revisions.c.workspace == _SPACE) & (revisions.c.bundle == _NAME)
_NUMBER = revisions.c.number
_CONTENT = sa.case(
    (revisions.c.content == "", sa.cast(_NUMBER, sa.String)), else_=revisions.c.content
)
_LAST = sa.func.max(_NUMBER)
_NEWEST_OF_EACH = (
    sa.select(_LAST).where(_MINE).group_by(_CONTENT).order_by(_LAST.desc()).limit(KEPT)
)
_NEWEST = sa.select(_NUMBER).where(_MINE).order_by(_NUMBER.desc()).limit(MOST)
_KEPT = (
    (revisions.c.number == sa.bindparam("pinned"))
    | revisions.c.number.in_(
        sa.select(pins.c.number).where(pins.c.workspace == _SPACE, pins.c.bundle == _NAME)
    )
    | revisions.c.number.in_(
        sa.select(rollouts.c.good).where(rollouts.c.workspace == _SPACE, rollouts.c.bundle == _NAME)
    )
    | revisions.c.number.in_(_NEWEST_OF_EACH)
    | ((revisions.c.taken >= sa.bindparam("since")) & revisions.c.number.in_(_NEWEST))
)
_OLD = sa.delete(revisions).where(_MINE, ~_KEPT)


def record(connection: Connection, specs: Iterable[BundleSpec], about: About, now: str) -> None:
    """Store a revision of each bundle that has just changed, numbered with the bundle's generation.

    Deletes revisions that are older than DAYS and not among the newest KEPT different ones. A
    revision that is pinned or was good stays.
    """
    since = rfc3339(unix(now) - DAYS * 86400)
    followed: dict[Workspace, list[dict[str, Any]]] = {}
    for spec in specs:
        one = {"space": spec.workspace, "named": spec.name}
        row = connection.execute(_NOW, one).one()
        values = {
            "workspace": spec.workspace,
            "bundle": spec.name,
            "number": row.generation,
            "commit": spec.commit,
            "taken": now,
        }
        said = {
            "author": about.author,
            "subject": about.subject,
            "archive": spec.archive,
            "spec": _json(spec),
            "content": content_key(spec),
        }
        connection.execute(_REVISION, values | said)
        connection.execute(_OLD, one | {"pinned": row.pinned, "since": since})
        if not row.pinned:
            told = {"bundle": spec.name, "number": row.generation, "commit": spec.commit}
            followed.setdefault(spec.workspace, []).append(
                told | {"author": about.author, "subject": about.subject}
            )
    for workspace, rows in followed.items():
        audit_log.taken(connection, workspace, rows, now)


def content_key(spec: BundleSpec) -> str:
    """Equal for two revisions between which a rollback changes nothing on a cluster."""
    options = (
        spec.options,
        spec.customizations,
        spec.customization_mode,
        spec.depends_on,
        spec.labels,
    )
    return hashlib.sha256(_json([spec.archive, options])).hexdigest()[:32]


def forget(connection: Connection, workspace: Workspace, gone: Collection[BundleName]) -> None:
    """Bundles that are no more: what they were, what was decided of them, and what is pinned of
    them go with them.
    """
    r = revisions.c
    for part in in_parts(sorted(gone)):
        connection.execute(sa.delete(revisions).where(r.workspace == workspace, r.bundle.in_(part)))
    audit_log.forget(connection, workspace, gone)
    forget_pins(connection, workspace, gone)


def archives(connection: Connection) -> set[str]:
    """Those that going back needs."""
    return set(connection.execute(sa.select(revisions.c.archive)).scalars())


def pin(
    connection: Connection, place: Place, number: int, reason: str, *, who: str = "", now: str = ""
) -> int:
    """Pin revision `number`, or (0) the one before that clusters should have now, the last good one
    while a rollout is not at its end. The number. Raises NotFound, RefusedError.
    """
    row, known = revisions_of(connection, place)
    chosen = meant(
        place[1], known, number or last_good(connection, place), row.pinned or max(known, default=0)
    )
    _set(
        connection,
        place,
        chosen,
        reason,
        audit_log.note(
            connection, place, audit_log.ROLLBACK, chosen, who=who, reason=reason, at=now
        ),
    )
    return chosen


def last_good(connection: Connection, place: Place) -> int:
    """Where going back leads while a rollout has not come to its end: what was before it may be one
    that never did either. 0: it has.
    """
    r = rollouts.c
    phase = connection.execute(
        sa.select(r.phase).where(r.workspace == place[0], r.bundle == place[1])
    ).scalar()
    return (
        late_joiners.good(connection, *place)
        if phase is not None and phase != Phase.COMPLETED.value
        else 0
    )


def meant(bundle: BundleName, known: Mapping[int, BundleSpec], number: int, current: int) -> int:
    """Revision `number`, or (0) the newest before `current` with another content. Raises NotFound,
    RefusedError.
    """
    if number and number not in known:
        step = f"See `fleetctl bundle history {bundle}`."
        raise NotFound(
            f"bundle {bundle} has no revision {number}", subject=f"bundle {bundle}", next_step=step
        )
    older = [one for one in known if one < current and known[one] != known.get(current)]
    if not number and not older:
        step = (
            "Only its present revision is known."
            if current == max(known, default=0)
            else f"See `fleetctl bundle history {bundle}`."
        )
        raise RefusedError(
            f"bundle {bundle} has no older revision", subject=f"bundle {bundle}", next_step=step
        )
    return number or max(older)


def release(connection: Connection, place: Place, *, who: str = "", now: str = "") -> None:
    """Follow Git again. Raises NotFound, RefusedError."""
    row, known = revisions_of(connection, place)
    if not row.pinned:
        own = counted_pins(connection, place)
        step = (
            "Release its clusters' own pins with --cluster, -l, --partition or --all."
            if own
            else "It follows Git already."
        )
        raise RefusedError(
            f"bundle {place[1]} is not pinned", subject=f"bundle {place[1]}", next_step=step
        )
    _set(
        connection,
        place,
        0,
        "",
        audit_log.note(
            connection, place, audit_log.RELEASE, max(known, default=0), who=who, reason="", at=now
        ),
    )


def revisions_of(connection: Connection, place: Place) -> tuple[Any, dict[int, BundleSpec]]:
    """The bundle's row, and its revisions by number: what of each reaches clusters, so that equal
    ones are the same to them.
    """
    b, r = bundles.c, revisions.c
    row = connection.execute(
        sa.select(b.pinned).where(b.workspace == place[0], b.name == place[1])
    ).one_or_none()
    if row is None:
        step = "See `fleetctl get bundles`."
        raise NotFound(
            f"bundle {place[1]} does not exist in workspace {place[0]}",
            subject=f"bundle {place[1]}",
            next_step=step,
        )
    rows = connection.execute(
        sa.select(r.number, r.spec)
        .where(r.workspace == place[0], r.bundle == place[1])
        .order_by(r.number)
    ).all()
    known = {one.number: msgspec.json.decode(one.spec, type=BundleSpec) for one in rows}
    newest = next(reversed(known.values()), None)
    said = {"commit": CommitId(""), "path": "", "moved_from": BundleName("")}
    return row, {
        number: msgspec.structs.replace(content_of(spec, newest or spec), **said)
        for number, spec in known.items()
    }


def _set(connection: Connection, place: Place, number: int, reason: str, decision: int) -> None:
    b = bundles.c
    where = (b.workspace == place[0]) & (b.name == place[1])
    connection.execute(
        sa.update(bundles)
        .where(where)
        .values(pinned=number, pin_reason=reason, generation=b.generation + 1)
    )
    audit_log.follow(connection, place[0], [place[1]], decision)


def listing(
    connection: Connection,
    workspace: Workspace,
    bundle: BundleName,
    offline: Callable[[ClusterId], bool],
) -> list[dict[str, Any]]:
    """The revisions, newest first: what each was, and on how many clusters it is; nobody is ready
    who is `offline`. Raises NotFound.

    Where a newer one changed nothing for clusters (only targets, or the rollout), those that have
    the older one have it too.
    """
    row, known = revisions_of(connection, (workspace, bundle))
    r = revisions.c
    rows = connection.execute(
        sa.select(revisions)
        .where(r.workspace == workspace, r.bundle == bundle)
        .order_by(r.number.desc())
    ).all()
    current = row.pinned or (rows[0].number if rows else 0)
    own = {one["number"]: one["clusters"] for one in counted_pins(connection, (workspace, bundle))}
    counts: Counter[tuple[int, bool]] = Counter()
    for number, ready, amount in _there(connection, (workspace, bundle), rows, offline):
        same = number in known and known[number] == known.get(current) and number not in own
        counts[current if same else number, ready] += amount
    return [
        _shown(one, counts, own.get(one.number, 0), current=current, pinned=row.pinned)
        for one in rows
    ]


def _there(
    connection: Connection, place: Place, rows: Sequence[Any], offline: Callable[[ClusterId], bool]
) -> Iterable[tuple[int, bool, int]]:
    """(number, ready, how many clusters that were told it). What an older manager told is known by
    its commit.
    """
    d, s = deployments.c, decisions_table.c
    query = sa.select(s.id, s.number).where(s.workspace == place[0], s.bundle == place[1])
    numbers = {one.id: one.number for one in connection.execute(query)}
    by_commit = {(one.archive, one.commit): one.number for one in rows}
    mine = (d.workspace == place[0]) & (d.bundle == place[1]) & ~d.removed & (d.generation > 0)
    group = (d.decision, d.archive, d.commit)
    well = connection.execute(
        sa.select(d.cluster_id, *group).where(mine, d.state == State.READY.value)
    )
    ready = Counter(tuple(one[1:]) for one in well if not offline(one[0]))
    for *key, amount in connection.execute(
        sa.select(*group, sa.func.count()).where(mine).group_by(*group)
    ):
        number = numbers.get(key[0]) or by_commit.get((key[1], key[2]), 0)
        yield number, True, ready[tuple(key)]
        yield number, False, amount - ready[tuple(key)]


def _shown(
    row: Any, counts: Counter[tuple[int, bool]], own: int, *, current: int, pinned: int
) -> dict[str, Any]:
    return {
        "number": row.number,
        "commit": row.commit,
        "author": row.author,
        "subject": row.subject,
        "taken": row.taken,
        "clusters": counts[row.number, True] + counts[row.number, False],
        "ready": counts[row.number, True],
        "current": row.number == current,
        "pinned": row.number == pinned,
        "pinnedClusters": own,
    }
