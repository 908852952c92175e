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
    op.execute(
        "ALTER TABLE deployments ADD COLUMN shelf INTEGER GENERATED ALWAYS AS (position >> 23)"
        " VIRTUAL"
    )
    op.drop_index("deployments_held")
    op.drop_index("deployments_unready")
    held = ["workspace", "bundle", "partition", "state", "shelf"]
    op.create_index("deployments_held", "deployments", held, sqlite_where=sa.text("staged <> ''"))
    op.create_index(
        "deployments_unready",
        "deployments",
        ["workspace", "bundle", "state"],
        sqlite_where=sa.text("state <> 'Ready'"),
    )
