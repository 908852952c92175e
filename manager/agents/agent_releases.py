"""Versions of the agent that were added here, and which cluster should run which.

Rule: the manager says which version and hands out the file; that it may run is said by a release
key that never lies here, and is checked by each agent. A file stands among the archives under its
SHA-256. With `most`, so many clusters of one command are under way at once: a place becomes free
only when its cluster runs the new version and says so, so that a version that does not come back
stops by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import MAX_BYTES, AgentRelease, check
from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import ClusterId, Digest

from ..clock import Clock, rfc3339
from ..store.archives import Archives
from ..store.engine import Store
from ..store.queries import next_generation, shown_labels
from ..store.schema import agent_releases, agent_wishes, clusters
from .presence import Live

QUEUED, WANTED = "queued", "wanted"
_ENDED = frozenset({"done", "failed", "refused"})
_FEW = 500
_FIELDS = AgentRelease.__struct_fields__


@dataclass(frozen=True)
class Asked:
    """Clusters by name, or by label. `version` "" takes the wish back; `most` like 5 or 10%, "" is
    all at once.
    """

    workspace: str
    names: Sequence[str] = ()
    selector: str = ""
    version: str = ""
    most: str = ""


class Releases:
    def __init__(self, store: Store, live: Live, archives: Archives, clock: Clock) -> None:
        self._store, self._live, self._archives, self._clock = store, live, archives, clock

    async def add(self, release: AgentRelease, data: bytes) -> dict[str, Any]:
        """Keep the file with what was signed of it; the same file again takes the new signature.
        Raises UsageError, Conflict.
        """
        check(release)
        _check_bytes(release, data)
        now = rfc3339(self._clock())
        await asyncio.to_thread(self._archives.add, [(Digest(release.sha256), data)])
        touched = await self._store.write(lambda connection: _add(connection, release, now))
        self._live.changed(touched)
        return _shown(release, now, 0)

    async def every(self) -> list[dict[str, Any]]:
        """By version; with how many clusters want each."""
        return await self._store.read(_list)

    async def delete(self, version: str) -> list[dict[str, Any]]:
        """Forget a version, for every platform. Raises NotFound, Conflict while a cluster wants
        it.
        """
        return await self._store.write(lambda connection: _delete(connection, version))

    async def wish(self, asked: Asked) -> dict[str, Any]:
        """All clusters that are asked for or none. Raises NotFound, UsageError."""
        now = rfc3339(self._clock())
        told, touched = await self._store.write(lambda connection: _wish(connection, asked, now))
        self._live.changed(touched)
        return told


def wish_of(connection: Connection, cluster: ClusterId) -> wire.AgentWish | None:
    """What stands in the cluster's document."""
    w, r = agent_wishes.c, agent_releases.c
    query = (
        sa.select(w.number, agent_releases)
        .join(agent_releases, r.sha256 == w.sha256)
        .where(w.cluster_id == cluster, w.state != QUEUED)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else wire.AgentWish(number=row.number, release=_release(row))


def may_fetch(connection: Connection, cluster: ClusterId, digest: str) -> bool:
    w = agent_wishes.c
    query = sa.select(w.number).where(
        w.cluster_id == cluster, w.sha256 == digest, w.state != QUEUED
    )
    return connection.execute(query).first() is not None


def take_upgrade(
    connection: Connection, cluster: ClusterId, upgrade: wire.AgentUpgrade | None, now: str
) -> set[ClusterId]:
    """What an agent says of its wish; the clusters whose turn it is when this one is done."""
    if upgrade is None:
        return set()
    w = agent_wishes.c
    where = (w.cluster_id == cluster) & (w.number == upgrade.wish) & (w.state != QUEUED)
    row = connection.execute(sa.select(w.state, w.message, w.number).where(where)).one_or_none()
    state = upgrade.state if upgrade.state in _ENDED else WANTED
    message = (
        upgrade.message
        if state in _ENDED
        else ": ".join(p for p in (upgrade.state, upgrade.message) if p)
    )[:512]
    if row is None or (row.state, row.message) == (state, message):
        return set()
    connection.execute(
        sa.update(agent_wishes).where(where).values(state=state, message=message, since=now)
    )
    return _admit(connection, row.number, now) if state == "done" and row.state != "done" else set()


def shown(
    connection: Connection, workspace: str | None, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By cluster id, what a cluster's `status.agent` says of its wish; those of a whole workspace
    when many are asked for.
    """
    w = agent_wishes.c
    query = sa.select(agent_wishes)
    if len(ids) <= _FEW:
        query = query.where(w.cluster_id.in_(ids))
    elif workspace:
        query = query.where(w.workspace == workspace)
    found = {}
    for row in connection.execute(query):
        upgrade = {
            "state": row.state,
            "message": row.message,
            "since": row.since,
            "number": row.number,
        }
        found[row.cluster_id] = {"wanted": row.version, "upgrade": upgrade}
    return found


def used(connection: Connection) -> set[str]:
    return set(connection.execute(sa.select(agent_releases.c.sha256)).scalars())


def _check_bytes(release: AgentRelease, data: bytes) -> None:
    if (
        len(data) > MAX_BYTES
        or len(data) != release.size
        or hashlib.sha256(data).hexdigest() != release.sha256
    ):
        summary = (
            f"the file is not the one that was signed: it has {len(data)} bytes, the signature"
            f" names {release.size}"
        )
        if len(data) == release.size:
            summary = "the file is not the one that was signed: its SHA-256 is another"
        raise UsageError(
            summary,
            subject=f"agent {release.version}",
            next_step="Sign this file, or give the one that was signed.",
        )


def _release(row: Any) -> AgentRelease:
    return AgentRelease(**{name: getattr(row, name) for name in _FIELDS})


def _add(connection: Connection, release: AgentRelease, now: str) -> set[ClusterId]:
    r = agent_releases.c
    where = (
        (r.version == release.version)
        & (r.python == release.python)
        & (r.platform == release.platform)
    )
    other = connection.execute(sa.select(r.sha256).where(where, r.sha256 != release.sha256)).first()
    if other is not None:
        step = (
            f"Give the new file a new version, or `fleetctl agent-release delete {release.version}`"
            " first."
        )
        summary = (
            f"version {release.version} for {release.runtime} is here already with other bytes"
        )
        raise Conflict(summary, subject=f"agent {release.version}", next_step=step)
    row = msgspec.structs.asdict(release)
    if connection.execute(
        sa.update(agent_releases).where(r.sha256 == release.sha256).values(**row)
    ).rowcount:
        wanting = connection.execute(
            sa.select(agent_wishes.c.cluster_id).where(agent_wishes.c.sha256 == release.sha256)
        ).scalars()
        return _issued(connection, wanting, now)
    connection.execute(sa.insert(agent_releases), {**row, "added": now})
    return set()


def _list(connection: Connection) -> list[dict[str, Any]]:
    w = agent_wishes.c
    query = (
        sa.select(w.sha256, sa.func.count())
        .join(clusters, clusters.c.id == w.cluster_id)
        .group_by(w.sha256)
    )
    wanted = {row[0]: row[1] for row in connection.execute(query)}
    rows = connection.execute(
        sa.select(agent_releases).order_by(agent_releases.c.added, agent_releases.c.version)
    )
    return [_shown(_release(row), row.added, wanted.get(row.sha256, 0)) for row in rows]


def _shown(release: AgentRelease, added: str, wanted: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"replacesNewer": release.replaces_newer} | msgspec.to_builtins(
        release
    )
    del fields["signature"]
    fields |= {"added": added, "wantedBy": wanted}
    return fields


def _delete(connection: Connection, version: str) -> list[dict[str, Any]]:
    found = [item for item in _list(connection) if item["version"] == version]
    if not found:
        step = "See `fleetctl agent-release list`."
        raise NotFound(
            f"there is no agent version {version[:80]}",
            subject=f"agent {version[:80]}",
            next_step=step,
        )
    wanted = sum(item["wantedBy"] for item in found)
    if wanted:
        many = "1 cluster wants" if wanted == 1 else f"{wanted} clusters want"
        step = (
            "Give them another version, or take the wish back with `fleetctl cluster upgrade-agent"
            " --off`."
        )
        raise Conflict(
            f"{many} agent version {version}", subject=f"agent {version}", next_step=step
        )
    connection.execute(sa.delete(agent_releases).where(agent_releases.c.version == version))
    return found


def _wish(connection: Connection, asked: Asked, now: str) -> tuple[dict[str, Any], set[ClusterId]]:
    _forget_gone(connection)
    rows = _asked_for(connection, asked)
    names = [row.name for row in rows]
    if not asked.version:
        touched = _take_back(connection, [row.id for row in rows], now)
        return {"version": "", "clusters": names, "wanted": [], "queued": []}, _issued(
            connection, touched, now
        )
    releases = [
        _release(row)
        for row in connection.execute(
            sa.select(agent_releases).where(agent_releases.c.version == asked.version)
        )
    ]
    if not releases:
        step = (
            "Add it with `fleetctl agent-release add FILE`, or see `fleetctl agent-release list`."
        )
        raise NotFound(
            f"there is no agent version {asked.version[:80]}",
            subject=f"agent {asked.version[:80]}",
            next_step=step,
        )
    fitting = {row.id: _fitting(row, releases) for row in rows}
    most, number = _most(asked.most, len(rows)), next_generation(connection)
    made = []
    for at, row in enumerate(rows):
        head = {
            "cluster_id": row.id,
            "workspace": row.workspace,
            "number": number,
            "most": most,
            "message": "",
            "since": now,
        }
        state = WANTED if not most or at < most else QUEUED
        made.append(
            head | {"version": asked.version, "sha256": fitting[row.id].sha256, "state": state}
        )
    touched = _take_back(connection, [row.id for row in rows], now)
    if made:
        connection.execute(sa.insert(agent_wishes), made)
    wanted = [name for name, row in zip(names, made, strict=True) if row["state"] == WANTED]
    told = {
        "version": asked.version,
        "clusters": names,
        "wanted": wanted,
        "queued": names[len(wanted) :],
        "number": number,
        "most": most,
    }
    return told, _issued(connection, touched | {row.id for row in rows}, now)


def _asked_for(connection: Connection, asked: Asked) -> list[Any]:
    """By name in their order, or by label in the order of names."""
    c = clusters.c
    query = (
        sa.select(c.id, c.name, c.workspace, c.labels, c.agent)
        .where(c.workspace == asked.workspace)
        .order_by(c.name)
    )
    rows = list(connection.execute(query))
    if asked.selector:
        selector = parse_selector(asked.selector)
        return [
            row
            for row in rows
            if matches(selector, shown_labels(row.name, msgspec.json.decode(row.labels)))
        ]
    known = {row.name: row for row in rows}
    for name in asked.names:
        if name not in known:
            step = f"See `fleetctl cluster list -n {asked.workspace}`."
            summary = f"Cluster {name[:80]} does not exist in workspace {asked.workspace}"
            raise NotFound(
                summary, subject=f"Cluster {asked.workspace}/{name[:80]}", next_step=step
            )
    return [known[name] for name in dict.fromkeys(asked.names)]


def _fitting(row: Any, releases: Sequence[AgentRelease]) -> AgentRelease:
    """The file for what the cluster's agent runs on; the only one there is for an agent that has
    not told it yet. Raises UsageError.
    """
    runtime = msgspec.json.decode(row.agent).get("runtime", "")
    found = [r for r in releases if str(r.runtime) == runtime] if runtime else list(releases)
    if len(found) == 1:
        return found[0]
    have = ", ".join(sorted(str(r.runtime) for r in releases))
    said = f"runs on {runtime}" if runtime else "has not told yet what it runs on"
    summary = f"cluster {row.name} {said}; version {releases[0].version} is here for {have}"
    raise UsageError(
        summary,
        subject=f"cluster {row.name}",
        next_step="Build the version there with `make agent`, sign and add it.",
    )


def _most(text: str, of: int) -> int:
    """0 is all. Raises UsageError."""
    number = text.removesuffix("%")
    if not text:
        return 0
    if not (
        number.isascii()
        and number.isdigit()
        and int(number[:9]) > 0
        and (not text.endswith("%") or int(number[:9]) <= 100)
    ):
        raise UsageError(
            f"{text[:40]!r} is neither a number of clusters nor a percentage",
            next_step="Write for example 5 or 10%.",
        )
    return max(1, of * int(number[:9]) // 100) if text.endswith("%") else int(number[:9])


def _take_back(connection: Connection, ids: Iterable[str], now: str) -> set[ClusterId]:
    """Wishes go; who waits in their places is let go on."""
    w = agent_wishes.c
    gone, numbers = set[ClusterId](), set[int]()
    for cluster in ids:
        number = connection.execute(
            sa.delete(agent_wishes).where(w.cluster_id == cluster).returning(w.number)
        ).scalar()
        if number is not None:
            gone.add(ClusterId(cluster))
            numbers.add(number)
    for number in numbers:
        gone |= _admit(connection, number, now)
    return gone


def _admit(connection: Connection, number: int, now: str) -> set[ClusterId]:
    """Fill the free places of one command. One that failed, or does not come back, keeps its
    place.
    """
    w = agent_wishes.c
    mine = w.number == number
    most = connection.execute(sa.select(w.most).where(mine, w.state == QUEUED).limit(1)).scalar()
    if most is None:
        return set()
    taken = connection.execute(
        sa.select(sa.func.count()).where(mine, w.state.not_in((QUEUED, "done")))
    ).scalar_one()
    query = (
        sa.select(w.cluster_id)
        .join(clusters, clusters.c.id == w.cluster_id)
        .where(mine, w.state == QUEUED)
        .order_by(clusters.c.name)
    )
    turn = connection.execute(query.limit(max(0, most - taken))).scalars().all()
    if turn:
        update = (
            sa.update(agent_wishes)
            .where(w.cluster_id == sa.bindparam("c"))
            .values(state=WANTED, since=now)
        )
        connection.execute(update, [{"c": cluster} for cluster in turn])
    return _issued(connection, turn, now)


def _issued(connection: Connection, which: Iterable[str], now: str) -> set[ClusterId]:
    """Their documents are made anew."""
    ids = {ClusterId(cluster) for cluster in which}
    if ids:
        update = sa.update(clusters).where(clusters.c.id == sa.bindparam("c")).values(issued=now)
        connection.execute(update, [{"c": cluster} for cluster in ids])
    return ids


def _forget_gone(connection: Connection) -> None:
    """Wishes of clusters that were deleted."""
    connection.execute(
        sa.delete(agent_wishes).where(agent_wishes.c.cluster_id.not_in(sa.select(clusters.c.id)))
    )
