"""Maps rows of a result to typed rows. A field has the name of its column unless `renames` says
otherwise.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from .connection import Reader

Row = TypeVar("Row", bound=msgspec.Struct)


def columns_of(
    row_type: type[msgspec.Struct], table: sa.Table, **renames: str
) -> list[sa.Column[Any]]:
    """The columns that `row_type` holds, in the order of its fields. `renames`: column by field."""
    return [table.c[renames.get(name, name)] for name in row_type.__struct_fields__]


def fetch_all(reader: Reader, query: sa.Select[Any], row_type: type[Row]) -> list[Row]:
    """The rows of a query that selects `columns_of(row_type, …)`."""
    return [row_type(*row) for row in reader.execute(query)]


def fetch_first(reader: Reader, query: sa.Select[Any], row_type: type[Row]) -> Row | None:
    """The only row of such a query, or None."""
    row = reader.execute(query).one_or_none()
    return None if row is None else row_type(*row)
