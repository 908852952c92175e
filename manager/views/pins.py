"""How pins are shown: on the bundle, its rollout, its deployments and the clusters (docs/api.md).
Who looks at any of them must see that it does not follow Git, which revision it has instead, and by
whom and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.rollout.schedule import Verdict

from ..store.queries import in_parts
from ..store.schema import bundles, decisions, pins

_FEW, _SHOWN = 500, 3
Document = dict[str, Any]
_GOES = "is sent as soon as the budget of its partition and pauses allow"


@dataclass(frozen=True)
class Pin:
    """`own`: the cluster's, and not the bundle's."""

    number: int
    who: str
    reason: str
    at: str
    own: bool

    @property
    def words(self) -> str:
        return (
            f"pinned to revision {self.number}"
            + by(self.who)
            + (f" ({self.reason})" if self.reason else "")
        )

    def shown(self) -> Document:
        return {
            "number": self.number,
            "who": self.who,
            "reason": self.reason,
            "at": self.at,
            "of": "cluster" if self.own else "bundle",
        }


@dataclass(frozen=True)
class BundlePins:
    """Of one bundle: its own pin, and how many clusters have one of theirs, by number."""

    whole: Pin | None
    own: Sequence[tuple[int, int]] = ()

    def words(self, commit: str) -> str:
        git = f", Git is at {commit[:7]}" if commit else ""
        said = [f"{many(amount)} pinned to revision {number}" for number, amount in self.own]
        return "; ".join([*([f"{self.whole.words}{git}"] if self.whole else []), *said])


NONE = BundlePins(None)


def by(who: str) -> str:
    return f" by {who}" if who else ""


def many(amount: int) -> str:
    return f"{amount} cluster" + ("" if amount == 1 else "s")


def of_bundles(connection: Connection, workspace: str | None) -> dict[tuple[str, str], BundlePins]:
    """Those that are pinned, or of which clusters are."""
    p = pins.c
    query = sa.select(p.workspace, p.bundle, p.number, sa.func.count().label("n")).where(
        p.number > 0
    )
    query = query.group_by(p.workspace, p.bundle, p.number).order_by(p.number.desc())
    own: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in connection.execute(query.where(p.workspace == workspace) if workspace else query):
        own.setdefault((row.workspace, row.bundle), []).append((row.number, row.n))
    whole = _wholes(connection, workspace)
    return {key: BundlePins(whole.get(key), own.get(key, ())) for key in own.keys() | whole.keys()}


def _wholes(connection: Connection, workspace: str | None) -> dict[tuple[str, str], Pin]:
    b, d = bundles.c, decisions.c
    query = sa.select(b.workspace, b.name, b.pinned, b.pin_reason, d.who, d.at).where(b.pinned > 0)
    query = query.outerjoin(
        decisions, (d.workspace == b.workspace) & (d.bundle == b.name) & (d.id == b.decision)
    )
    rows = connection.execute(query.where(b.workspace == workspace) if workspace else query)
    return {
        (row.workspace, row.name): Pin(
            row.pinned, row.who or "", row.pin_reason, row.at or "", own=False
        )
        for row in rows
    }


def _owns(
    connection: Connection, workspace: str | None, ids: Sequence[str]
) -> dict[tuple[str, str], Pin]:
    """By cluster and bundle; those of a whole workspace when many are asked for."""
    p, d = pins.c, decisions.c
    query = sa.select(p.cluster_id, p.bundle, p.number, d.who, d.reason, d.at).where(p.number > 0)
    query = query.outerjoin(
        decisions, (d.workspace == p.workspace) & (d.bundle == p.bundle) & (d.id == p.decision)
    )
    if len(ids) <= _FEW:
        queries = [query.where(p.cluster_id.in_(part)) for part in in_parts(ids)]
    else:
        queries = [query.where(p.workspace == workspace) if workspace else query]
    rows = (row for one in queries for row in connection.execute(one))
    return {
        (row.cluster_id, row.bundle): Pin(
            row.number, row.who or "", row.reason or "", row.at or "", own=True
        )
        for row in rows
    }


def on_bundle(status: Document, found: BundlePins) -> None:
    """The pin stands first in the message."""
    said = found.words(status["commit"])
    status["pin"] = found.whole.shown() if found.whole else None
    status["pinnedClusters"] = [
        {"number": number, "clusters": amount} for number, amount in found.own
    ]
    status["display"]["message"] = "; ".join(filter(None, (said, status["display"]["message"])))


def on_rollout(status: Document, found: BundlePins) -> None:
    """What it waits for stands first."""
    status["pin"] = found.whole.shown() if found.whole else None
    status["pinnedClusters"] = [
        {"number": number, "clusters": amount} for number, amount in found.own
    ]
    status["display"]["message"] = "; ".join(
        filter(None, (status["display"]["message"], found.words("")))
    )


def on_deployments(
    connection: Connection,
    workspace: str | None,
    made: Sequence[tuple[Any, Document]],
    closed: Mapping[str, Verdict],
) -> None:
    """`made`: rows of `deployments`, and their documents; `closed`: the clusters outside their
    windows.
    """
    wholes = _wholes(connection, workspace)
    owns = _owns(connection, workspace, sorted({row.cluster_id for row, _ in made}))
    for row, document in made:
        status = document["status"]
        pin = owns.get((row.cluster_id, row.bundle)) or wholes.get((row.workspace, row.bundle))
        status["pin"] = pin.shown() if pin else None
        if pin is None:
            continue
        said, reason = status["message"], status["reason"]
        if pin.own and row.staged and row.generation > 0 and reason and reason["code"] == "held":
            window = closed.get(row.cluster_id)
            # whatever the rollout itself waits for
            said = reason["cause"] = window.why if window else _GOES
        status["message"] = "; ".join(filter(None, (said, pin.words)))


def on_clusters(
    connection: Connection, workspace: str | None, made: Sequence[tuple[str, Document]]
) -> None:
    """`made`: ids, and their documents. Only what a cluster has of its own is said here."""
    found: dict[str, list[str]] = {}
    for (cluster, bundle), pin in sorted(
        _owns(connection, workspace, [cluster for cluster, _ in made]).items()
    ):
        found.setdefault(cluster, []).append(f"{bundle} {pin.words}")
    for cluster, document in made:
        display, said = document["status"]["display"], found.get(cluster, [])
        more = [f"{len(said) - _SHOWN} more bundles are pinned"] if len(said) > _SHOWN else []
        display["message"] = "; ".join(filter(None, (display["message"], *said[:_SHOWN], *more)))
        document["status"]["pinnedBundles"] = len(said)
