"""A database of an older version is migrated without a loss."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from manager.store import migrate
from manager.store.schema import metadata
from manager.store.triggers import counts as count_triggers

# The triggers of version 0016.
_LESS = """
UPDATE counts SET n = n - 1 WHERE NOT OLD.removed
    AND workspace = OLD.workspace AND bundle = OLD.bundle AND partition = OLD.partition
        AND repo = OLD.repo AND state = OLD.state
    AND held = (OLD.staged <> '') AND told = (OLD.generation > 0)
    AND answered = (OLD.generation > 0 AND OLD.reported >= OLD.generation
        AND (OLD.applied >= OLD.generation OR OLD.state = 'ErrApplied'));
"""
_MORE = """
INSERT INTO counts (workspace, bundle, partition, repo, state, held, told, answered, n)
    SELECT NEW.workspace, NEW.bundle, NEW.partition, NEW.repo, NEW.state, NEW.staged <> '',
        NEW.generation > 0,
        (NEW.generation > 0 AND NEW.reported >= NEW.generation
            AND (NEW.applied >= NEW.generation OR NEW.state = 'ErrApplied')), 1
    WHERE NOT NEW.removed
    ON CONFLICT DO UPDATE SET n = n + 1;
"""
_COLUMNS = (
    "workspace, bundle, partition, repo, state, staged, generation, reported, applied, removed"
)
_ON_UPDATE = f"AFTER UPDATE OF {_COLUMNS} ON deployments"
TRIGGERS_OF_0016 = (
    f"CREATE TRIGGER deployments_inserted AFTER INSERT ON deployments BEGIN {_MORE} END",
    f"CREATE TRIGGER deployments_deleted AFTER DELETE ON deployments BEGIN {_LESS} END",
    f"CREATE TRIGGER deployments_updated {_ON_UPDATE} BEGIN {_LESS} {_MORE} END",
)
NEW_TABLE_NAMES = {
    "agent_wishes": "agent_targets",
    "holds": "held_removals",
    "losses": "recent_removals",
    "passes": "batch_jobs",
    "wants": "staged_targets",
}
ROWS_PER_TABLE = 3


def _table_names(connection: Connection) -> list[str]:
    return [name for name in sa.inspect(connection).get_table_names() if name != "alembic_version"]


def _insert_rows(connection: Connection, table: str) -> None:
    """Insert rows with a different value in every column that takes one."""
    columns = [
        column for column in sa.inspect(connection).get_columns(table) if "computed" not in column
    ]
    marks = ", ".join("?" for _ in columns)
    names = ", ".join(f'"{column["name"]}"' for column in columns)
    for row in range(1, ROWS_PER_TABLE + 1):
        values = tuple(
            _value(column["type"], row * 100 + number) for number, column in enumerate(columns)
        )
        connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


def _value(kind: sa.types.TypeEngine[object], number: int) -> object:
    if isinstance(kind, sa.Boolean):
        return number % 2
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.Float):
        return number + 0.5
    return f"{number}".encode() if isinstance(kind, sa.LargeBinary) else f"text {number}"


def _rows(connection: Connection, table: str) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}"))


def _fill_database_of_0016(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Write rows into every table. Returns them by the new names of the tables."""
    command.upgrade(migrate.configuration(connection), "0016")
    for trigger in TRIGGERS_OF_0016:
        connection.exec_driver_sql(trigger)
    connection.exec_driver_sql("DELETE FROM meta")
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    names = _table_names(connection)
    for name in names:
        _insert_rows(connection, name)
    connection.exec_driver_sql("UPDATE registrations SET cluster_id = NULL")
    return {NEW_TABLE_NAMES.get(name, name): _rows(connection, name) for name in names}


def _engine(path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{path / 'fleet.db'}")


def test_new_names_keep_every_row(tmp_path: Path) -> None:
    """The rows of version 0016 are equal before and after, the counts included: the deployments
    are not counted again.
    """
    engine = _engine(tmp_path)
    with engine.begin() as connection:
        rows = _fill_database_of_0016(connection)
    with engine.begin() as connection:
        command.upgrade(migrate.configuration(connection), "0017")
        assert {name: _rows(connection, name) for name in _table_names(connection)} == rows
        migrate.up(connection, "fleet.db")
        assert set(_table_names(connection)) == set(metadata.tables)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()


def test_the_triggers_count_after_the_new_names(tmp_path: Path) -> None:
    engine = _engine(tmp_path)
    with engine.begin() as connection:
        _fill_database_of_0016(connection)
        migrate.up(connection, "fleet.db")
        connection.exec_driver_sql("DELETE FROM counts")
        connection.exec_driver_sql("DELETE FROM deployments")
        connection.exec_driver_sql("DELETE FROM counts")
        _insert_rows(connection, "deployments")
        grouped = {tuple(row) for row in connection.exec_driver_sql(count_triggers.GROUPED)}
        assert set(_rows(connection, "counts")) == grouped != set()
        connection.exec_driver_sql("UPDATE deployments SET staged_key = '', is_removed = 0")
        connection.exec_driver_sql("DELETE FROM counts WHERE n = 0")
        grouped = {tuple(row) for row in connection.exec_driver_sql(count_triggers.GROUPED)}
        assert set(_rows(connection, "counts")) == grouped != set()
    engine.dispose()
