"""What people have put in a deployment's way, and how it ends: pauses, pins, removals that wait for
a yes.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.explain.deployment import Stop
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.rollout.decide import Phase

from ...reconcile.held_removals import Hold, list_holds
from ...store.schema import bundles, decisions, objects, repos, revisions, rollouts
from ...store.schema import pins as pins_table
from .. import held_removals

Place = tuple[Workspace, BundleName]


def pauses(connection: Connection, spec: BundleSpec, cluster: Any = None) -> list[Stop]:
    """The GitRepo's, the bundle's own in fleet.yaml, the cluster's, the rollout's."""
    found = []
    if spec.paused:
        o = objects.c
        query = sa.select(o.spec).where(
            o.kind == "GitRepo", o.workspace == spec.workspace, o.name == spec.repo
        )
        text = connection.execute(query).scalar()
        if text is not None and msgspec.json.decode(text).get("paused"):
            found.append(
                Stop(what=f"GitRepo {spec.repo}", command=f"fleetctl gitrepo resume {spec.repo}")
            )
        else:
            where = f"{spec.path}/fleet.yaml" if spec.path else "fleet.yaml"
            found.append(
                Stop(
                    what=f"bundle {spec.name}",
                    why=f"{where} says paused: true",
                    command=f"take `paused` out of {where}",
                )
            )
    found += of_cluster(cluster) if cluster is not None else []
    r = rollouts.c
    row = connection.execute(
        sa.select(rollouts).where(r.workspace == spec.workspace, r.bundle == spec.name)
    ).one_or_none()
    if row is not None and row.phase == Phase.PAUSED.value:
        said = _said(connection, (spec.workspace, spec.name), "pause")
        command = f"fleetctl rollout resume {spec.name}"
        found.append(
            Stop(
                what=f"rollout {spec.name}",
                why=row.reason,
                who=said["who"],
                since=said["at"],
                command=command,
            )
        )
    return found


def of_cluster(cluster: Any) -> list[Stop]:
    if not msgspec.json.decode(cluster.spec).get("paused"):
        return []
    return [Stop(what=f"cluster {cluster.name}", command=f"fleetctl cluster resume {cluster.name}")]


def pins(connection: Connection, place: Place, cluster: Any = None) -> list[Stop]:
    """The bundle's pin, and the cluster's own, which comes before it; of no cluster, how many have
    one.
    """
    b, p = bundles.c, pins_table.c
    row = connection.execute(
        sa.select(b.pinned, b.pin_reason, b.decision).where(
            b.workspace == place[0], b.name == place[1]
        )
    ).one()
    found = []
    if row.pinned:
        command = f"fleetctl rollback {place[1]} --release"
        found.append(
            _pin(
                connection,
                place,
                row.pinned,
                row.decision,
                what="bundle",
                why=row.pin_reason,
                command=command,
            )
        )
    mine = sa.select(p.number, p.decision, p.cluster_id).where(
        p.workspace == place[0], p.bundle == place[1], p.number > 0
    )
    if cluster is not None:
        own = connection.execute(mine.where(p.cluster_id == cluster.id)).one_or_none()
        if own is not None:
            command = f"fleetctl rollback {place[1]} --release --cluster {cluster.name}"
            found.append(
                _pin(
                    connection,
                    place,
                    own.number,
                    own.decision,
                    what="this cluster",
                    why="",
                    command=command,
                )
            )
    else:
        count = connection.execute(
            sa.select(sa.func.count()).select_from(mine.subquery())
        ).scalar_one()
        said = (
            "1 cluster has a revision of its own"
            if count == 1
            else f"{count} clusters have a revision of their own"
        )
        found += [Stop(what=said)] if count else []
    return found


def _pin(
    connection: Connection,
    place: Place,
    number: int,
    decision: int,
    *,
    what: str,
    why: str,
    command: str,
) -> Stop:
    r, d = revisions.c, decisions.c
    commit = (
        connection.execute(
            sa.select(r.commit).where(
                r.workspace == place[0], r.bundle == place[1], r.number == number
            )
        ).scalar()
        or ""
    )
    said = connection.execute(
        sa.select(decisions).where(d.workspace == place[0], d.bundle == place[1], d.id == decision)
    ).one_or_none()
    at = f" ({commit[:7]})" if commit else ""
    who, since = (said.who, said.at) if said is not None and said.number == number else ("", "")
    reason = why or (said.reason if said is not None else "")
    return Stop(
        what=f"{what} to revision {number}{at}", why=reason, who=who, since=since, command=command
    )


def _said(connection: Connection, place: Place, cause: str) -> dict[str, str]:
    """Who said so last, and when."""
    d = decisions.c
    query = (
        sa.select(d.who, d.at)
        .where(d.workspace == place[0], d.bundle == place[1], d.cause == cause)
        .order_by(d.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return {"who": row.who, "at": row.at} if row else {"who": "", "at": ""}


def holds(connection: Connection, place: Place, repo: str, row: Any = None) -> list[Stop]:
    """Removals that wait for a person: from this cluster (a row of `deployments`) or from any, and
    of the bundle as a whole.
    """
    mine = (
        [one for one in list_holds(connection, place[0]) if one.bundle == place[1]]
        if row is None or row.kept
        else []
    )
    return [_hold(one) for one in mine] + _of_scan(connection, place, repo)


def _hold(one: Hold) -> Stop:
    return Stop(what="a removal", why=one.words, since=one.since, command=held_removals.let_go(one))


def _of_scan(connection: Connection, place: Place, repo: str) -> list[Stop]:
    r = repos.c
    text = connection.execute(
        sa.select(r.held).where(r.workspace == place[0], r.name == repo)
    ).scalar()
    held = msgspec.json.decode(text) if text else None
    if not held or place[1] not in held.get("bundles", []):
        return []
    move = next((one for one in held.get("moves") or [] if one["from"] == place[1]), None)
    if move is not None:
        return [
            Stop(what=f"GitRepo {repo}", why=move["message"], command=held_removals.say_moved(move))
        ]
    return [
        Stop(
            what=f"GitRepo {repo}",
            why=f"{held_removals.words(held)}, this one among them",
            command=held_removals.let_go_of_scan(repo, held),
        )
    ]
