"""A registration belongs to the id of its cluster and is removed with it.

Registrations of clusters that do not exist, and used ones, are removed: their agents are enrolled
by now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    # SQLite cannot add such a foreign key to a table. This table is small.
    op.rename_table("registrations", "old_registrations")
    op.create_table(
        "registrations",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("cluster_id", sa.String(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.String(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("replace", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], ondelete="CASCADE"),
    )
    op.create_index("registrations_cluster", "registrations", ["cluster_id"])
    op.execute(
        "INSERT INTO registrations (hash, workspace, cluster, cluster_id, source, labels, expires,"
        ' uses, "replace") SELECT o.hash, o.workspace, o.cluster, c.id, o.source, o.labels,'
        ' o.expires, o.uses, o."replace" FROM old_registrations o LEFT JOIN clusters c ON'
        " c.workspace = o.workspace AND c.name = o.cluster WHERE o.cluster = '' OR (c.id IS NOT"
        " NULL AND o.uses > 0)"
    )
    op.drop_table("old_registrations")
