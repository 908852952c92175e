"""Deployments are counted as they change, and what is held or not Ready is found without looking at
the rest.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "counts",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("repo", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace", "bundle", "partition", "repo", "state", "held", "told", "answered"
        ),
        sqlite_with_rowid=False,
    )
    held, unready = (
        ["workspace", "bundle", "partition", "state", "position"],
        ["workspace", "bundle", "state", "cluster_id"],
    )
    op.create_index("deployments_held", "deployments", held, sqlite_where=sa.text("staged <> ''"))
    op.create_index(
        "deployments_unready", "deployments", unready, sqlite_where=sa.text("state <> 'Ready'")
    )
    op.create_index(
        "clusters_without_agent",
        "clusters",
        ["workspace"],
        sqlite_where=sa.text("public_key IS NULL"),
    )
    op.create_index(
        "clusters_paused",
        "clusters",
        ["workspace"],
        sqlite_where=sa.text("instr(spec, '\"paused\"') > 0"),
    )
    op.create_index(
        "clusters_troubled",
        "clusters",
        ["workspace"],
        sqlite_where=sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0"),
    )
    op.create_index(
        "deployments_removed",
        "deployments",
        ["workspace", "cluster_id", "bundle"],
        sqlite_where=sa.text("removed = 1"),
    )
