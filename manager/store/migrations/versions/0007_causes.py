"""By what deployments with the same trouble are counted, and how many of their objects are in which
state.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("cause", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("tally", sa.String(), nullable=False, server_default=""))
