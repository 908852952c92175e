"""Bundles that get another name and keep their releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    with op.batch_alter_table("bundles") as table:
        table.add_column(sa.Column("release", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("moved", sa.Integer(), nullable=False, server_default="0"))
    on_the_way = sa.text("moved = generation AND reported < generation")
    op.create_index(
        "deployments_moved", "deployments", ["workspace", "bundle"], sqlite_where=on_the_way
    )
    op.create_table(
        "moves",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("old", sa.String(), nullable=False),
        sa.Column("new", sa.String(), nullable=False),
        sa.Column("repo", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "old", "new"),
    )
