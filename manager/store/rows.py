"""Maps rows of a result to typed rows. A field has the name of its column unless `renames` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from .connection import Reader
from .keys import KeyRange

Row = TypeVar("Row", bound=msgspec.Struct)


def columns_of(
    row_type: type[msgspec.Struct], table: sa.Table, **renames: str
) -> list[sa.Column[Any]]:
    """The columns that `row_type` holds, in the order of its fields. `renames`: column by field."""
    return [table.c[renames.get(name, name)] for name in row_type.__struct_fields__]


def without_index(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """The column as an expression for which SQLite uses no index."""
    return column.concat("")


def in_range(
    query: sa.Select[Any], columns: Sequence[sa.ColumnElement[str]], keys: KeyRange
) -> sa.Select[Any]:
    """The query, sorted by the key `columns` and cut to the range. `columns`: the last ones of the
    key if the query fixes the first ones, because SQLite does not combine both in an index.
    """
    query = query.order_by(*columns)
    if keys.after:
        query = query.where(sa.tuple_(*columns) > sa.tuple_(*keys.after[-len(columns) :]))
    return query.limit(keys.limit) if keys.limit else query


def fetch_all(reader: Reader, query: sa.Select[Any], row_type: type[Row]) -> list[Row]:
    """The rows of a query that selects `columns_of(row_type, …)`."""
    return [row_type(*row) for row in reader.execute(query)]


def fetch_first(reader: Reader, query: sa.Select[Any], row_type: type[Row]) -> Row | None:
    """The only row of such a query, or None."""
    row = reader.execute(query).one_or_none()
    return None if row is None else row_type(*row)
