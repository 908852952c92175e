"""Removals that are held for a person, and how many went unasked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("kept", sa.Boolean(), nullable=False, server_default="0"))
    op.create_index(
        "deployments_kept",
        "deployments",
        ["workspace", "bundle", "cluster_id"],
        sqlite_where=sa.text("kept"),
    )
    op.create_table(
        "holds",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "bundle"),
    )
    op.create_table(
        "losses",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "bundle", "minute"),
    )
