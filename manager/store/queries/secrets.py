"""Reads stored Secrets and ConfigMaps, whose content is encrypted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from fleetctl.core.documents.object_check import DATA_KINDS

from ..connection import Reader
from ..rows import columns_of, fetch_all
from ..schema import objects
from .targeting import in_parts


class SealedRow(msgspec.Struct, frozen=True):
    """A Secret or ConfigMap. `spec` is encrypted; `extra` holds JSON that reveals no value."""

    kind: str
    workspace: str
    name: str
    uid: str
    spec: bytes
    extra: bytes


_SEALED = sa.select(*columns_of(SealedRow, objects)).where(objects.c.kind.in_(DATA_KINDS))


def list_with_extra(reader: Reader, text: bytes) -> list[SealedRow]:
    """The objects of all workspaces whose `extra` contains `text`."""
    return fetch_all(reader, _SEALED.where(sa.func.instr(objects.c.extra, text) > 0), SealedRow)


def find_by_name(
    reader: Reader, workspace: str, names: Iterable[str]
) -> Mapping[tuple[str, str], SealedRow]:
    """The objects with these names, by (kind, name)."""
    rows: dict[tuple[str, str], SealedRow] = {}
    query = _SEALED.where(objects.c.workspace == workspace)
    for part in in_parts(sorted(set(names))):
        for row in fetch_all(reader, query.where(objects.c.name.in_(part)), SealedRow):
            rows[row.kind, row.name] = row
    return rows
