"""Writes the objects that people write, clusters aside."""

from __future__ import annotations

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Writer
from ..queries.objects import ObjectContent, SealedRow, StoredObjectKey, table_and_filter
from ..schema import bundles, objects, repos


def insert_object(
    writer: Writer, key: StoredObjectKey, row: ObjectContent, *, uid: str, created: str
) -> None:
    """Insert an object that is no Cluster. `created` RFC 3339."""
    values = {**key._asdict(), **row._asdict(), "uid": uid, "generation": 1, "created_at": created}
    writer.execute(sa.insert(objects), values)


def insert_missing_object(
    writer: Writer, key: StoredObjectKey, row: ObjectContent, *, uid: str, created: str
) -> None:
    """Insert an object unless it exists."""
    values = {**key._asdict(), **row._asdict(), "uid": uid, "generation": 1, "created_at": created}
    writer.execute(sa.insert(objects).prefix_with("OR IGNORE"), values)


def update_object(writer: Writer, key: StoredObjectKey, row: ObjectContent) -> None:
    """Replace the content of an object, which gets a new generation."""
    table, condition = table_and_filter(key)
    values = row._asdict()
    if table is not objects:
        del values["extra"]
    update = sa.update(table).where(condition)
    writer.execute(update.values(**values, generation=table.c.generation + 1))


def set_object_labels(writer: Writer, key: StoredObjectKey, labels: bytes) -> None:
    """Replace the labels of an object, which gets a new generation."""
    table, condition = table_and_filter(key)
    update = sa.update(table).where(condition)
    writer.execute(update.values(labels=labels, generation=table.c.generation + 1))


def delete_object(writer: Writer, key: StoredObjectKey) -> None:
    table, condition = table_and_filter(key)
    writer.execute(sa.delete(table).where(condition))


def insert_missing_repo(writer: Writer, workspace: Workspace, name: str) -> None:
    """Insert the row that holds what scans of a GitRepo find."""
    row = {"workspace": workspace, "name": name}
    writer.execute(sa.insert(repos).prefix_with("OR IGNORE"), row)


def delete_repo(writer: Writer, workspace: Workspace, name: str) -> None:
    """Delete what scans of a GitRepo found."""
    writer.execute(sa.delete(repos).where(repos.c.workspace == workspace, repos.c.name == name))


def delete_bundles_of_repo(writer: Writer, workspace: Workspace, repo: str) -> list[BundleName]:
    """Returns the names of the deleted bundles."""
    b = bundles.c
    delete = sa.delete(bundles).where(b.workspace == workspace, b.repo == repo)
    return list(writer.execute(delete.returning(b.name)).scalars())


def set_extra(writer: Writer, rows: list[SealedRow]) -> None:
    """Store the `extra` of these Secrets and ConfigMaps."""
    o = objects.c
    condition = (
        (o.kind == sa.bindparam("row_kind"))
        & (o.workspace == sa.bindparam("row_workspace"))
        & (o.name == sa.bindparam("row_name"))
    )
    values = [
        {
            "row_kind": row.kind,
            "row_workspace": row.workspace,
            "row_name": row.name,
            "new_extra": row.extra,
        }
        for row in rows
    ]
    if values:
        update = sa.update(objects).where(condition).values(extra=sa.bindparam("new_extra"))
        writer.execute(update, values)
