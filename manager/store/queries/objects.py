"""Reads objects that have no table of their own: GitRepos, ClusterGroups, Schedules, Secrets and
so on.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from ..connection import Reader
from ..rows import columns_of, fetch_all
from ..schema import bundles, clusters, objects, registrations

_TABLES = {"Cluster": clusters, "Bundle": bundles}


class ObjectRow(msgspec.Struct, frozen=True):
    """An object as it is stored. Labels, annotations, spec and extra are JSON; `extra` of a Secret
    or ConfigMap holds its type and the hashes of its values.
    """

    kind: str
    workspace: str
    name: str
    uid: str
    generation: int
    created: str
    labels: bytes
    annotations: bytes
    spec: bytes
    extra: bytes


class RegistrationLimit(msgspec.Struct, frozen=True):
    """When the registration token of a ClusterRegistrationToken expires, and how many enrolments
    it still allows. `source`: the name of the ClusterRegistrationToken.
    """

    workspace: str
    source: str
    expires: str
    uses: int


def list_objects(
    reader: Reader, kind: str, workspace: str | None = None, name: str = ""
) -> list[ObjectRow]:
    """The objects of a kind, sorted by workspace and name. Without a workspace: of all
    workspaces; without a name: all names.
    """
    o = objects.c
    query = sa.select(*columns_of(ObjectRow, objects)).where(o.kind == kind)
    if workspace:
        query = query.where(o.workspace == workspace)
    if name:
        query = query.where(o.name == name)
    return fetch_all(reader, query.order_by(o.workspace, o.name), ObjectRow)


def list_names(reader: Reader, kind: str, workspace: str, limit: int) -> list[str]:
    """At most `limit` names of the objects of any kind that has rows: also Cluster and Bundle."""
    table = _TABLES.get(kind, objects)
    query = sa.select(table.c.name).where(table.c.workspace == workspace)
    if table is objects:
        query = query.where(objects.c.kind == kind)
    return list(reader.execute(query.limit(limit)).scalars())


def list_workspaces(reader: Reader) -> list[str]:
    """Sorted names of the workspaces that hold an object, cluster, bundle or registration."""
    tables = (objects, clusters, bundles, registrations)
    queries = [sa.select(table.c.workspace) for table in tables]
    return sorted(reader.execute(sa.union(*queries)).scalars())


def paused_gitrepos(reader: Reader, workspace: str | None) -> set[tuple[str, str]]:
    """Workspace and name of each GitRepo with `spec.paused: true`."""
    o = objects.c
    has_key = sa.text("instr(spec, '\"paused\"') > 0")
    query = sa.select(o.workspace, o.name, o.spec).where(o.kind == "GitRepo", has_key)
    if workspace:
        query = query.where(o.workspace == workspace)
    return {
        (row.workspace, row.name)
        for row in reader.execute(query)
        if msgspec.json.decode(row.spec).get("paused")
    }


def registration_limits(reader: Reader) -> dict[tuple[str, str], RegistrationLimit]:
    """By workspace and name of the ClusterRegistrationToken."""
    query = sa.select(*columns_of(RegistrationLimit, registrations))
    rows = fetch_all(reader, query.where(registrations.c.source != ""), RegistrationLimit)
    return {(row.workspace, row.source): row for row in rows}
