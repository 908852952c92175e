"""Reads pins: revisions that bundles or clusters have in place of the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..bulk import in_parts
from ..connection import Reader
from ..keys import BundleKey
from ..schema import bundles, decisions, pins, revisions

# Up to this number of clusters the index by cluster is used, above it the primary key.
_FEW_CLUSTERS = 500

# So many clusters are read one by one; of more, all pins of the workspace are read.
_MAX_CLUSTERS = 500


class BundlePinCount(NamedTuple):
    """How many clusters have a pin to one revision of a bundle."""

    workspace: str
    bundle: str
    revision: int
    clusters: int


class BundlePin(NamedTuple):
    """The pin of a bundle as a whole, with the decision that made it ("" when it is not known)."""

    workspace: str
    bundle: str
    revision: int
    reason: str
    author: str
    decided_at: str


class ClusterPin(NamedTuple):
    """The pin of a bundle on one cluster, with the decision that made it ("" when it is not
    known).
    """

    cluster_id: str
    bundle: str
    revision: int
    reason: str
    author: str
    decided_at: str


class PinOrigin(NamedTuple):
    """A pin with the id of the decision that made it and the commit of its revision ("" when it is
    not known).
    """

    revision: int
    decision: int
    reason: str
    commit: str


def count_cluster_pins(
    reader: Reader, workspace: str | None, bundle: str = ""
) -> list[BundlePinCount]:
    """By bundle and revision, the newest revision first. An empty filter selects all."""
    p = pins.c
    query = (
        sa.select(p.workspace, p.bundle, p.number, sa.func.count())
        .where(p.number > 0)
        .group_by(p.workspace, p.bundle, p.number)
        .order_by(p.number.desc())
    )
    if workspace:
        query = query.where(p.workspace == workspace)
    if bundle:
        query = query.where(p.bundle == bundle)
    return [BundlePinCount(*row) for row in reader.execute(query)]


def list_bundle_pins(reader: Reader, workspace: str | None) -> list[BundlePin]:
    b, d = bundles.c, decisions.c
    its_decision = (d.workspace == b.workspace) & (d.bundle == b.name) & (d.id == b.decision)
    query = (
        sa.select(b.workspace, b.name, b.pinned_revision, b.pin_reason, d.person, d.decided_at)
        .where(b.pinned_revision > 0)
        .outerjoin(decisions, its_decision)
    )
    if workspace:
        query = query.where(b.workspace == workspace)
    return [BundlePin(*row[:4], row[4] or "", row[5] or "") for row in reader.execute(query)]


def list_cluster_pins(
    reader: Reader, workspace: str | None, ids: Sequence[str]
) -> list[ClusterPin]:
    """The pins of these clusters at least. `workspace`: the one of all of them, if it is one."""
    p, d = pins.c, decisions.c
    its_decision = (d.workspace == p.workspace) & (d.bundle == p.bundle) & (d.id == p.decision)
    query = (
        sa.select(p.cluster_id, p.bundle, p.number, d.reason, d.person, d.decided_at)
        .where(p.number > 0)
        .outerjoin(decisions, its_decision)
    )
    if len(ids) <= _MAX_CLUSTERS:
        queries = [query.where(p.cluster_id.in_(part)) for part in in_parts(ids)]
    else:
        queries = [query.where(p.workspace == workspace) if workspace else query]
    return [
        ClusterPin(*row[:3], row[3] or "", row[4] or "", row[5] or "")
        for part_query in queries
        for row in reader.execute(part_query)
    ]


def find_bundle_pin(reader: Reader, workspace: str, bundle: str) -> PinOrigin | None:
    """The pin of the bundle as a whole."""
    b, r = bundles.c, revisions.c
    its_revision = (
        (r.workspace == b.workspace) & (r.bundle == b.name) & (r.number == b.pinned_revision)
    )
    query = (
        sa.select(b.pinned_revision, b.decision, b.pin_reason, r.commit)
        .outerjoin(revisions, its_revision)
        .where(b.workspace == workspace, b.name == bundle, b.pinned_revision > 0)
    )
    row = reader.execute(query).one_or_none()
    return None if row is None else PinOrigin(row[0], row[1], row[2], row[3] or "")


def find_cluster_pin(
    reader: Reader, workspace: str, bundle: str, cluster_id: str
) -> PinOrigin | None:
    """The pin of the bundle on one cluster; its reason is the decision's."""
    p, r = pins.c, revisions.c
    its_revision = (r.workspace == p.workspace) & (r.bundle == p.bundle) & (r.number == p.number)
    query = (
        sa.select(p.number, p.decision, r.commit)
        .outerjoin(revisions, its_revision)
        .where(p.workspace == workspace, p.bundle == bundle, p.cluster_id == cluster_id)
        .where(p.number > 0)
    )
    row = reader.execute(query).one_or_none()
    return None if row is None else PinOrigin(row[0], row[1], "", row[2] or "")


class PinRow(msgspec.Struct, frozen=True):
    """The pin of one cluster. `number` 0: the cluster was released by `decision` and follows the
    bundle.
    """

    bundle: BundleName
    cluster_id: ClusterId
    number: int
    decision: int


class PinCount(msgspec.Struct, frozen=True):
    """How many clusters are pinned to revision `number`."""

    number: int
    clusters: int


class BundleHead(msgspec.Struct, frozen=True):
    """The revision that a bundle is pinned to (0: none) and the decision that its clusters
    follow.
    """

    pin: int = 0
    decision: int = 0


def bundle_heads(
    reader: Reader, workspace: Workspace, names: Sequence[BundleName]
) -> dict[BundleName, BundleHead]:
    b = bundles.c
    query = sa.select(b.name, b.pinned_revision, b.decision).where(b.workspace == workspace)
    return {
        BundleName(row.name): BundleHead(row.pinned_revision, row.decision)
        for part in in_parts(names)
        for row in reader.execute(query.where(b.name.in_(part)))
    }


def cluster_pins(
    reader: Reader,
    workspace: Workspace,
    names: Sequence[BundleName],
    clusters: Sequence[ClusterId],
) -> list[PinRow]:
    """The pins of `clusters` for the bundles `names`. May return pins of other clusters, since a
    large set of clusters is not part of the statement.
    """
    p = pins.c
    query = sa.select(p.bundle, p.cluster_id, p.number, p.decision).where(p.workspace == workspace)
    if len(clusters) <= _FEW_CLUSTERS:
        queries = [query.where(p.cluster_id.in_(clusters))]
    else:
        queries = [query.where(p.bundle.in_(part)) for part in in_parts(names)]
    bundle_names = set(names)
    return [
        PinRow(BundleName(row.bundle), ClusterId(row.cluster_id), row.number, row.decision)
        for statement in queries
        for row in reader.execute(statement)
        if row.bundle in bundle_names
    ]


def pin_numbers(reader: Reader, bundle: BundleKey) -> dict[ClusterId, int]:
    """The clusters that have a pin, and the revision of each."""
    p = pins.c
    query = sa.select(p.cluster_id, p.number).where(
        p.workspace == bundle[0], p.bundle == bundle[1], p.number > 0
    )
    return {ClusterId(row.cluster_id): row.number for row in reader.execute(query)}


def clusters_with_pins(reader: Reader, bundle: BundleKey, limit: int) -> list[ClusterId]:
    """At most `limit` clusters that have a pin or were just released from one."""
    p = pins.c
    query = (
        sa.select(p.cluster_id).where(p.workspace == bundle[0], p.bundle == bundle[1]).limit(limit)
    )
    return [ClusterId(cluster) for cluster in reader.execute(query).scalars()]


def pin_counts(reader: Reader, bundle: BundleKey) -> list[PinCount]:
    """How many clusters of the bundle have a pin, by revision in ascending order."""
    p = pins.c
    query = sa.select(p.number, sa.func.count().label("clusters")).where(
        p.workspace == bundle[0], p.bundle == bundle[1], p.number > 0
    )
    rows = reader.execute(query.group_by(p.number).order_by(p.number))
    return [PinCount(row.number, row.clusters) for row in rows]
