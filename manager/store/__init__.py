"""The database of the manager: schema, migrations, transactions, queries and commands.

Only this package imports SQLAlchemy. Its functions take a `Reader` or a `Writer` and return typed
rows.
"""

from .connection import Reader, Writer

__all__ = ["Reader", "Writer"]
