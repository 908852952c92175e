"""Writes which Schedules select each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId

from ...bulk import in_parts
from ...connection import Writer
from ...schema import clusters


def set_schedules(writer: Writer, changes: Mapping[str, Sequence[ClusterId]]) -> None:
    """`changes`: the clusters by the names of their Schedules, joined by commas."""
    c = clusters.c
    for names, ids in changes.items():
        for part in in_parts(ids):
            writer.execute(sa.update(clusters).where(c.id.in_(part)).values(schedules=names))
