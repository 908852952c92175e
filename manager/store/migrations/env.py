"""Alembic's entry: runs inside the transaction that the store has begun."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    transactional_ddl=False,
)
context.run_migrations()
