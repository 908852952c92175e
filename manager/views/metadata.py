"""What all objects that people read have in common: the head of a document, its conditions, and the
rows that a list asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.formats.redact import redacted

from ..commands.validation import api_version

_load = msgspec.json.decode
Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A list's filters; empty means all."""

    workspace: str | None = None
    name: str = ""
    selector: str = ""
    cluster: str = ""
    repo: str = ""
    states: tuple[str, ...] = ()


def of_row(kind: str, row: Any, spec: Any, status: Any, **head: Any) -> Document:
    meta = {
        "name": row.name,
        "namespace": row.workspace,
        "uid": row.uid,
        "generation": row.generation,
        "creationTimestamp": row.created,
        **head,
    }
    return {
        "apiVersion": api_version(kind),
        "kind": kind,
        "metadata": meta,
        "spec": spec,
        "status": status,
    }


def rows(connection: Connection, table: sa.Table, asked: Asked, *where: Any) -> list[Any]:
    query = sa.select(table).where(*where).order_by(table.c.workspace, table.c.name)
    if asked.workspace:
        query = query.where(table.c.workspace == asked.workspace)
    if asked.name:
        query = query.where(table.c.name == asked.name)
    return list(connection.execute(query))


def head(row: Any) -> dict[str, Any]:
    """Labels and annotations. kubectl's last-applied annotation holds the whole manifest, so
    addresses in it are redacted.
    """
    annotations = {
        key: redacted(value) if "://" in value else value
        for key, value in _load(row.annotations).items()
    }
    return {"labels": _load(row.labels), "annotations": annotations}


def condition(kind: str, *, ok: bool, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True" if ok else "False"} | (
        {"message": message} if message else {}
    )


def display_state(item: Document) -> str:
    return str(item.get("status", {}).get("display", {}).get("state", ""))
