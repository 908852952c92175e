"""Triggers that maintain the table `counts`: every statement that writes deployments also updates
the counts, in the same transaction.

Rule: `counts` equals the result of grouping the deployments, except for rows with the number 0. A
migration that creates the table `deployments` again drops its triggers; the next start of the store
creates them and counts all deployments.

A trigger costs as much as the row that it counts. A statement that updates many rows, and knows how
each was counted before, runs inside `paused` and adds the sums with `add_counts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from ..counts import Counts
from .install import install

_LESS = """
UPDATE counts SET n = n - 1 WHERE NOT OLD.is_removed
    AND workspace = OLD.workspace AND bundle = OLD.bundle AND partition = OLD.partition
        AND repo = OLD.repo AND state = OLD.state
    AND is_staged = (OLD.staged_key <> '') AND is_sent = (OLD.generation > 0)
    AND is_current = (OLD.generation > 0 AND OLD.reported_generation >= OLD.generation
        AND (OLD.applied_generation >= OLD.generation OR OLD.state = 'ErrApplied'));
"""
_MORE = """
INSERT INTO counts (workspace, bundle, partition, repo, state, is_staged, is_sent, is_current, n)
    SELECT NEW.workspace, NEW.bundle, NEW.partition, NEW.repo, NEW.state, NEW.staged_key <> '',
        NEW.generation > 0,
        (NEW.generation > 0 AND NEW.reported_generation >= NEW.generation
            AND (NEW.applied_generation >= NEW.generation OR NEW.state = 'ErrApplied')), 1
    WHERE NOT NEW.is_removed
    ON CONFLICT DO UPDATE SET n = n + 1;
"""
_COUNTED_COLUMNS = (
    "workspace, bundle, partition, repo, state, staged_key, generation, reported_generation,"
    " applied_generation, is_removed"
)
# The row of `meta` exists only inside a transaction.
_NOT_PAUSED = "WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'counting_paused')"
_ON_UPDATE = f"AFTER UPDATE OF {_COUNTED_COLUMNS} ON deployments {_NOT_PAUSED}"
_TRIGGERS = {
    "deployments_inserted": f"AFTER INSERT ON deployments BEGIN {_MORE} END",
    "deployments_deleted": f"AFTER DELETE ON deployments BEGIN {_LESS} END",
    "deployments_updated": f"{_ON_UPDATE} BEGIN {_LESS} {_MORE} END",
}
GROUPED = """
SELECT workspace, bundle, partition, repo, state, staged_key <> '' AS is_staged,
    generation > 0 AS is_sent,
    (generation > 0 AND reported_generation >= generation
        AND (applied_generation >= generation OR state = 'ErrApplied')) AS is_current, count(*) AS n
FROM deployments WHERE NOT is_removed GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_COUNT = (
    "INSERT INTO counts (workspace, bundle, partition, repo, state, is_staged, is_sent, is_current,"
    " n) "
)


_ADD = (
    "INSERT INTO counts (workspace, bundle, partition, repo, state, is_staged, is_sent, is_current,"
    " n) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
)


def ensure(connection: Connection) -> None:
    """Create the triggers and count all deployments, unless exactly these triggers exist."""
    if install(connection, _TRIGGERS):
        connection.exec_driver_sql("DELETE FROM counts")
        connection.exec_driver_sql(_COUNT + GROUPED)


@contextmanager
def paused(connection: Connection) -> Iterator[None]:
    """While this is open, an UPDATE of deployments changes no count. After an exception the caller
    must roll back to before.
    """
    connection.exec_driver_sql("INSERT INTO meta (key, value) VALUES ('counting_paused', 1)")
    yield
    connection.exec_driver_sql("DELETE FROM meta WHERE key = 'counting_paused'")


def add_counts(connection: Connection, totals: Counts) -> None:
    """Add these numbers, which may be negative, to the counts."""
    rows = [(*key, number) for key, number in sorted(totals.items()) if number]
    if rows:
        connection.exec_driver_sql(_ADD, rows)


def sweep(connection: Connection) -> None:
    """Delete the rows with the number 0."""
    connection.exec_driver_sql("DELETE FROM counts WHERE n = 0")
