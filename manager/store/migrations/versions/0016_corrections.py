"""A deployment may be asked to put its drift right: a number that only grows, sent with its
bundle.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("correction", sa.Integer(), nullable=False, server_default="0"))
