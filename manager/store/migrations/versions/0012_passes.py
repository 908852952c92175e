"""A change that reaches very many deployments is written down in parts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("bundles", sa.Column("matched", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "passes",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("cursor", sa.String(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("workspace", "bundle"),
    )
