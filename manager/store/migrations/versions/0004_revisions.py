"""What bundles have been, and which of it is pinned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("bundles") as table:
        table.add_column(sa.Column("pinned", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("pin_reason", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "revisions",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("taken", sa.String(), nullable=False),
        sa.Column("archive", sa.String(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "bundle", "number"),
    )
