"""Alembic's entry: runs inside the transaction that the store has begun."""

from __future__ import annotations

from alembic import context

from manager.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
