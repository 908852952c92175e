"""Reads a list in pages.

Rule: a page begins after the last key of the page before, so every object that exists while all
pages are read is in exactly one of them. A page reads at most `_MAX_ROWS` rows; if the filters
select few of them, it has fewer objects than its limit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fleetctl.core.model.cluster import matches
from fleetctl.core.model.errors import UsageError

from ..presence import PresenceTable
from ..store.connection import Reader
from ..store.counts import count_deployments
from ..store.keys import KeyRange
from ..store.queries import shown_labels
from ..store.queries.objects import count_objects
from . import clusters, marks
from .metadata import Document, ListFilter
from .objects import list_kind, parse_filters
from .states import FleetView, fleet_view

MAX_PAGE, DEFAULT_PAGE = 1000, 500
_MAX_ROWS = 10_000


@dataclass(frozen=True)
class PageRequest:
    """At most `limit` objects, after those of the page that returned `token` ("": the first)."""

    limit: int = DEFAULT_PAGE
    token: str = ""


@dataclass(frozen=True)
class ListPage:
    """A part of a list. `token` requests the next page, "" at the end. `remaining`: how many
    objects follow, None if that is not known because the list is filtered.
    """

    items: list[Document]
    token: str = ""
    remaining: int | None = None


class ListCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token holds: the digest of the kind and the filters, how many objects came before,
    and the key of the last one.
    """

    digest: str
    position: int
    key: tuple[str, ...]


def list_page(
    reader: Reader,
    live: PresenceTable,
    kind: str,
    query: ListFilter,
    request: PageRequest,
    now: float,
) -> ListPage:
    """One page of the objects of `kind`, sorted by workspace and name (deployments: workspace,
    cluster and bundle). Raises UsageError on a wrong selector or token.
    """
    digest = _digest(kind, query)
    cursor = _decode(request.token, digest) if request.token else ListCursor(digest, 0, ())
    fleet = fleet_view(reader, live, now, query.workspace)
    items, key = _read_items(fleet, kind, query, cursor.key, request.limit)
    if not key:
        return ListPage(items)
    position = cursor.position + len(items)
    token = _encode(ListCursor(digest, position, key))
    return ListPage(items, token, _count_remaining(reader, kind, query, position))


def _read_items(
    fleet: FleetView, kind: str, query: ListFilter, key: tuple[str, ...], limit: int
) -> tuple[list[Document], tuple[str, ...]]:
    """The objects after `key`, and the key after which the next page begins, () at the end."""
    selector, query = parse_filters(kind, query)
    items: list[Document] = []
    size, rows = limit + 1, 0  # one row more than needed tells whether a page follows
    while len(items) <= limit and rows < _MAX_ROWS:
        chunk = replace(query, keys=KeyRange(key, size))
        documents, key = _read_chunk(fleet, kind, chunk, selector)
        items += [item for item in documents if _is_selected(item, selector, query)]
        rows += size
        if not key:
            break
    if len(items) > limit:
        return items[:limit], _key_of(items[limit - 1])
    return items, key


def _read_chunk(
    fleet: FleetView, kind: str, query: ListFilter, selector: Mapping[str, Any]
) -> tuple[list[Document], tuple[str, ...]]:
    """The documents of the range, and the key of its last row, () if the list ends there."""
    keys: list[tuple[str, ...]]
    if kind == "Cluster":
        # labels are compared before documents are built, which costs ten times as much
        rows = clusters.read_rows(fleet, query)
        keys = [(row.workspace, row.name) for row in rows]
        rows = [
            row
            for row in rows
            if matches(selector, shown_labels(row.name, msgspec.json.decode(row.labels)))
        ]
        documents = clusters.build_clusters(fleet, query, rows)
        marks.add_marks(fleet, kind, documents)
    else:
        documents = list_kind(fleet, kind, query)
        keys = [_key_of(item) for item in documents]
    return documents, keys[-1] if len(keys) == query.keys.limit else ()


def _is_selected(item: Document, selector: Mapping[str, Any], query: ListFilter) -> bool:
    return matches(selector, item["metadata"].get("labels") or {}) and query.has_state(item)


def _key_of(item: Document) -> tuple[str, ...]:
    workspace = item["metadata"]["namespace"]
    if item["kind"] == "BundleDeployment":
        return workspace, item["spec"]["cluster"], item["spec"]["bundle"]
    return workspace, item["metadata"]["name"]


def _count_remaining(reader: Reader, kind: str, query: ListFilter, position: int) -> int | None:
    """How many objects follow the first `position`; at least 1, because a page follows."""
    if query.is_filtered:
        return None
    if kind == "BundleDeployment":
        total = sum(count_deployments(reader, query.workspace).values())
    else:
        total = count_objects(reader, kind, query.workspace)
    return max(1, total - position)


def _digest(kind: str, query: ListFilter) -> str:
    """A token belongs to one kind and one set of filters."""
    text = msgspec.json.encode((kind, replace(query, keys=KeyRange())))
    return hashlib.sha256(text).hexdigest()[:16]


def _encode(cursor: ListCursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _decode(token: str, digest: str) -> ListCursor:
    """Raises UsageError for a token that is damaged or belongs to another list."""
    step = "Request the first page again, without `continue`."
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        cursor = msgspec.json.decode(data, type=ListCursor)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        summary = "`continue` is not a token of this manager"
        raise UsageError(summary, subject="continue", next_step=step) from error
    if cursor.digest != digest or cursor.position < 0 or len(cursor.key) not in {2, 3}:
        summary = "`continue` belongs to a list with another kind or other filters"
        raise UsageError(summary, subject="continue", next_step=step)
    return cursor
