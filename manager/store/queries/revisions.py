"""Reads the revisions of bundles and the deployments that were told each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.status import State

from ..bulk import in_parts
from ..connection import Reader
from ..keys import BundleKey
from ..schema import bundles, deployments, revisions


class RevisionRow(msgspec.Struct, frozen=True):
    """One revision without its spec. `recorded_at`: when the manager read it from Git, RFC 3339."""

    number: int
    commit: str
    author: str
    subject: str
    recorded_at: str
    archive: str


class BundleVersion(msgspec.Struct, frozen=True):
    """The generation of a bundle and the revision that it is pinned to (0: none)."""

    generation: int
    pin: int


class Delivery(msgspec.Struct, frozen=True):
    """What a cluster was told: by which decision, and which content."""

    decision: int
    archive: str
    commit: str


def bundle_versions(
    reader: Reader, workspace: Workspace, names: Sequence[BundleName]
) -> dict[BundleName, BundleVersion]:
    b = bundles.c
    query = sa.select(b.name, b.generation, b.pinned_revision).where(b.workspace == workspace)
    return {
        BundleName(row.name): BundleVersion(row.generation, row.pinned_revision)
        for part in in_parts(names)
        for row in reader.execute(query.where(b.name.in_(part)))
    }


def revision_of_pin(reader: Reader, bundle: BundleKey) -> int | None:
    """The revision that the bundle is pinned to, 0 for none. None if the bundle does not exist."""
    b = bundles.c
    query = sa.select(b.pinned_revision).where(b.workspace == bundle[0], b.name == bundle[1])
    number: int | None = reader.execute(query).scalar()
    return number


def current_revision(reader: Reader, bundle: BundleKey) -> int:
    """The revision that clusters should have now, 0 if the bundle has no revision."""
    r = revisions.c
    newest = sa.select(sa.func.max(r.number)).where(r.workspace == bundle[0], r.bundle == bundle[1])
    return revision_of_pin(reader, bundle) or reader.execute(newest).scalar() or 0


def list_revisions(reader: Reader, bundle: BundleKey) -> list[RevisionRow]:
    """All revisions of the bundle, the newest first."""
    r = revisions.c
    query = (
        sa.select(r.number, r.commit, r.author, r.subject, r.recorded_at, r.archive)
        .where(r.workspace == bundle[0], r.bundle == bundle[1])
        .order_by(r.number.desc())
    )
    return [RevisionRow(*row) for row in reader.execute(query)]


def revision_specs(reader: Reader, bundle: BundleKey) -> dict[int, BundleSpec]:
    """The spec of each revision of the bundle, in ascending order of the numbers."""
    r = revisions.c
    query = (
        sa.select(r.number, r.spec)
        .where(r.workspace == bundle[0], r.bundle == bundle[1])
        .order_by(r.number)
    )
    return {
        row.number: msgspec.json.decode(row.spec, type=BundleSpec) for row in reader.execute(query)
    }


def specs_by_revision(
    reader: Reader, workspace: Workspace, keys: Collection[tuple[BundleName, int]]
) -> dict[tuple[BundleName, int], BundleSpec]:
    """The specs of single revisions; a revision that does not exist is left out."""
    r = revisions.c
    query = sa.select(r.bundle, r.number, r.spec).where(r.workspace == workspace)
    return {
        (BundleName(row.bundle), row.number): msgspec.json.decode(row.spec, type=BundleSpec)
        for part in in_parts(sorted(keys))
        for row in reader.execute(query.where(sa.tuple_(r.bundle, r.number).in_(part)))
    }


def revision_archives(reader: Reader) -> set[str]:
    """The digests of all archives that a rollback needs."""
    return set(reader.execute(sa.select(revisions.c.archive)).scalars())


def count_deliveries(reader: Reader, bundle: BundleKey) -> dict[Delivery, int]:
    """How many clusters were last told each version of the bundle."""
    d = deployments.c
    columns = (d.decision, d.archive, d.commit)
    query = sa.select(*columns, sa.func.count()).where(_is_delivered(bundle)).group_by(*columns)
    return {Delivery(*row[:3]): row[3] for row in reader.execute(query)}


def ready_deliveries(reader: Reader, bundle: BundleKey) -> list[tuple[ClusterId, Delivery]]:
    """What each cluster on which the bundle is Ready was last told."""
    d = deployments.c
    query = sa.select(d.cluster_id, d.decision, d.archive, d.commit).where(
        _is_delivered(bundle), d.state == State.READY.value
    )
    return [(ClusterId(row[0]), Delivery(*row[1:])) for row in reader.execute(query)]


def _is_delivered(bundle: BundleKey) -> sa.ColumnElement[bool]:
    d = deployments.c
    return sa.and_(d.workspace == bundle[0], d.bundle == bundle[1], ~d.is_removed, d.generation > 0)
