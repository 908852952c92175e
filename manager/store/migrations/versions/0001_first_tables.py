"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "bundles",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("repo", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("archive", sa.String(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name"),
    )
    op.create_index("bundles_archive", "bundles", ["archive"], unique=False)
    op.create_index("bundles_repo", "bundles", ["workspace", "repo"], unique=False)
    op.create_table(
        "clusters",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("annotations", sa.LargeBinary(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("enrolled", sa.String(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("agent", sa.LargeBinary(), nullable=False),
        sa.Column("issued", sa.String(), nullable=False),
        sa.Column("leaving", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace", "name", name="clusters_name"),
    )
    op.create_table(
        "deployments",
        sa.Column("cluster_id", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("repo", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("archive", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("options_digest", sa.String(), nullable=False),
        sa.Column("options_key", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("customization", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("shown", sa.LargeBinary(), nullable=False),
        sa.Column("keep_resources", sa.Boolean(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("applied", sa.Integer(), nullable=False),
        sa.Column("reported", sa.Integer(), nullable=False),
        sa.Column("reported_at", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "bundle"),
    )
    op.create_index("deployments_archive", "deployments", ["archive"], unique=False)
    op.create_index("deployments_bundle", "deployments", ["workspace", "bundle"], unique=False)
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "objects",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("annotations", sa.LargeBinary(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("extra", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "workspace", "name"),
    )
    op.create_table(
        "options",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("json", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "registrations",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.String(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("replace", sa.Boolean(), nullable=False),
        sa.Column("used_by", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "repos",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("tried", sa.String(), nullable=False),
        sa.Column("scanned_generation", sa.Integer(), nullable=False),
        sa.Column("scanned_at", sa.String(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=False),
        sa.Column("problems", sa.LargeBinary(), nullable=False),
        sa.Column("held", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name"),
    )
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("expires", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("hash"),
    )
