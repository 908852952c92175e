"""Installs triggers."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def install(connection: Connection, triggers: Mapping[str, str]) -> bool:
    """Create the triggers (name to text after the name). Returns False if all were there."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    installed = {row.name: row.sql for row in connection.execute(sa.text(query))}
    statements = {name: f"CREATE TRIGGER {name} {text}" for name, text in triggers.items()}
    if statements.items() <= installed.items():
        return False
    for name, statement in statements.items():
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        connection.exec_driver_sql(statement)
    return True
