"""From bundles, clusters and groups to what each cluster should be told: gather, decide (pure, in the core), store only the differences.

Runs inside one write transaction, so that what was read is still true when the decision is stored. Status reports are never read here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core import options as opts
from fleetctl.core.bundle import BundleSpec
from fleetctl.core.cluster import Cluster, Group
from fleetctl.core.ids import BundleName, ClusterId, Digest, Generation, Workspace
from fleetctl.core.options import Options
from fleetctl.core.plan import Change, Have, Key, Want, clusters_of, decide
from fleetctl.core.status import State
from fleetctl.core.target import Match, select
from manager.sealing import sources, version_of
from manager.store.schema import bundles, clusters, deployments, meta, objects
from manager.store.schema import options as options_table

_PER_STATEMENT = 500


@dataclass(frozen=True)
class Scope:
    """What may have changed: these bundles, or these clusters, or (None) all of the workspace."""

    workspace: Workspace
    bundles: Collection[BundleName] | None = None
    clusters: Collection[ClusterId] | None = None


def reconcile(connection: Connection, scope: Scope, *, now: str) -> set[ClusterId]:
    """Bring the deployments in `scope` to what is wanted. The clusters whose document is another one now."""
    specs = bundle_specs(connection, scope)
    fleet = fleet_clusters(connection, scope)
    texts: dict[str, bytes] = {}
    copied = _copied(connection, scope.workspace, specs)
    wanted = _wanted(specs, fleet, groups(connection, scope.workspace), texts, copied)
    changes = decide(wanted, _have(connection, scope, {c.id for c in fleet}))
    if not changes:
        return set()
    _store(connection, scope.workspace, changes, {spec.name: spec for spec in specs}, texts)
    touched = clusters_of(changes)
    for part in _parts(sorted(touched)):
        connection.execute(sa.update(clusters).where(clusters.c.id.in_(part)).values(issued=now))
    return touched


def next_generation(connection: Connection) -> Generation:
    row = connection.execute(sa.update(meta).where(meta.c.key == "generation").values(value=meta.c.value + 1).returning(meta.c.value))
    return Generation(row.scalar_one())


def bundle_specs(connection: Connection, scope: Scope) -> list[BundleSpec]:
    query = sa.select(bundles.c.spec).where(bundles.c.workspace == scope.workspace)
    if scope.bundles is not None:
        rows = [r for part in _parts(sorted(scope.bundles)) for r in connection.execute(query.where(bundles.c.name.in_(part)))]
    else:
        rows = list(connection.execute(query))
    return [msgspec.json.decode(row.spec, type=BundleSpec) for row in rows]


def fleet_clusters(connection: Connection, scope: Scope) -> list[Cluster]:
    c = clusters.c
    query = sa.select(c.id, c.name, c.labels, c.annotations, c.spec).where(c.workspace == scope.workspace, c.leaving.is_(False))
    if scope.clusters is not None:
        rows = [r for part in _parts(sorted(scope.clusters)) for r in connection.execute(query.where(c.id.in_(part)))]
    else:
        rows = list(connection.execute(query))
    return [cluster_of(row, scope.workspace) for row in rows]


def cluster_of(row: Any, workspace: Workspace) -> Cluster:
    """A row of `clusters` as targeting sees it. As in Fleet, every cluster carries its own name as a label."""
    spec = msgspec.json.decode(row.spec)
    return Cluster(
        workspace=workspace,
        name=row.name,
        id=row.id,
        labels=shown_labels(row.name, msgspec.json.decode(row.labels)),
        annotations=msgspec.json.decode(row.annotations),
        values=spec.get("templateValues") or {},
        paused=bool(spec.get("paused")),
    )


def shown_labels(name: str, labels: dict[str, str]) -> dict[str, str]:
    return {"fleet.cattle.io/cluster": name} | labels


def groups(connection: Connection, workspace: Workspace) -> list[Group]:
    o = objects.c
    rows = connection.execute(sa.select(o.name, o.labels, o.spec).where(o.kind == "ClusterGroup", o.workspace == workspace))
    return [
        Group(workspace=workspace, name=r.name, selector=msgspec.json.decode(r.spec).get("selector"), labels=msgspec.json.decode(r.labels))
        for r in rows
    ]


Sources = Mapping[tuple[str, str], Any]


def _copied(connection: Connection, workspace: Workspace, specs: Iterable[BundleSpec]) -> Sources:
    """The Secrets and ConfigMaps that the bundles want copied."""
    every = (options for spec in specs for options in (spec.options, *(t.options for t in (*spec.targets, *spec.customizations))))
    wanted = [one for options in every if options.downstream_resources for one in opts.downstream_of(options)]
    return sources(connection, workspace, wanted) if wanted else {}


def bundles_that_copy(connection: Connection, workspace: Workspace, kind: str, name: str) -> set[BundleName]:
    """The bundles that want this Secret or ConfigMap on some cluster."""
    found: set[BundleName] = set()
    for text in connection.execute(sa.select(bundles.c.spec).where(bundles.c.workspace == workspace)).scalars():
        if b'"downstreamResources"' in text:
            spec = msgspec.json.decode(text, type=BundleSpec)
            every = (spec.options, *(t.options for t in (*spec.targets, *spec.customizations)))
            if any((kind, name) == (one.kind, one.name) for options in every for one in opts.downstream_of(options)):
                found.add(spec.name)
    return found


def _wanted(
    specs: Iterable[BundleSpec], fleet: Sequence[Cluster], known: Sequence[Group], texts: dict[str, bytes], copied: Sources
) -> dict[Key, Want]:
    """Every deployment that should be; `texts` receives the options' JSON by its key."""
    wanted: dict[Key, Want] = {}
    for spec in specs:
        made: dict[tuple[int, str, str], Want] = {}  # a thousand clusters with the same options cost one digest
        shown = msgspec.json.encode([spec.labels, spec.depends_on, spec.paused]).decode()
        for match in select(spec, fleet, known):
            key = (id(match.options), match.target, match.customization)
            if key not in made:
                made[key] = _want(spec, match, shown, texts, copied)
            wanted[match.cluster.id, spec.name] = made[key]
    return wanted


def _want(spec: BundleSpec, match: Match, shown: str, texts: dict[str, bytes], copied: Sources) -> Want:
    """A content that is copied counts as one of the options: another one is deployed again."""
    options: Options = match.options
    version = version_of(opts.downstream_of(options), copied)
    text = opts.to_json(options)
    key = hashlib.sha256(text).hexdigest()
    texts[key] = text
    return Want(
        archive=spec.archive,
        options_digest=Digest(hashlib.sha256(f"{opts.digest(options)}\n{version}".encode()).hexdigest())
        if version
        else opts.digest(options),
        options_key=key,
        size=spec.size,
        target=match.target,
        customization=match.customization,
        commit=spec.commit,
        keep_resources=bool(options.keep_resources),
        shown=shown,
    )


def _have(connection: Connection, scope: Scope, fleet: set[ClusterId]) -> dict[Key, Have]:
    d = deployments.c
    query = sa.select(
        *(d.cluster_id, d.bundle, d.generation, d.archive, d.options_digest, d.options_key),
        *(d.target, d.customization, d.keep_resources, d.removed, d.shown),
    ).where(d.workspace == scope.workspace)
    if scope.bundles is not None:
        rows = [r for part in _parts(sorted(scope.bundles)) for r in connection.execute(query.where(d.bundle.in_(part)))]
    elif scope.clusters is not None:
        rows = [r for part in _parts(sorted(scope.clusters)) for r in connection.execute(query.where(d.cluster_id.in_(part)))]
    else:
        rows = list(connection.execute(query))
    return {
        (r.cluster_id, r.bundle): Have(
            generation=r.generation,
            archive=Digest(r.archive),
            options_digest=Digest(r.options_digest),
            options_key=r.options_key,
            target=r.target,
            customization=r.customization,
            keep_resources=r.keep_resources,
            removed=r.removed,
            shown=r.shown.decode(),
        )
        for r in rows
        if scope.bundles is None or scope.clusters is None or r.cluster_id in fleet
    }


def _store(
    connection: Connection, workspace: Workspace, changes: list[Change], specs: dict[BundleName, BundleSpec], texts: dict[str, bytes]
) -> None:
    generation = next_generation(connection)
    rows = [_row(change, workspace, specs[change.key[1]], generation) for change in changes if change.want is not None]
    used = {row["options_key"] for row in rows}
    if used:
        adding = sa.insert(options_table).prefix_with("OR IGNORE")
        connection.execute(adding, [{"key": key, "json": texts[key]} for key in used])
    fresh = [row for row, change in zip(rows, (c for c in changes if c.want is not None), strict=True) if change.redeploy]
    shown = [row for row, change in zip(rows, (c for c in changes if c.want is not None), strict=True) if not change.redeploy]
    if fresh:
        _upsert(connection, fresh)
    if shown:
        _show(connection, shown)
    gone = [{"c": change.key[0], "b": change.key[1]} for change in changes if change.want is None]
    if gone:
        d = deployments.c
        where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
        values = {"removed": True, "generation": generation, "state": State.WAIT_APPLIED.value, "reported": 0}
        connection.execute(sa.update(deployments).where(where).values(**values), gone)


def _row(change: Change, workspace: Workspace, spec: BundleSpec, generation: Generation) -> dict[str, Any]:
    want = change.want
    assert want is not None
    return {
        "cluster_id": change.key[0],
        "bundle": change.key[1],
        "workspace": workspace,
        "repo": spec.repo,
        "generation": generation,
        "archive": want.archive,
        "size": want.size,
        "options_digest": want.options_digest,
        "options_key": want.options_key,
        "target": want.target,
        "customization": want.customization,
        "commit": want.commit,
        "shown": want.shown.encode(),
        "keep_resources": want.keep_resources,
        "removed": False,
        "state": State.WAIT_APPLIED.value,
    }


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """New ones, and those that are deployed again: what the cluster last applied stays written down."""
    from sqlalchemy.dialects.sqlite import insert

    adding = insert(deployments)
    values = {key: adding.excluded[key] for key in rows[0] if key not in {"cluster_id", "bundle"}}
    blank = {"applied": 0, "reported": 0, "reported_at": "", "message": "", "report": b""}
    connection.execute(
        adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=values),
        [row | blank for row in rows],
    )


def _show(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """The same generation, told differently."""
    d = deployments.c
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    names = ("options_key", "target", "customization", "shown", "keep_resources")
    update = sa.update(deployments).where(where).values({name: sa.bindparam(f"v_{name}") for name in names})
    connection.execute(update, [{"c": row["cluster_id"], "b": row["bundle"], **{f"v_{name}": row[name] for name in names}} for row in rows])


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """SQLite takes a bounded number of parameters."""
    for start in range(0, len(items), _PER_STATEMENT):
        yield items[start : start + _PER_STATEMENT]
