"""Reads the objects that people write: clusters, GitRepos, groups, schedules, Secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.documents.object_check import DATA_KINDS
from fleetctl.core.model.ids import BundleName, Workspace

from ..bulk import in_parts
from ..connection import Reader
from ..keys import ALL_KEYS, KeyRange
from ..rows import columns_of, fetch_all, in_range
from ..schema import bundles, clusters, deployments, objects, registrations


class ObjectRow(msgspec.Struct, frozen=True):
    """An object as it is stored. Labels, annotations, spec and extra are JSON; `extra` of a Secret
    or ConfigMap holds its type and the hashes of its values.
    """

    kind: str
    workspace: str
    name: str
    uid: str
    generation: int
    created_at: str
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
    expires_at: str
    remaining_uses: int


class StoredObjectKey(NamedTuple):
    """Names one object."""

    kind: str
    workspace: Workspace
    name: str

    def __str__(self) -> str:
        return "/".join(self)


class ObjectContent(NamedTuple):
    """The content of an object as JSON. `spec` of a Secret or ConfigMap is encrypted, and `extra`
    holds what may be shown of it.
    """

    labels: bytes
    annotations: bytes
    spec: bytes
    extra: bytes


class SealedRow(msgspec.Struct, frozen=True):
    """A Secret or ConfigMap. `spec` is encrypted; `extra` holds JSON that reveals no value."""

    kind: str
    workspace: str
    name: str
    uid: str
    spec: bytes
    extra: bytes


class DeploymentName(NamedTuple):
    """One deployment by the names of its bundle and its cluster."""

    bundle: BundleName
    cluster: str


_TABLES = {"Cluster": clusters, "Bundle": bundles}
_SEALED = sa.select(*columns_of(SealedRow, objects)).where(objects.c.kind.in_(DATA_KINDS))


def table_and_filter(key: StoredObjectKey) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """Where the object is stored. For statements of the store only."""
    table = _TABLES.get(key.kind, objects)
    where = (table.c.workspace == key.workspace) & (table.c.name == key.name)
    return table, where & (objects.c.kind == key.kind) if table is objects else where


def find_object(reader: Reader, key: StoredObjectKey) -> ObjectContent | None:
    """For every kind but Bundle and BundleDeployment."""
    table, where = table_and_filter(key)
    extra = objects.c.extra if table is objects else sa.literal(b"{}", sa.LargeBinary)
    columns = (table.c.labels, table.c.annotations, table.c.spec, extra)
    row = reader.execute(sa.select(*columns).where(where)).one_or_none()
    return None if row is None else ObjectContent(*row)


def object_exists(reader: Reader, key: StoredObjectKey) -> bool:
    table, where = table_and_filter(key)
    query = sa.select(sa.literal(1)).select_from(table).where(where)
    return reader.execute(query).first() is not None


def bundle_names_of_repo(reader: Reader, workspace: Workspace, repo: str) -> set[BundleName]:
    b = bundles.c
    query = sa.select(b.name).where(b.workspace == workspace, b.repo == repo)
    return set(reader.execute(query).scalars())


def deployments_of_repo(reader: Reader, workspace: Workspace, repo: str) -> list[DeploymentName]:
    """The deployments of a GitRepo's bundles, without tombstones."""
    return _deployment_names(reader, workspace, deployments.c.repo == repo)


def deployments_of_cluster(reader: Reader, workspace: Workspace, name: str) -> list[DeploymentName]:
    """The deployments on a cluster, without tombstones."""
    return _deployment_names(reader, workspace, clusters.c.name == name)


def _deployment_names(
    reader: Reader, workspace: Workspace, where: sa.ColumnElement[bool]
) -> list[DeploymentName]:
    d = deployments.c
    query = (
        sa.select(d.bundle, clusters.c.name)
        .join(clusters, clusters.c.id == d.cluster_id)
        .where(d.workspace == workspace, ~d.is_removed, where)
    )
    return [DeploymentName(*row) for row in reader.execute(query)]


def sealed_objects_with_extra(reader: Reader, text: bytes) -> list[SealedRow]:
    """The Secrets and ConfigMaps of all workspaces whose `extra` contains `text`."""
    return fetch_all(reader, _SEALED.where(sa.func.instr(objects.c.extra, text) > 0), SealedRow)


def sealed_objects(
    reader: Reader, workspace: str, names: Iterable[str]
) -> Mapping[tuple[str, str], SealedRow]:
    """The Secrets and ConfigMaps with these names, by (kind, name)."""
    rows: dict[tuple[str, str], SealedRow] = {}
    query = _SEALED.where(objects.c.workspace == workspace)
    for part in in_parts(sorted(set(names))):
        for row in fetch_all(reader, query.where(objects.c.name.in_(part)), SealedRow):
            rows[row.kind, row.name] = row
    return rows


def list_objects(
    reader: Reader,
    kind: str,
    workspace: str | None = None,
    name: str = "",
    keys: KeyRange = ALL_KEYS,
) -> list[ObjectRow]:
    """The objects of a kind, sorted by workspace and name. Without a workspace: of all
    workspaces; without a name: all names.
    """
    o = objects.c
    columns = (o.name,) if workspace else (o.workspace, o.name)
    query = sa.select(*columns_of(ObjectRow, objects)).where(o.kind == kind)
    if workspace:
        query = query.where(o.workspace == workspace)
    if name:
        query = query.where(o.name == name)
    return fetch_all(reader, in_range(query, columns, keys), ObjectRow)


def count_objects(reader: Reader, kind: str, workspace: str | None) -> int:
    """The number of objects of any kind that has rows: also Cluster and Bundle."""
    table = _TABLES.get(kind, objects)
    query = sa.select(sa.func.count()).select_from(table)
    if table is objects:
        query = query.where(objects.c.kind == kind)
    if workspace:
        query = query.where(table.c.workspace == workspace)
    return int(reader.execute(query).scalar_one())


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
