"""What `fleetctl why` explains, gathered in one read: a bundle on a cluster, a bundle as a whole, a
cluster. The words are core/why.py's.

Rule: nothing is decided here again. What a rollout waits for is what its last decision wrote down,
what a target says is what targeting says now, and what the agent said is shown as it said it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.explain.deployment import Facts, Targeting, Told, Tried, lines, next_step
from fleetctl.core.explain.removed_bundle import Going, going_lines, going_step
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, matches
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.reasons import Reason
from fleetctl.core.model.status import State
from fleetctl.core.targeting.selector_mismatch import wanted_labels, why_not
from fleetctl.core.targeting.target import DEFAULT_TARGETS, Match, criteria_match, explain

from ...agents.presence import Live
from ...clock import rfc3339
from ...revisions.pins import Order, orders
from ...store.queries import Scope, bundle_specs, cluster_of, groups
from ...store.schema import bundles, clusters, deployments, wants
from .. import pending_removals, reasons
from . import blockers, bundle_and_cluster, waits
from .agent import agent_of, known

Document = dict[str, Any]
_NEAR = 5000


@dataclass(frozen=True)
class Where:
    """What is asked about; `name` is a cluster's or a bundle's."""

    workspace: str
    cluster: str = ""
    bundle: str = ""
    name: str = ""


def document(connection: Connection, live: Live, now: float, where: Where) -> Document:
    """Raises NotFound with the nearest name, UsageError when a name means two things."""
    where = _resolved(connection, where)
    if where.bundle and not _exists(connection, bundles, where.workspace, where.bundle):
        return _gone(connection, live, now, where)
    if where.cluster and where.bundle:
        facts = _Pair(connection, live, now, where).facts()
        return bundle_and_cluster.document("deployment", facts, lines(facts), next_step(facts))
    if where.bundle:
        return bundle_and_cluster.bundle(connection, live, now, where.workspace, where.bundle)
    return bundle_and_cluster.cluster(connection, live, now, where.workspace, where.cluster)


def _gone(connection: Connection, live: Live, now: float, where: Where) -> Document:
    """Of a bundle that is removed, and that clusters still have."""
    row, of = None, ""
    if where.cluster:
        query = sa.select(clusters).where(
            clusters.c.workspace == where.workspace, clusters.c.name == where.cluster
        )
        row = connection.execute(query).one()
        of = row.id
    found = pending_removals.groups(connection, where.workspace, where.bundle, of)
    if not found:
        raise NotFound(
            f"bundle {where.bundle} does not exist, and cluster {where.cluster} does not have it"
            " any more",
            subject=f"bundle {where.workspace}/{where.bundle}",
            next_step=(
                f"See `fleetctl why bundle/{where.bundle}` for the clusters that still have it."
            ),
        )
    (_, repo, _), groups_found = next(iter(found.items()))
    going = Going(
        workspace=where.workspace,
        bundle=where.bundle,
        repo=repo,
        cluster=where.cluster,
        clusters=sum(group.count for group in groups_found),
        agent=agent_of(row, live, now) if row is not None else None,
        troubles=[bundle_and_cluster.trouble_of(group) for group in groups_found],
    )
    return bundle_and_cluster.document(
        "deployment" if where.cluster else "bundle", going, going_lines(going), going_step(going)
    )


def _resolved(connection: Connection, where: Where) -> Where:
    space = where.workspace
    if not where.name:
        _known(connection, space, "cluster", where.cluster)
        _known(connection, space, "bundle", where.bundle)
        return where
    is_cluster, is_bundle = (
        _exists(connection, table, space, where.name) for table in (clusters, bundles)
    )
    is_bundle = is_bundle or pending_removals.exists(connection, space, where.name)
    if is_cluster and is_bundle:
        step = f"Write `fleetctl why cluster/{where.name}` or `fleetctl why bundle/{where.name}`."
        raise UsageError(
            f"{where.name} is a cluster and a bundle", subject=where.name, next_step=step
        )
    if not is_cluster and not is_bundle:
        near = _nearest(
            where.name, [*_names(connection, clusters, space), *_names(connection, bundles, space)]
        )
        step = (
            f"Did you mean {near}?"
            if near
            else f"See `fleetctl cluster list -n {space}` and `fleetctl bundle list -n {space}`."
        )
        raise NotFound(
            f"there is no cluster and no bundle {where.name} in workspace {space}",
            subject=where.name,
            next_step=step,
        )
    return Where(space, cluster=where.name) if is_cluster else Where(space, bundle=where.name)


def _known(connection: Connection, space: str, kind: str, name: str) -> None:
    table = clusters if kind == "cluster" else bundles
    if not name or _exists(connection, table, space, name):
        return
    if kind == "bundle" and pending_removals.exists(connection, space, name):
        return
    near = _nearest(name, _names(connection, table, space))
    step = f"Did you mean {near}?" if near else f"See `fleetctl {kind} list -n {space}`."
    raise NotFound(
        f"{kind} {name} does not exist in workspace {space}",
        subject=f"{kind} {space}/{name}",
        next_step=step,
    )


def _exists(connection: Connection, table: sa.Table, space: str, name: str) -> bool:
    return (
        connection.execute(
            sa.select(table.c.name).where(table.c.workspace == space, table.c.name == name)
        ).first()
        is not None
    )


def _names(connection: Connection, table: sa.Table, space: str) -> list[str]:
    return list(
        connection.execute(
            sa.select(table.c.name).where(table.c.workspace == space).limit(_NEAR)
        ).scalars()
    )


def _nearest(name: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, 1)), "")


class _Pair:
    """One bundle on one cluster."""

    def __init__(self, connection: Connection, live: Live, now: float, where: Where) -> None:
        self.connection, self.live, self.now = connection, live, now
        self.space, self.bundle = Workspace(where.workspace), BundleName(where.bundle)
        query = sa.select(clusters).where(
            clusters.c.workspace == where.workspace, clusters.c.name == where.cluster
        )
        self.cluster = connection.execute(query).one()
        self.id = ClusterId(self.cluster.id)
        d = deployments.c
        self.row = connection.execute(
            sa.select(deployments).where(d.cluster_id == self.id, d.bundle == self.bundle)
        ).one_or_none()
        self.known = known(connection, live, now, self.cluster)
        self.known.meet([self.id])

    def facts(self) -> Facts:
        spec = bundle_specs(self.connection, Scope(self.space, bundles=[self.bundle]))[0]
        seen = cluster_of(self.cluster, self.space)
        order = [
            o
            for o in orders(self.connection, self.space, [spec], [seen])
            if o.only is None or self.id in o.only
        ][-1]
        there = self.row is not None and not self.row.removed
        state, reason = (
            self.known.reason(reasons.row_of(self.row, self.known))
            if there
            else (None, self._removal())
        )
        if state is State.READY:
            reason = reasons.warning_of(self.row, self.cluster.name)
        place = (self.space, self.bundle)
        return Facts(
            workspace=self.space,
            cluster=self.cluster.name,
            bundle=self.bundle,
            repo=spec.repo,
            state=state.value if state else "",
            ready=state is State.READY,
            targeting=self._targeting(order, spec, seen),
            told=self._told(),
            staged=self._staged(),
            rollout=waits.way(self.connection, place, self.row if there else None, self.now),
            window=waits.window(self.connection, place, self.cluster, self.now),
            dependencies=waits.dependencies(
                self.connection, self.known, self.id, self.bundle, spec
            ),
            pauses=blockers.pauses(self.connection, spec, self.cluster),
            pins=blockers.pins(self.connection, place, self.cluster),
            holds=(
                blockers.holds(self.connection, place, spec.repo, self.row)
                if self.row is not None
                else []
            ),
            agent=agent_of(self.cluster, self.live, self.now),
            reason=reason,
        )

    def _targeting(self, order: Order, spec: BundleSpec, seen: Cluster) -> Targeting:
        known_groups = groups(self.connection, self.space)
        mine = [g for g in known_groups if matches(g.selector, seen.labels)]
        tried = []
        for at, target in enumerate(spec.targets or DEFAULT_TARGETS):
            good = criteria_match(target, seen, mine)
            name = target.name or f"target {at + 1}"
            tried.append(
                Tried(
                    name=name,
                    matches=good,
                    why="" if good else "; ".join(why_not(target, seen, mine)),
                )
            )
            if good:
                break
        if self.cluster.leaving:
            return Targeting(missed="the cluster is leaving", tried=tried)
        found = explain(spec, [seen], known_groups)[0]
        if not isinstance(found, Match):
            labels = (
                next(iter(filter(None, map(wanted_labels, spec.targets))), {})
                if not any(one.matches for one in tried)
                else {}
            )
            return Targeting(missed=found.why, tried=tried, labels=labels)
        # a pinned revision has customizations of its own
        told = explain(order.spec, [seen], known_groups)[0]
        changed = told.customization if isinstance(told, Match) else found.customization
        return Targeting(target=found.target or tried[-1].name, customization=changed, tried=tried)

    def _removal(self) -> Reason | None:
        """What stands in the way of a removal that this cluster was told of."""
        if self.row is None or not self.row.removed:
            return None
        found = pending_removals.groups(self.connection, self.space, self.bundle, self.id)
        return next((group.reason for some in found.values() for group in some), None)

    def _told(self) -> Told:
        row = self.row
        if row is None or row.generation < 1:
            return Told()
        at = rfc3339(row.told) if row.told else ""
        return Told(
            generation=row.generation,
            commit=row.commit,
            at=at,
            applied=row.applied,
            reported_at=row.reported_at,
        )

    def _staged(self) -> str:
        if self.row is None or not self.row.staged:
            return ""
        text = self.connection.execute(
            sa.select(wants.c.json).where(wants.c.key == self.row.staged)
        ).scalar()
        return str(msgspec.json.decode(text).get("commit", "")) if text else ""
