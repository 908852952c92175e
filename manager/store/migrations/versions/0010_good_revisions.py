"""A rollout remembers the newest revision that was rolled out to the end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("good", sa.Integer(), nullable=False, server_default="0"))
