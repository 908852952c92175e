"""Writes the revisions of bundles and deletes those that nobody needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..bulk import in_parts
from ..connection import Writer
from ..schema import pins, revisions, rollouts


class NewRevision(msgspec.Struct, frozen=True):
    """A revision to store. `spec`: JSON; `content_digest`: equal for equal contents; `pin`: the
    revision that the bundle is pinned to, 0 for none.
    """

    bundle: BundleName
    number: int
    commit: str
    author: str
    subject: str
    archive: str
    spec: bytes
    content_digest: str
    pin: int


class Retention(msgspec.Struct, frozen=True):
    """Which old revisions stay: the newest `contents` different ones, and of those that are not
    older than `since` (RFC 3339) the newest `total`.
    """

    contents: int
    total: int
    since: str


_SPACE: Any = sa.bindparam("space")
_NAME: Any = sa.bindparam("named")
_INSERT = sa.insert(revisions).prefix_with("OR REPLACE")


def store_revisions(
    writer: Writer,
    workspace: Workspace,
    rows: Sequence[NewRevision],
    retention: Retention,
    now: str,
) -> None:
    """Insert the revisions and delete the old ones of their bundles. A revision that is pinned or
    was the last good one stays.
    """
    head = {"workspace": workspace, "recorded_at": now}
    values = [head | _columns(row) for row in rows]
    if not values:
        return
    writer.execute(_INSERT, values)
    limits = {"space": workspace, "since": retention.since}
    bundles = [limits | {"named": row.bundle, "pinned": row.pin} for row in rows]
    writer.execute(_delete_old(retention), bundles)


def _columns(row: NewRevision) -> dict[str, object]:
    columns = msgspec.structs.asdict(row)
    del columns["pin"]
    return columns


def _delete_old(retention: Retention) -> sa.Delete:
    """Deletes all revisions of a bundle but those to keep."""
    r = revisions.c
    bundle = (r.workspace == _SPACE) & (r.bundle == _NAME)
    newest = sa.func.max(r.number)
    content = sa.case(
        (r.content_digest == "", sa.cast(r.number, sa.String)), else_=r.content_digest
    )
    newest_of_contents = (
        sa.select(newest)
        .where(bundle)
        .group_by(content)
        .order_by(newest.desc())
        .limit(retention.contents)
    )
    newest_of_all = (
        sa.select(r.number).where(bundle).order_by(r.number.desc()).limit(retention.total)
    )
    pinned_by_clusters = sa.select(pins.c.number).where(
        pins.c.workspace == _SPACE, pins.c.bundle == _NAME
    )
    last_good = sa.select(rollouts.c.last_good_revision).where(
        rollouts.c.workspace == _SPACE, rollouts.c.bundle == _NAME
    )
    is_needed = sa.or_(
        r.number == sa.bindparam("pinned"),
        r.number.in_(pinned_by_clusters),
        r.number.in_(last_good),
        r.number.in_(newest_of_contents),
        (r.recorded_at >= sa.bindparam("since")) & r.number.in_(newest_of_all),
    )
    return sa.delete(revisions).where(bundle, ~is_needed)


def delete_revisions(writer: Writer, workspace: Workspace, names: Iterable[BundleName]) -> None:
    """Delete all revisions of the bundles."""
    r = revisions.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(revisions).where(r.workspace == workspace, r.bundle.in_(part)))
