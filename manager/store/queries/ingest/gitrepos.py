"""Reads what the last scans of GitRepos found."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ...connection import Reader
from ...rows import columns_of, fetch_all
from ...schema import objects, repos

_KIND = "GitRepo"


class ScanRow(msgspec.Struct, frozen=True):
    """The last scan of a GitRepo. `error`, `problems` and `held_removal` (the removals that wait
    for confirmation) are JSON.
    """

    workspace: str
    name: str
    commit: str
    scanned_generation: int
    scanned_at: str
    error: bytes
    problems: bytes
    held_removal: bytes


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


class GitRepoRow(msgspec.Struct, frozen=True):
    """A GitRepo as people wrote it."""

    uid: str
    generation: int
    labels: dict[str, str]
    annotations: dict[str, Any]
    spec: dict[str, Any]


class ScanStateRow(msgspec.Struct, frozen=True):
    """The state of a GitRepo after its last scan. `checked_commit`: the last commit that was
    scanned; `generation`: of the GitRepo that was scanned; `error`: JSON.
    """

    checked_commit: str
    generation: int
    error: bytes
    problem_codes: frozenset[str]


def scan_removals(reader: Reader, workspace: str | None) -> list[ScanRemoval]:
    """Return the removals of scans that wait for a person, in a workspace or (None) in all."""
    r = repos.c
    query = (
        sa.select(r.workspace, r.name, r.scanned_at, r.held_removal)
        .where(r.held_removal != b"null")
        .order_by(r.workspace, r.name)
    )
    rows = reader.execute(query.where(r.workspace == workspace) if workspace else query)
    return [
        ScanRemoval(row.workspace, row.name, row.scanned_at, msgspec.json.decode(row.held_removal))
        for row in rows
    ]


def repos_blocked_by_name(reader: Reader, workspace: Workspace, bundle: BundleName) -> list[str]:
    """Return the GitRepos whose last scan could not take over a bundle because its name was taken,
    or holds the removal of this bundle: a decision about the name may unblock them.
    """
    r = repos.c
    blocked = sa.cast(r.problems, sa.String).contains("name-taken") | sa.cast(
        r.held_removal, sa.String
    ).contains(f'"{bundle}"')
    return list(
        reader.execute(sa.select(r.name).where(r.workspace == workspace, blocked)).scalars()
    )


def all_gitrepos(reader: Reader) -> list[tuple[str, str]]:
    """Return (workspace, name) of every GitRepo."""
    o = objects.c
    rows = reader.execute(sa.select(o.workspace, o.name).where(o.kind == _KIND))
    return [(row.workspace, row.name) for row in rows]


def gitrepo_names(reader: Reader, workspace: Workspace) -> set[str]:
    """Return the names of the GitRepos of the workspace."""
    o = objects.c
    query = sa.select(o.name).where(o.kind == _KIND, o.workspace == workspace)
    return set(reader.execute(query).scalars())


def find_gitrepo(reader: Reader, workspace: str, name: str) -> GitRepoRow | None:
    """Return the GitRepo, or None when it does not exist."""
    o = objects.c
    row = reader.execute(
        sa.select(o.uid, o.generation, o.labels, o.annotations, o.spec).where(
            o.kind == _KIND, o.workspace == workspace, o.name == name
        )
    ).one_or_none()
    if row is None:
        return None
    decode = msgspec.json.decode
    return GitRepoRow(
        row.uid, row.generation, decode(row.labels), decode(row.annotations), decode(row.spec)
    )


def gitrepo_uid(reader: Reader, workspace: str, name: str) -> str | None:
    """Return the uid of the GitRepo, or None when it does not exist."""
    o = objects.c
    query = sa.select(o.uid).where(o.kind == _KIND, o.workspace == workspace, o.name == name)
    return reader.execute(query).scalar()


def find_scan_state(reader: Reader, workspace: str, name: str) -> ScanStateRow | None:
    """Return the scan state of the GitRepo, or None when it does not exist."""
    r = repos.c
    row = reader.execute(
        sa.select(r.checked_commit, r.scanned_generation, r.error, r.problems).where(
            r.workspace == workspace, r.name == name
        )
    ).one_or_none()
    if row is None:
        return None
    codes = frozenset(problem["code"] for problem in msgspec.json.decode(row.problems))
    return ScanStateRow(row.checked_commit, row.scanned_generation, row.error, codes)


def find_scan_removal(reader: Reader, workspace: str, name: str) -> dict[str, Any] | None:
    """Return the removal that the last scan of a GitRepo holds for a person, or None."""
    r = repos.c
    text = reader.execute(
        sa.select(r.held_removal).where(r.workspace == workspace, r.name == name)
    ).scalar()
    removal: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return removal
