"""Each cluster's document gets a row with its revision and the time of its issue.

The row is narrow, because every change of a document writes it; a row of `clusters` is not.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "cluster_documents",
        sa.Column("cluster_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id"),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO cluster_documents (cluster_id, revision, issued_at)"
        " SELECT id, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),"
        " coalesce(CAST(strftime('%s', nullif(issued_at, '')) AS INTEGER), 0) FROM clusters"
    )
    op.create_index("cluster_documents_issued_at", "cluster_documents", ["issued_at"])
    op.execute("ALTER TABLE clusters DROP COLUMN issued_at")
