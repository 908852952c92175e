"""What people read: rows as objects in Fleet's shape (docs/api.md). Counts are always the sum of
their parts.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cluster import matches, parse_selector

from ..agents.presence import Live
from ..rollout import schedules
from ..store.schema import objects, registrations
from . import bundles, clusters, gitrepos, marks, metadata, not_found, states
from .metadata import Asked, Document, display_state

_load = msgspec.json.decode
_Make = Callable[[states.Fleet, Asked], list[Document]]


def listing(
    connection: Connection, live: Live, kind: str, asked: Asked, now: float
) -> list[Document]:
    """The objects of `kind`, sorted by workspace and name. Raises UsageError on a wrong
    selector.
    """
    items = made(states.fleet(connection, live, now, asked.workspace), kind, asked)
    selector = parse_selector(asked.selector) if asked.selector else {}
    return [
        i
        for i in items
        if matches(selector, i["metadata"].get("labels") or {})
        and (not asked.states or display_state(i) in asked.states)
    ]


def made(whole: states.Fleet, kind: str, asked: Asked) -> list[Document]:
    """All of `kind`, whatever the selector and the states that are asked for."""
    make = _MADE.get(kind)
    if make is None:
        return _plain(whole.connection, kind, asked)
    items = make(whole, asked)
    marks.add(whole, kind, items)
    return items


def one(
    connection: Connection, live: Live, kind: str, workspace: str, name: str, now: float
) -> Document:
    """Raises NotFound."""
    found = listing(connection, live, kind, Asked(workspace=workspace, name=name), now)
    if not found:
        raise not_found.not_found(connection, kind, workspace, name)
    return found[0]


def _plain(connection: Connection, kind: str, asked: Asked) -> list[Document]:
    """Secret and ConfigMap are shown by keys and hashes only."""
    found = []
    for row in metadata.rows(connection, objects, asked, objects.c.kind == kind):
        if kind in {"Secret", "ConfigMap"}:
            extra = _load(row.extra)
            document = metadata.of_row(kind, row, None, None, **metadata.head(row))
            del document["spec"], document["status"]
            found.append(document | {"type": extra["type"], "data": extra["keys"]})
        else:
            found.append(metadata.of_row(kind, row, _load(row.spec), {}, **metadata.head(row)))
    return found


def _schedules(whole: states.Fleet, asked: Asked) -> list[Document]:
    rows = metadata.rows(whole.connection, objects, asked, objects.c.kind == "Schedule")
    found = schedules.status(whole.connection, rows, whole.now)
    return [
        metadata.of_row(
            "Schedule", row, _load(row.spec), found[row.workspace, row.name], **metadata.head(row)
        )
        for row in rows
    ]


def _registration_tokens(whole: states.Fleet, asked: Asked) -> list[Document]:
    """Each with the time when it expires and the enrolments that it still allows."""
    r = registrations.c
    limits = {
        (row.workspace, row.source): row
        for row in whole.connection.execute(sa.select(registrations).where(r.source != ""))
    }
    items = []
    for row in metadata.rows(
        whole.connection, objects, asked, objects.c.kind == "ClusterRegistrationToken"
    ):
        limit = limits.get((row.workspace, row.name))
        status = {"expires": limit.expires, "usesLeft": limit.uses} if limit else {}
        items.append(
            metadata.of_row(
                "ClusterRegistrationToken", row, _load(row.spec), status, **metadata.head(row)
            )
        )
    return items


_MADE: dict[str, _Make] = {
    "Cluster": clusters.clusters_of,
    "Bundle": bundles.bundles_of,
    "BundleDeployment": bundles.deployments_of,
    "GitRepo": gitrepos.repos_of,
    "ClusterGroup": clusters.groups_of,
    "Schedule": _schedules,
    "ClusterRegistrationToken": _registration_tokens,
}
