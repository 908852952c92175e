"""One statement for many rows, handed to SQLite as they are.

Rule: SQLAlchemy looks at each parameter of each row anew, which costs more than the row does. The
columns here need nothing of that: text, bytes, numbers and booleans are what SQLite's driver takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import Executable

_PER_STATEMENT = 500
_NAMED_PARAMETERS = sqlite.dialect(paramstyle="named")


def run_many(
    connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]
) -> int:
    """Run `statement` for each of `rows`, which all have the keys of the first; how many rows it
    changed.
    """
    if not rows:
        return 0
    compiled_statement = statement.compile(dialect=_NAMED_PARAMETERS, column_keys=list(rows[0]))  # type: ignore[attr-defined]
    fixed_parameters = compiled_statement.params
    return connection.exec_driver_sql(
        str(compiled_statement), [{**fixed_parameters, **row} for row in rows]
    ).rowcount


def select_values(values: Iterable[str]) -> sa.Select[tuple[str]]:
    """A subquery of any number of values, which takes one parameter."""
    text = msgspec.json.encode(list(values)).decode()
    return sa.select(sa.func.json_each(text).table_valued("value").c.value)


def in_parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """SQLite takes a bounded number of parameters."""
    for start in range(0, len(items), _PER_STATEMENT):
        yield items[start : start + _PER_STATEMENT]
