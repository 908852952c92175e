"""What a rollout holds back: staged beside what each cluster has, until it is handed out
(manager/rollout/engine.py).

A bundle has a rollout when it states a `rolloutStrategy`, when it has so many clusters that Fleet
makes partitions of them, or when a person has paused it. Every other bundle is handed out at once.
A newer version takes the place of what is staged: two never mix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.plan import Change, Key, Want, key_of
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Phase
from fleetctl.core.rollout.strategy import place

from ..store.bulk import many
from ..store.commands.delivery import want_columns
from ..store.queries import in_parts
from ..store.schema import bundles, deployments, passes, rollouts, wants

_json = msgspec.json.encode
# Fleet makes partitions of this many clusters without being asked.
MANY = 200
AGAIN, ANEW = 1, 2
# For nearly every report that is taken: stands here once, so that it is not built and cached anew
# each time.
_TOUCHED = (
    sa.update(rollouts)
    .where(
        (rollouts.c.workspace == sa.bindparam("space"))
        & (rollouts.c.bundle == sa.bindparam("named"))
    )
    .values(dirty=sa.func.max(rollouts.c.dirty, sa.bindparam("how")))
)
# Partitions that no rollout has: of who must be given a place, and of who is kept from a removal.
NOWHERE, KEPT = -1, 1_000_000


def gated(
    connection: Connection,
    workspace: Workspace,
    specs: Iterable[BundleSpec],
    counts: Mapping[BundleName, int],
) -> set[BundleName]:
    """Those of the bundles whose changes go through a rollout. `counts`: clusters of each."""
    specs = list(specs)
    known = {
        spec.name for spec in specs if spec.rollout_strategy or counts.get(spec.name, 0) >= MANY
    }
    r = rollouts.c
    for part in in_parts(sorted({spec.name for spec in specs} - known)):
        known |= set(
            connection.execute(
                sa.select(r.bundle).where(r.workspace == workspace, r.bundle.in_(part))
            ).scalars()
        )
    return known


def stage(
    connection: Connection,
    workspace: Workspace,
    changes: Sequence[Change],
    specs: Mapping[BundleName, BundleSpec],
    now: str,
) -> None:
    """Write down what the clusters of `changes` (all with a redeployment) should be told, and that
    somebody must decide.
    """
    held = {key_of(change.want): change.want for change in changes if change.want is not None}
    adding = sa.insert(wants).prefix_with("OR IGNORE")
    connection.execute(adding, [{"key": key, "json": _json(want)} for key, want in held.items()])
    rows = [_blank(change, workspace, specs[change.key[1]]) for change in changes]
    _insert(connection, rows)
    for name in sorted({change.key[1] for change in changes}):
        begin(connection, workspace, specs[name], now)


def _blank(change: Change, workspace: Workspace, spec: BundleSpec) -> dict[str, Any]:
    """A row for a cluster that was told nothing yet; one that is there keeps all but what is
    staged.
    """
    want = change.want
    assert want is not None
    return {
        "cluster_id": change.key[0],
        "bundle": change.key[1],
        "workspace": workspace,
        "repo": spec.repo,
        "generation": 0,
        **want_columns(want),
        "removed": False,
        "state": State.PENDING.value,
        "applied": 0,
        "reported": 0,
        "reported_at": "",
        "message": "",
        "report": b"",
        "staged": key_of(want),
        **unplaced(change.key),
    }


def unplaced(key: Key) -> dict[str, int]:
    """A row that is new: its place in the order is for good, its partition is told when somebody
    decides.
    """
    return {"partition": NOWHERE, "position": place(key[1], key[0])}


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """One that was being removed starts anew: its tombstone goes, and what runs is taken over. That
    it was told something stays written down (the generation below 0), so that it gets a tombstone
    again when nobody wants it after all.
    """
    from sqlalchemy.dialects.sqlite import insert

    adding = insert(deployments)
    gone = deployments.c.removed
    values: dict[str, Any] = {
        name: sa.case((gone, adding.excluded[name]), else_=deployments.c[name]) for name in _SAID
    }
    values["generation"] = sa.case(
        (gone, -deployments.c.generation), else_=deployments.c.generation
    )
    values["partition"] = sa.case((gone, NOWHERE), else_=deployments.c.partition)
    values |= {"staged": adding.excluded.staged, "removed": False}
    many(
        connection,
        adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=values),
        rows,
    )


# What was said of the one that was being removed, and whose it was.
_SAID = (
    "repo",
    "state",
    "applied",
    "reported",
    "reported_at",
    "message",
    "report",
    "cause",
    "tally",
)


def begin(connection: Connection, workspace: Workspace, spec: BundleSpec, now: str) -> None:
    """The bundle's rollout, for its version of now; one that a person has paused stays paused."""
    b, r = bundles.c, rollouts.c
    version = (
        connection.execute(
            sa.select(b.generation).where(b.workspace == workspace, b.name == spec.name)
        ).scalar()
        or 0
    )
    where = (r.workspace == workspace) & (r.bundle == spec.name)
    old = connection.execute(sa.select(r.version, r.phase, r.reason).where(where)).one_or_none()
    if old is not None and old.version == version:
        connection.execute(sa.update(rollouts).where(where).values(dirty=ANEW))
        return
    paused = old is not None and old.phase == Phase.PAUSED.value
    values = {
        "version": version,
        "commit": spec.commit,
        "begun": now,
        "phase": Phase.PAUSED.value if paused else Phase.PROGRESSING.value,
        "reason": old.reason if old is not None and paused else "",
        "waiting": "",
        "ignoring": "",
        "steps": b"[]",
        "counts": b"[]",
        "wake": 0.0,
        "dirty": ANEW,
    }
    if old is None:
        connection.execute(
            sa.insert(rollouts),
            {"workspace": workspace, "bundle": spec.name, "shape": b"null", "silent": 0, **values},
        )
    else:
        connection.execute(sa.update(rollouts).where(where).values(**values))


def resume(connection: Connection, workspace: Workspace, bundle: BundleName) -> bool:
    """A person who goes back means it, though the rollout was paused before: whether a pause has
    ended.
    """
    r = rollouts.c
    where = (r.workspace == workspace) & (r.bundle == bundle) & (r.phase == Phase.PAUSED.value)
    return (
        connection.execute(
            sa.update(rollouts).where(where).values(phase=Phase.PROGRESSING.value, reason="")
        ).rowcount
        > 0
    )


def wave(connection: Connection, workspace: Workspace, names: Iterable[str]) -> None:
    """Clusters of these bundles get something else under the same version (a Secret that is copied,
    a group's customization): partition after partition, as for a version. A rollout that has failed
    or was aborted goes on holding.
    """
    r = rollouts.c
    stopped = (Phase.FAILED.value, Phase.ABORTED.value)
    phase = sa.case((r.phase == Phase.COMPLETED.value, Phase.PROGRESSING.value), else_=r.phase)
    for part in in_parts(sorted(names)):
        where = (r.workspace == workspace) & r.bundle.in_(part) & r.phase.not_in(stopped)
        connection.execute(
            sa.update(rollouts).where(where).values(phase=phase, steps=b"[]", wake=0.0, dirty=ANEW)
        )


def forget(connection: Connection, workspace: Workspace, gone: Iterable[BundleName]) -> None:
    """Bundles that are no more have no rollout."""
    for table in (rollouts, passes):
        for part in in_parts(sorted(gone)):
            connection.execute(
                sa.delete(table).where(table.c.workspace == workspace, table.c.bundle.in_(part))
            )


def touch(connection: Connection, workspace: str, names: Iterable[str], how: int = AGAIN) -> bool:
    """Something that the rollouts of these bundles look at has changed. Whether there are any."""
    rows = [{"space": workspace, "named": name, "how": how} for name in sorted(names)]
    return bool(rows) and connection.execute(_TOUCHED, rows).rowcount > 0


def touch_clusters(connection: Connection, workspace: str, ids: Iterable[str]) -> set[str]:
    """These clusters are not what they were (heard, paused, gone): the rollouts of what they have
    are looked at again. Their bundles.
    """
    d = deployments.c
    names: set[str] = set()
    for part in in_parts(sorted(ids)):
        names |= set(
            connection.execute(
                sa.select(d.bundle).distinct().where(d.cluster_id.in_(part), ~d.removed)
            ).scalars()
        )
    touch(connection, workspace, names)
    return names


def unmade(connection: Connection, workspace: str, names: Iterable[str]) -> set[BundleName]:
    """Those of the bundles whose partitions nobody has made yet as they are wanted now."""
    r, found = rollouts.c, set[BundleName]()
    for part in in_parts(sorted(names)):
        query = sa.select(r.bundle).where(
            r.workspace == workspace, r.bundle.in_(part), r.dirty >= ANEW
        )
        found |= {BundleName(name) for name in connection.execute(query).scalars()}
    return found


def displace(
    connection: Connection, workspace: str, ids: Collection[str], names: Iterable[str]
) -> None:
    """These clusters may belong to other partitions of these bundles now."""
    d = deployments.c
    for part in in_parts(sorted(ids)):
        for some in in_parts(sorted(names)):
            where = d.cluster_id.in_(part) & d.bundle.in_(some) & ~d.removed & ~d.kept
            connection.execute(sa.update(deployments).where(where).values(partition=NOWHERE))
    touch(connection, workspace, names, ANEW)


def held_archives(connection: Connection) -> set[str]:
    """Of versions that are held back, which may be none of the bundles' own any more."""
    return {
        msgspec.json.decode(text, type=Want).archive
        for text in connection.execute(sa.select(wants.c.json)).scalars()
    }


def sweep(connection: Connection) -> None:
    """Versions that nobody waits for any more go."""
    used = sa.select(deployments.c.staged).where(deployments.c.staged != "")
    connection.execute(sa.delete(wants).where(wants.c.key.not_in(used)))
