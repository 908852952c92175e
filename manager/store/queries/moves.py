"""Queries about bundles that get another name or another GitRepo."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Reader
from ..schema import moves


class MoveRow(NamedTuple):
    """A move that waits for a scan. `old` equals `new` when the bundle goes to another GitRepo.
    `repo`: the GitRepo that claims the bundle, or "" when a person requested the move.
    """

    old: BundleName
    new: BundleName
    repo: str


def stored_moves(reader: Reader, workspace: Workspace) -> list[MoveRow]:
    """Return the moves of the workspace that wait for a scan."""
    m = moves.c
    rows = reader.execute(sa.select(m.old, m.new, m.repo).where(m.workspace == workspace))
    return [MoveRow(*row) for row in rows]
