"""Writes the partition of each deployment."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from ...bulk import run_many
from ...connection import Writer
from ...schema import deployments

_PLACE = (
    sa.update(deployments)
    .where(sa.literal_column("rowid") == sa.bindparam("r"))
    .values(partition=sa.bindparam("p"))
)


def place_rows(writer: Writer, partitions: Mapping[int, int]) -> None:
    """`partitions`: the partition of deployments by row id."""
    run_many(writer, _PLACE, [{"r": row, "p": number} for row, number in partitions.items()])
