"""Commands for GitRepos and the results of their scans."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import CommitId, Workspace
from fleetctl.core.scan.problems import ScanProblem

from ...connection import Writer
from ...schema import repos


class ScanRecord(msgspec.Struct, frozen=True):
    """A scan that was taken over at `now` (RFC 3339). `generation`: of the GitRepo that was
    scanned; `removal`: waits for a person.
    """

    commit: CommitId
    generation: int
    now: str
    problems: list[ScanProblem]
    removal: dict[str, Any] | None


def store_scan(writer: Writer, workspace: Workspace, name: str, scan: ScanRecord) -> None:
    """Store the result of a scan, and clear the last error."""
    r = repos.c
    writer.execute(
        sa.update(repos)
        .where(r.workspace == workspace, r.name == name)
        .values(
            commit=scan.commit,
            checked_commit=scan.commit,
            scanned_generation=scan.generation,
            scanned_at=scan.now,
            error=b"null",
            problems=msgspec.json.encode(scan.problems),
            held_removal=msgspec.json.encode(scan.removal),
        )
    )


def set_scan_error(
    writer: Writer,
    workspace: str,
    name: str,
    error: bytes,
    *,
    generation: int | None = None,
    scan_again: bool = False,
) -> None:
    """Store why the last attempt failed (JSON, `null` for nothing). `generation`: of the GitRepo
    that was read; `scan_again`: the next attempt scans the same commit again.
    """
    r = repos.c
    values: dict[str, Any] = {"error": error}
    if generation is not None:
        values["scanned_generation"] = generation
    if scan_again:
        values["checked_commit"] = ""
    writer.execute(
        sa.update(repos).where(r.workspace == workspace, r.name == name).values(**values)
    )


def require_scan(writer: Writer, workspace: Workspace, names: Collection[str]) -> None:
    """The GitRepos are scanned again though their commits did not change."""
    r = repos.c
    writer.execute(
        sa.update(repos)
        .where(r.workspace == workspace, r.name.in_(names))
        .values(scanned_generation=0)
    )
