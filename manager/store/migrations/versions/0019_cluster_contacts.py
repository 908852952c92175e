"""When and from where each cluster was heard gets a table of its own.

Its rows are narrow, because every check-in writes one sooner or later. `reporter` and `report_seq`:
the instance whose full report is stored, and the number of its last report.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "cluster_contacts",
        sa.Column("cluster_id", sa.String(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False, server_default="0"),
        sa.Column("address", sa.String(), nullable=False, server_default=""),
        sa.Column("reporter", sa.String(), nullable=False, server_default=""),
        sa.Column("report_seq", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("cluster_id"),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO cluster_contacts (cluster_id, last_seen_at, address)"
        " SELECT id, last_seen_at, address FROM clusters"
    )
    op.execute("ALTER TABLE clusters DROP COLUMN last_seen_at")
    op.execute("ALTER TABLE clusters DROP COLUMN address")
