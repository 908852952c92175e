"""The counts of deployments, kept by triggers: whoever writes a deployment counts it, in the same
transaction and without knowing.

Rule: `counts` is what grouping the deployments would give, but for rows of 0. A migration that
makes the table of deployments anew takes its triggers away; opening the store puts them back and
counts again.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

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
_COUNTED = (
    "workspace, bundle, partition, repo, state, staged, generation, reported, applied, removed"
)
_TRIGGERS = {
    "deployments_inserted": f"AFTER INSERT ON deployments BEGIN {_MORE} END",
    "deployments_deleted": f"AFTER DELETE ON deployments BEGIN {_LESS} END",
    "deployments_updated": f"AFTER UPDATE OF {_COUNTED} ON deployments BEGIN {_LESS} {_MORE} END",
}
GROUPED = """
SELECT workspace, bundle, partition, repo, state, staged <> '' AS held, generation > 0 AS told,
    (generation > 0 AND reported >= generation
        AND (applied >= generation OR state = 'ErrApplied')) AS answered, count(*) AS n
FROM deployments WHERE NOT removed GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_COUNT = "INSERT INTO counts (workspace, bundle, partition, repo, state, held, told, answered, n) "


def ensure(connection: Connection) -> None:
    """Make the triggers where they are missing or other ones, and count."""
    known = {
        row.name: row.sql
        for row in connection.execute(
            sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        )
    }
    wanted = {name: f"CREATE TRIGGER {name} {text}" for name, text in _TRIGGERS.items()}
    if wanted.items() <= known.items():
        return
    for name, text in wanted.items():
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        connection.exec_driver_sql(text)
    connection.exec_driver_sql("DELETE FROM counts")
    connection.exec_driver_sql(_COUNT + GROUPED)


def sweep(connection: Connection) -> None:
    """Sorts of which there are none any more go."""
    connection.exec_driver_sql("DELETE FROM counts WHERE n = 0")
