"""Lists stored objects as documents in Fleet's shape (docs/api.md). Counts are always the sum of
their parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from fleetctl.core.model.cluster import matches, parse_selector

from ..presence import PresenceTable
from ..rollout import schedules
from ..store.connection import Reader
from ..store.queries.objects import ObjectRow, list_objects, registration_limits
from . import bundles, clusters, deployments, gitrepos, marks
from .metadata import Document, ListFilter, build_document
from .not_found import not_found
from .states import FleetView, fleet_view

_ListKind = Callable[[FleetView, ListFilter], list[Document]]


def list_documents(
    reader: Reader, live: PresenceTable, kind: str, query: ListFilter, now: float
) -> list[Document]:
    """The objects of `kind`, sorted by workspace and name. Raises UsageError on a wrong
    selector.
    """
    selector, query = parse_filters(kind, query)
    items = list_kind(fleet_view(reader, live, now, query.workspace), kind, query)
    return [
        item
        for item in items
        if matches(selector, item["metadata"].get("labels") or {}) and query.has_state(item)
    ]


def parse_filters(kind: str, query: ListFilter) -> tuple[Document, ListFilter]:
    """The parsed selector, and the filters with what the database can select of it. Raises
    UsageError.
    """
    selector = parse_selector(query.selector) if query.selector else {}
    if kind == "BundleDeployment" and not query.bundle:
        # the database selects one bundle of many; the selector would read all of them
        bundle = selector.get("matchLabels", {}).get(deployments.BUNDLE_LABEL, "")
        query = replace(query, bundle=bundle)
    return selector, query


def list_kind(fleet: FleetView, kind: str, query: ListFilter) -> list[Document]:
    """All objects of `kind`; the selector and the states of `query` are ignored."""
    list_function = _LIST_FUNCTIONS.get(kind)
    if list_function is None:
        return _list_plain(fleet.reader, kind, query)
    items = list_function(fleet, query)
    marks.add_marks(fleet, kind, items)
    return items


def get_document(
    reader: Reader, live: PresenceTable, kind: str, workspace: str, name: str, now: float
) -> Document:
    """One object. Raises NotFound."""
    items = list_documents(reader, live, kind, ListFilter(workspace=workspace, name=name), now)
    if not items:
        raise not_found(reader, kind, workspace, name)
    return items[0]


def _list_plain(reader: Reader, kind: str, query: ListFilter) -> list[Document]:
    """Objects without a status."""
    rows = list_objects(reader, kind, query.workspace, query.name, query.keys)
    if kind in {"Secret", "ConfigMap"}:
        return [_secret_document(kind, row) for row in rows]
    return [build_document(kind, row, msgspec.json.decode(row.spec), {}) for row in rows]


def _secret_document(kind: str, row: ObjectRow) -> Document:
    """A Secret or ConfigMap: keys and hashes only, never values."""
    extra = msgspec.json.decode(row.extra)
    document = build_document(kind, row, None, None)
    del document["spec"], document["status"]
    return document | {"type": extra["type"], "data": extra["keys"]}


def _list_schedules(fleet: FleetView, query: ListFilter) -> list[Document]:
    rows = list_objects(fleet.reader, "Schedule", query.workspace, query.name, query.keys)
    statuses = schedules.status(fleet.reader, rows, fleet.now)
    return [
        build_document(
            "Schedule", row, msgspec.json.decode(row.spec), statuses[row.workspace, row.name]
        )
        for row in rows
    ]


def _list_registration_tokens(fleet: FleetView, query: ListFilter) -> list[Document]:
    """Each with the time when it expires and the enrolments that it still allows."""
    kind = "ClusterRegistrationToken"
    limits = registration_limits(fleet.reader)
    items = []
    for row in list_objects(fleet.reader, kind, query.workspace, query.name, query.keys):
        limit = limits.get((row.workspace, row.name))
        status = {"expires": limit.expires_at, "usesLeft": limit.remaining_uses} if limit else {}
        items.append(build_document(kind, row, msgspec.json.decode(row.spec), status))
    return items


_LIST_FUNCTIONS: dict[str, _ListKind] = {
    "Cluster": clusters.list_clusters,
    "Bundle": bundles.list_bundles,
    "BundleDeployment": deployments.list_deployments,
    "GitRepo": gitrepos.list_gitrepos,
    "ClusterGroup": clusters.list_groups,
    "Schedule": _list_schedules,
    "ClusterRegistrationToken": _list_registration_tokens,
}
