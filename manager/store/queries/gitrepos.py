"""Reads what the last scans of GitRepos found."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Reader
from ..rows import columns_of, fetch_all
from ..schema import repos


class ScanRow(msgspec.Struct, frozen=True):
    """The last scan of a GitRepo. `error`, `problems` and `held` (the removals that wait for
    confirmation) are JSON.
    """

    workspace: str
    name: str
    commit: str
    scanned_generation: int
    scanned_at: str
    error: bytes
    problems: bytes
    held: bytes


def list_scans(reader: Reader, workspace: str | None = None, name: str = "") -> list[ScanRow]:
    """Without a workspace: of all workspaces; without a name: of all GitRepos."""
    r = repos.c
    query = sa.select(*columns_of(ScanRow, repos))
    if workspace:
        query = query.where(r.workspace == workspace)
    if name:
        query = query.where(r.name == name)
    return fetch_all(reader, query.order_by(r.workspace, r.name), ScanRow)


def scanned_commit(reader: Reader, workspace: Workspace, name: str) -> str:
    """Return the last commit whose bundles were taken over, or ""."""
    r = repos.c
    query = sa.select(r.commit).where(r.workspace == workspace, r.name == name)
    return reader.execute(query).scalar() or ""


class ScanRemoval(NamedTuple):
    """A removal that a scan found and that waits for a person. `removal`: as
    manager/ingest/apply_scan.py stored it.
    """

    workspace: str
    repo: str
    scanned_at: str
    removal: dict[str, Any]


def scan_removals(reader: Reader, workspace: str | None) -> list[ScanRemoval]:
    """Return the removals of scans that wait for a person, in a workspace or (None) in all."""
    r = repos.c
    query = (
        sa.select(r.workspace, r.name, r.scanned_at, r.held)
        .where(r.held != b"null")
        .order_by(r.workspace, r.name)
    )
    rows = reader.execute(query.where(r.workspace == workspace) if workspace else query)
    return [
        ScanRemoval(row.workspace, row.name, row.scanned_at, msgspec.json.decode(row.held))
        for row in rows
    ]


def repos_blocked_by_name(reader: Reader, workspace: Workspace, bundle: BundleName) -> list[str]:
    """Return the GitRepos whose last scan could not take over a bundle because its name was taken,
    or holds the removal of this bundle: a decision about the name may unblock them.
    """
    r = repos.c
    blocked = sa.cast(r.problems, sa.String).contains("name-taken") | sa.cast(
        r.held, sa.String
    ).contains(f'"{bundle}"')
    return list(
        reader.execute(sa.select(r.name).where(r.workspace == workspace, blocked)).scalars()
    )
