"""Schedules: which of them pick a cluster, and which rollout passes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("clusters", sa.Column("windows", sa.String(), nullable=False, server_default=""))
    op.create_index(
        "clusters_windows",
        "clusters",
        ["workspace", "windows"],
        sqlite_where=sa.text("windows <> ''"),
    )
    op.add_column("rollouts", sa.Column("ignoring", sa.String(), nullable=False, server_default=""))
