"""Types of database connections, so that other packages need no import of SQLAlchemy.

A function that takes a `Reader` only reads. A function that takes a `Writer` changes rows and must
run inside `Store.write`.
"""

from __future__ import annotations

from typing import TypeAlias

from sqlalchemy.engine import Connection

Reader: TypeAlias = Connection
Writer: TypeAlias = Connection
