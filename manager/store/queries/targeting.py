"""What is read before something is decided: bundles, clusters and groups as the core sees them, in
a scope. Reads only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName, Generation, Workspace
from fleetctl.core.model.plan import Have, Key

from ..bulk import in_parts
from ..connection import Reader, Writer
from ..schema import bundles, clusters, deployments, meta, objects

_ROWS_AT_ONCE = 10_000  # rows in memory


@dataclass(frozen=True)
class Scope:
    """What may have changed: these bundles, or these clusters, or (None) all of the workspace.
    `wave`: what clusters get may be another one though no version is, so that a rollout begins at
    its first partition again.
    """

    workspace: Workspace
    bundles: Collection[BundleName] | None = None
    clusters: Collection[ClusterId] | None = None
    wave: bool = False


class ClusterColumns(Protocol):
    """The columns of a cluster that targeting needs; labels, annotations and spec are JSON."""

    @property
    def id(self) -> ClusterId: ...
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> bytes: ...
    @property
    def annotations(self) -> bytes: ...
    @property
    def spec(self) -> bytes: ...


class TargetRow(NamedTuple):
    """A cluster with the columns that targeting needs."""

    id: ClusterId
    name: str
    labels: bytes
    annotations: bytes
    spec: bytes


def next_generation(writer: Writer) -> Generation:
    row = writer.execute(
        sa.update(meta)
        .where(meta.c.key == "generation")
        .values(value=meta.c.value + 1)
        .returning(meta.c.value)
    )
    return Generation(row.scalar_one())


def last_generation(reader: Reader) -> Generation:
    """The one that was given last."""
    return Generation(
        reader.execute(sa.select(meta.c.value).where(meta.c.key == "generation")).scalar_one()
    )


def bundle_specs(reader: Reader, scope: Scope) -> list[BundleSpec]:
    query = sa.select(bundles.c.spec).where(bundles.c.workspace == scope.workspace)
    if scope.bundles is not None:
        rows = [
            r
            for part in in_parts(sorted(scope.bundles))
            for r in reader.execute(query.where(bundles.c.name.in_(part)))
        ]
    else:
        rows = list(reader.execute(query))
    specs = [msgspec.json.decode(row.spec, type=BundleSpec) for row in rows]
    return with_repo_pause(reader, scope.workspace, specs)


def paused_repos(reader: Reader, workspace: Workspace) -> set[str]:
    """Names of the GitRepos with `spec.paused: true`."""
    o = objects.c
    named = sa.text("instr(spec, '\"paused\"') > 0")
    rows = reader.execute(
        sa.select(o.name, o.spec).where(o.kind == "GitRepo", o.workspace == workspace, named)
    )
    return {row.name for row in rows if msgspec.json.decode(row.spec).get("paused")}


def with_repo_pause(
    reader: Reader, workspace: Workspace, specs: list[BundleSpec]
) -> list[BundleSpec]:
    """The bundles with `paused` set where their GitRepo is paused.

    The pause of a GitRepo is not stored in its bundles: it must work while Git is unreachable, and
    it must not make a revision.
    """
    paused = paused_repos(reader, workspace)
    if not paused:
        return specs
    return [
        msgspec.structs.replace(spec, paused=True) if spec.repo in paused else spec
        for spec in specs
    ]


def fleet_clusters(reader: Reader, scope: Scope) -> list[Cluster]:
    c = clusters.c
    query = sa.select(c.id, c.name, c.labels, c.annotations, c.spec).where(
        c.workspace == scope.workspace, c.is_leaving.is_(False)
    )
    if scope.clusters is not None:
        rows = [
            r
            for part in in_parts(sorted(scope.clusters))
            for r in reader.execute(query.where(c.id.in_(part)))
        ]
    else:
        rows = list(reader.execute(query))
    return [cluster_of(TargetRow(*row), scope.workspace) for row in rows]


def kube_versions(reader: Reader, ids: Sequence[ClusterId]) -> dict[ClusterId, str]:
    """The Kubernetes versions that the agents of these clusters report, "" for none."""
    c = clusters.c
    rows = [
        row
        for part in in_parts(sorted(ids))
        for row in reader.execute(sa.select(c.id, c.agent).where(c.id.in_(part)))
    ]
    return {row.id: str(msgspec.json.decode(row.agent).get("kube", "")) for row in rows}


def cluster_of(row: ClusterColumns, workspace: Workspace) -> Cluster:
    """Return a row of `clusters` as targeting sees it. As in Fleet, every cluster carries its own
    name as a label.
    """
    spec = msgspec.json.decode(row.spec)
    return Cluster(
        workspace=workspace,
        name=ClusterName(row.name),
        id=row.id,
        labels=shown_labels(row.name, msgspec.json.decode(row.labels)),
        annotations=msgspec.json.decode(row.annotations),
        values=spec.get("templateValues") or {},
        paused=bool(spec.get("paused")),
    )


def shown_labels(name: str, labels: dict[str, str]) -> dict[str, str]:
    return {"fleet.cattle.io/cluster": name} | labels


def groups(reader: Reader, workspace: Workspace) -> list[Group]:
    o = objects.c
    rows = reader.execute(
        sa.select(o.name, o.labels, o.spec).where(
            o.kind == "ClusterGroup", o.workspace == workspace
        )
    )
    return [
        Group(
            workspace=workspace,
            name=r.name,
            selector=msgspec.json.decode(r.spec).get("selector"),
            labels=msgspec.json.decode(r.labels),
        )
        for r in rows
    ]


def sent_deployments(reader: Reader, scope: Scope) -> dict[Key, Have]:
    """Return what the clusters in the scope received, tombstones included. Equal rows share one
    Have, so that a decision looks at each once.
    """
    d = deployments.c
    query = sa.select(
        *(d.cluster_id, d.bundle, d.generation, d.archive, d.options_digest, d.options_key),
        *(d.target, d.customization, d.keep_resources, d.is_removed, d.bundle_facts, d.staged_key),
    ).where(d.workspace == scope.workspace)
    queries = [query]
    if scope.bundles is not None:
        queries = [query.where(d.bundle.in_(part)) for part in in_parts(sorted(scope.bundles))]
    if scope.clusters is not None:
        queries = [
            query.where(d.cluster_id.in_(part))
            for query in queries
            for part in in_parts(sorted(scope.clusters))
        ]
    sent: dict[Key, Have] = {}
    known: dict[tuple[Any, ...], Have] = {}
    for query in queries:
        for rows in reader.execute(query).partitions(_ROWS_AT_ONCE):
            for cluster, bundle, *columns in rows:
                content = tuple(columns)
                if content not in known:
                    known[content] = _have(*content)
                sent[cluster, bundle] = known[content]
    return sent


def _have(*columns: Any) -> Have:
    """Return a Have from the columns of `sent_deployments`, after cluster and bundle."""
    generation, archive, digest, key, target, customization, keep, removed, shown, staged = columns
    return Have(
        generation,
        archive,
        digest,
        key,
        target,
        customization,
        keep,
        removed,
        shown.decode(),
        staged,
    )
