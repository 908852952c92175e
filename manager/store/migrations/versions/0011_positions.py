"""Every deployment has its place in the order in which its bundle reaches clusters, from its first
day on.
"""

from __future__ import annotations

import hashlib

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    connection = op.get_bind()
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.create_function("place", 2, _place, deterministic=True)
    connection.exec_driver_sql(
        "UPDATE deployments SET position = place(bundle, cluster_id) WHERE position = 0"
    )


def _place(bundle: str, cluster: str) -> int:
    """As `fleetctl.core.rollout.strategy.place` was when this was written."""
    return (
        int.from_bytes(
            hashlib.blake2b(f"{bundle}\0{cluster}".encode(), digest_size=4).digest(), "big"
        )
        >> 1
    )
