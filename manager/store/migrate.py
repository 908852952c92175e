"""Brings a database to this version's tables with Alembic, which is imported only when there is
something to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import RefusedError

from .schema import metadata
from .triggers import counts, documents

HEAD = "0019"
_SCRIPTS = Path(__file__).with_name("migrations")


def up(connection: Connection, database_name: str) -> None:
    """Raises RefusedError when the database was written by a newer version."""
    have = version(connection)
    if have == HEAD:
        _install_triggers(connection)
        return
    if have and have > HEAD:
        summary = (
            f"{database_name} was written by a newer version (schema {have}, this one knows {HEAD})"
        )
        raise RefusedError(
            summary, subject="database", next_step="Start the newer version, or restore a backup."
        )
    from alembic import command

    command.upgrade(configuration(connection), "head")
    _install_triggers(connection)


def _install_triggers(connection: Connection) -> None:
    """A migration that rebuilds a table removes its triggers."""
    counts.ensure(connection)
    documents.ensure(connection)


def version(connection: Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "")


def configuration(connection: Connection) -> Any:
    """Alembic's configuration for an open connection; nothing is read from the disk but the
    scripts.
    """
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config
