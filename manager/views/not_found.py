"""The error for an object that does not exist, with the name that was probably meant.

Only names of the same workspace are looked at: a person may not be allowed to see others.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import NotFound

from ..store.schema import bundles, clusters, objects

_MOST_NAMES = 5000  # names that are compared
_NEAR = 0.7


def not_found(connection: Connection, kind: str, workspace: str, name: str) -> NotFound:
    """For any kind, also those that have no table of their own."""
    step = f"See `fleetctl get {kind.lower()}s -n {workspace}`."
    if near := _nearest(name, _names(connection, kind, workspace)):
        step = f"Did you mean {near}? {step}"
    summary = f"{kind} {name} does not exist in workspace {workspace}"
    return NotFound(summary, subject=f"{kind} {workspace}/{name}", next_step=step)


def _table(kind: str) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    table = {"Cluster": clusters, "Bundle": bundles}.get(kind, objects)
    return table, objects.c.kind == kind if table is objects else sa.true()


def _names(connection: Connection, kind: str, workspace: str) -> list[str]:
    if kind == "BundleDeployment":  # named CLUSTER.BUNDLE: too many to compare
        return []
    table, of_kind = _table(kind)
    query = (
        sa.select(table.c.name).where(table.c.workspace == workspace, of_kind).limit(_MOST_NAMES)
    )
    return list(connection.execute(query).scalars())


def _nearest(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff=_NEAR)), "")
