"""Queries about GitRepos and what their last scans found."""

from __future__ import annotations

import sqlalchemy as sa

from fleetctl.core.model.ids import Workspace

from ..connection import Reader
from ..schema import repos


def scanned_commit(reader: Reader, workspace: Workspace, name: str) -> str:
    """Return the last commit whose bundles were taken over, or ""."""
    r = repos.c
    query = sa.select(r.commit).where(r.workspace == workspace, r.name == name)
    return reader.execute(query).scalar() or ""
