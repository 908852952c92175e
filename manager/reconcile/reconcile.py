"""From bundles, clusters and groups to what each cluster should be told: gather, decide (pure, in
the core), store only the differences.

Runs inside one write transaction, so that what was read is still true when the decision is stored.
Status reports are never read here. What goes through a rollout is only staged
(manager/rollout/staging.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Generation, Workspace
from fleetctl.core.model.plan import Change, Have, Key, Want, clusters_of, decide
from fleetctl.core.model.status import State

from ..clock import unix
from ..revisions import delivery_log
from ..rollout import batches, late_joiners, schedules, staging
from ..store import Writer, counts
from ..store.bulk import many
from ..store.commands.clusters import mark_documents_changed
from ..store.commands.delivery import delivery_columns, want_columns
from ..store.queries import Scope, bundle_specs, fleet_clusters, groups, in_parts, next_generation
from ..store.schema import bundles, deployments
from ..store.schema import options as options_table
from .desired import copied_by, intended, wanted_by
from .removal_guard import (
    NO_CONSENT,
    RemovalConsent,
    TargetedKeys,
    commit_removals,
    decide_removals,
    gather_removals,
    lost_keys,
)

_AT_ONCE = 10_000  # rows that are read into memory


@dataclass(frozen=True)
class ReconcileResult:
    """What a reconcile did. `touched`: clusters whose documents changed; `removed`: deployments
    that no target selects any more; `held`: deployments whose removal is held now and was not
    before; `changes`: all differences, held removals included; `sent`: what the clusters had
    received before.
    """

    touched: set[ClusterId] = field(default_factory=set)
    removed: Set[Key] = frozenset()
    held: Set[Key] = frozenset()
    changes: Sequence[Change] = ()
    sent: Mapping[Key, Have] = field(default_factory=dict)


def reconcile(connection: Writer, scope: Scope, *, now: str) -> set[ClusterId]:
    """Store what the clusters in `scope` should receive. Returns the clusters whose documents
    changed.
    """
    return reconcile_scope(connection, scope, now=now).touched


def reconcile_scope(
    connection: Writer, scope: Scope, *, now: str, consent: RemovalConsent | None = None
) -> ReconcileResult:
    """Store what the clusters in `scope` should receive, except removals that are held. `consent`:
    what a person allows to be removed; without it very large changes are stored in batches.

    Raises Conflict when `consent` states another number of removals.
    """
    if consent is None:
        scope = batches.put_off(connection, scope)
    if scope.bundles is not None and not scope.bundles:
        return ReconcileResult()
    fleet = fleet_clusters(connection, scope)
    texts: dict[str, bytes] = {}
    stored = bundle_specs(connection, scope)
    known = groups(connection, scope.workspace)
    if scope.bundles is None:
        schedules.assign(connection, scope, fleet, known)
    specs, wanted = intended(connection, scope.workspace, stored, fleet, known, texts)
    have = told(connection, scope)
    by_name = {spec.name: spec for spec in specs}
    targeted = TargetedKeys(wanted, by_name, {c.id for c in fleet})
    differences = decide(wanted, have)
    consent = consent or NO_CONSENT
    lost = lost_keys(targeted, have, differences)
    facts = gather_removals(connection, scope, targeted, lost, now, consent)
    removals = decide_removals(facts, targeted, consent, scope.workspace)
    commit_removals(connection, scope, removals, now)
    changes = [change for change in differences if change.key not in removals.blocked]
    held = staging.gated(
        connection, scope.workspace, specs, _counts(connection, scope, wanted, changes)
    )
    held |= schedules.gated(connection, scope.workspace, changes) | batches.pending(
        connection, scope.workspace, by_name
    )
    waiting = [c for c in changes if c.want is not None and c.redeploy and c.key[1] in held]
    later = {c.key for c in waiting}
    at_once = [c for c in changes if c.key not in later]
    _keep_options(connection, changes, texts)
    if waiting:
        staging.stage(connection, scope.workspace, waiting, by_name, now)
        if scope.wave:
            staging.wave(
                connection,
                scope.workspace,
                {c.key[1] for c in waiting if c.key in have and have[c.key].generation > 0},
            )
    if at_once:
        _store(
            connection,
            scope.workspace,
            at_once,
            by_name,
            {key for key, old in have.items() if not old.generation},
            now,
        )
    _tell_rollouts(connection, scope, changes, held, by_name)
    if scope.clusters is None:
        batches.whole(connection, scope.workspace, stored)
    touched = clusters_of(at_once)
    if waiting:
        touched |= supply(connection, scope.workspace, {c.key[1] for c in waiting}, now=now)
    mark_documents_changed(connection, touched, now)
    return ReconcileResult(
        touched, removals.removed, removals.verdict.held.keys(), differences, have
    )


def supply(
    connection: Connection, workspace: Workspace, names: Collection[BundleName], *, now: str
) -> set[ClusterId]:
    """Give those clusters that never had one of these bundles, and whose rollout has stopped, what
    the fleet had before. Those that were told.
    """
    fed: set[ClusterId] = set()
    for lack in late_joiners.lacking(connection, workspace, names, unix(now)):
        fleet = fleet_clusters(connection, Scope(workspace, clusters=lack.clusters))
        texts: dict[str, bytes] = {}
        made = wanted_by(
            [lack.order],
            fleet,
            groups(connection, workspace),
            texts,
            copied_by(connection, workspace, [lack.order.spec]),
        )
        _keep_options(
            connection, [Change(key, want, redeploy=True) for key, want in made.items()], texts
        )
        fed |= late_joiners.feed(connection, made, now)
    return fed


def _counts(
    connection: Connection, scope: Scope, wanted: Mapping[Key, Want], changes: Iterable[Change]
) -> dict[BundleName, int]:
    """Clusters of each bundle that changes; of a scope of clusters the others are counted where
    they stand.
    """
    found = Counter(bundle for _, bundle in wanted)
    if scope.clusters is not None:
        for name, n in counts.totals(
            connection, scope.workspace, {change.key[1] for change in changes}
        ).items():
            found[name] = max(found[name], n)
    return found


def _tell_rollouts(
    connection: Connection,
    scope: Scope,
    changes: Iterable[Change],
    held: Collection[BundleName],
    specs: Mapping[BundleName, BundleSpec],
) -> None:
    """Who belongs to which partition may have changed, also where no cluster is told anything new:
    through a cluster's labels where the partitions ask for them, and through a group. Others are
    looked at again only when they have to do with what changed.
    """
    if scope.bundles is not None:
        staging.forget(connection, scope.workspace, set(scope.bundles) - set(specs))
    changed = {change.key[1] for change in changes} if scope.bundles is None else set(scope.bundles)
    staging.touch(connection, scope.workspace, changed & set(held), staging.ANEW)
    asking = {name for name in held if (specs[name].rollout_strategy or {}).get("partitions")}
    if scope.clusters is not None and scope.bundles is None:
        theirs = staging.touch_clusters(connection, scope.workspace, scope.clusters)
        # One that is to be made anew may be made for other partitions than the bundle asks for now.
        asking |= staging.unmade(connection, scope.workspace, theirs - asking)
        staging.displace(connection, scope.workspace, scope.clusters, asking & theirs)
    elif scope.bundles is None:
        # whose window it is may have changed with a group
        staging.touch(connection, scope.workspace, held)
        staging.touch(connection, scope.workspace, asking, staging.ANEW)


def bundles_that_copy(
    connection: Connection, workspace: Workspace, kind: str, name: str
) -> set[BundleName]:
    """The bundles that want this Secret or ConfigMap on some cluster."""
    found: set[BundleName] = set()
    for text in connection.execute(
        sa.select(bundles.c.spec).where(bundles.c.workspace == workspace)
    ).scalars():
        if b'"downstreamResources"' in text:
            spec = msgspec.json.decode(text, type=BundleSpec)
            every = (spec.options, *(t.options for t in (*spec.targets, *spec.customizations)))
            if any(
                (kind, name) == (one.kind, one.name)
                for options in every
                for one in opts.downstream_of(options)
            ):
                found.add(spec.name)
    return found


def told(connection: Connection, scope: Scope) -> dict[Key, Have]:
    """What the clusters were told, as it is stored."""
    d = deployments.c
    query = sa.select(
        *(d.cluster_id, d.bundle, d.generation, d.archive, d.options_digest, d.options_key),
        *(d.target, d.customization, d.keep_resources, d.removed, d.shown, d.staged),
    ).where(d.workspace == scope.workspace)
    queries = (
        [query]
        if scope.bundles is None
        else [query.where(d.bundle.in_(part)) for part in in_parts(sorted(scope.bundles))]
    )
    if scope.clusters is not None:
        queries = [
            one.where(d.cluster_id.in_(part))
            for one in queries
            for part in in_parts(sorted(scope.clusters))
        ]
    found: dict[Key, Have] = {}
    # thousands were told the same: deciding looks at each once
    made: dict[tuple[Any, ...], Have] = {}
    for one in queries:
        for rows in connection.execute(one).partitions(_AT_ONCE):
            for cluster, bundle, *rest in rows:
                same = tuple(rest)
                if same not in made:
                    made[same] = _have(*rest)
                found[cluster, bundle] = made[same]
    return found


def _have(*row: Any) -> Have:
    (
        generation,
        archive,
        options_digest,
        options_key,
        target,
        customization,
        keep_resources,
        removed,
        shown,
        staged,
    ) = row
    return Have(
        generation=generation,
        archive=archive,
        options_digest=options_digest,
        options_key=options_key,
        target=target,
        customization=customization,
        keep_resources=keep_resources,
        removed=removed,
        shown=shown.decode(),
        staged=staged,
    )


def _keep_options(
    connection: Connection, changes: Iterable[Change], texts: Mapping[str, bytes]
) -> None:
    used = {change.want.options_key for change in changes if change.want is not None}
    if used:
        adding = sa.insert(options_table).prefix_with("OR IGNORE")
        connection.execute(adding, [{"key": key, "json": texts[key]} for key in used])


def _store(
    connection: Connection,
    workspace: Workspace,
    changes: list[Change],
    specs: Mapping[BundleName, BundleSpec],
    untold: Collection[Key],
    now: str,
) -> None:
    """`untold`: clusters that were never told the bundle; what they do not get any more needs no
    tombstone.
    """
    generation = next_generation(connection)
    wanting = [change for change in changes if change.want is not None]
    rows = [_row(change, workspace, specs[change.key[1]], generation) for change in wanting]
    fresh = [row for row, change in zip(rows, wanting, strict=True) if change.redeploy]
    shown = [row for row, change in zip(rows, wanting, strict=True) if not change.redeploy]
    if fresh:
        _upsert(connection, fresh, now)
    if shown:
        _show(connection, shown)
    d = deployments.c
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    gone = [
        {"c": change.key[0], "b": change.key[1]}
        for change in changes
        if change.want is None and change.key not in untold
    ]
    if gone:
        values = {
            "removed": True,
            "generation": generation,
            "state": State.WAIT_APPLIED.value,
            "reported": 0,
            "staged": "",
        }
        values |= delivery_columns(int(unix(now))) | {"decision": delivery_log.REMOVAL}
        many(connection, sa.update(deployments).where(where).values(**values), gone)
    never = [
        {"c": change.key[0], "b": change.key[1]}
        for change in changes
        if change.want is None and change.key in untold
    ]
    many(connection, sa.delete(deployments).where(where), never)


def _row(
    change: Change, workspace: Workspace, spec: BundleSpec, generation: Generation
) -> dict[str, Any]:
    want = change.want
    assert want is not None
    return {
        "cluster_id": change.key[0],
        "bundle": change.key[1],
        "workspace": workspace,
        "repo": spec.repo,
        "generation": generation,
        **want_columns(want),
        "removed": False,
        "state": State.WAIT_APPLIED.value,
        "staged": "",
    }


def _upsert(connection: Connection, rows: list[dict[str, Any]], now: str) -> None:
    """New ones, and those that are deployed again: what the cluster last applied stays written
    down.
    """
    from sqlalchemy.dialects.sqlite import insert

    adding = insert(deployments)
    values: dict[str, Any] = {
        key: adding.excluded[key] for key in rows[0] if key not in {"cluster_id", "bundle"}
    }
    handed = delivery_columns(int(unix(now)))
    values |= handed | {
        "partition": sa.case(
            (deployments.c.removed, staging.NOWHERE), else_=deployments.c.partition
        )
    }
    blank = {
        "applied": 0,
        "reported": 0,
        "reported_at": "",
        "message": "",
        "report": b"",
        **handed,
        "past": "",
    }
    every = [row | blank | staging.unplaced((row["cluster_id"], row["bundle"])) for row in rows]
    many(
        connection,
        adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=values),
        every,
    )


def _show(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """The same generation, told differently."""
    d = deployments.c
    where = (d.cluster_id == sa.bindparam("c")) & (d.bundle == sa.bindparam("b"))
    names = ("options_key", "target", "customization", "shown", "keep_resources", "staged")
    update = (
        sa.update(deployments)
        .where(where)
        .values({name: sa.bindparam(f"v_{name}") for name in names})
    )
    many(
        connection,
        update,
        [
            {
                "c": row["cluster_id"],
                "b": row["bundle"],
                **{f"v_{name}": row[name] for name in names},
            }
            for row in rows
        ],
    )
