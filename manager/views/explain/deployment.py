"""Explains a bundle on a cluster, a bundle, or a cluster, for `fleetctl why`, from one read. The
words are those of fleetctl/core/explain.

Rule: nothing is decided here. What a rollout waits for is what its last decision stored, what a
target says is what targeting says now, and what the agent said is shown as it was reported.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetctl.core.explain.deployment import (
    ExplanationFacts,
    Targeting,
    Told,
    Tried,
    lines,
    next_step,
)
from fleetctl.core.explain.removed_bundle import Going, going_lines, going_step
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.reasons import Reason
from fleetctl.core.model.status import State
from fleetctl.core.targeting.selector_mismatch import wanted_labels, why_not
from fleetctl.core.targeting.target import DEFAULT_TARGETS, Match, criteria_match, explain

from ...clock import rfc3339
from ...presence import PresenceTable
from ...revisions.pins import Order, orders
from ...store.connection import Reader
from ...store.queries import Scope, bundle_specs, cluster_of, groups
from ...store.queries.bundles import bundle_exists
from ...store.queries.clusters import ClusterRow, find_cluster_by_name
from ...store.queries.deployments import DeploymentRow, find_deployment, staged_commit
from ...store.queries.objects import list_names
from ...store.queries.rollout.removals import has_removals
from ..metadata import Document
from ..not_found import MAX_NAMES, nearest_name
from ..reasons import warning_of
from ..removals import pending as pending_removals
from . import blockers, bundle_and_cluster, waits
from .agent import describe_agent, reason_context


@dataclass(frozen=True)
class ExplanationSubject:
    """What a question is about; `name` is a cluster's or a bundle's."""

    workspace: str
    cluster: str = ""
    bundle: str = ""
    name: str = ""


def explain_subject(
    reader: Reader, live: PresenceTable, now: float, subject: ExplanationSubject
) -> Document:
    """Raises NotFound with the nearest name, UsageError when a name means two things."""
    subject = _resolve(reader, subject)
    workspace, bundle = Workspace(subject.workspace), BundleName(subject.bundle)
    cluster = find_cluster_by_name(reader, workspace, subject.cluster) if subject.cluster else None
    if bundle and not bundle_exists(reader, workspace, bundle):
        return _explain_removed_bundle(reader, live, now, subject, cluster)
    if cluster is None:
        return bundle_and_cluster.explain_bundle(reader, live, now, workspace, bundle)
    if not bundle:
        return bundle_and_cluster.explain_cluster(reader, live, now, cluster)
    facts = _DeploymentExplainer(reader, live, now, cluster, bundle).facts()
    return bundle_and_cluster.build_explanation("deployment", facts, lines(facts), next_step(facts))


def _explain_removed_bundle(
    reader: Reader,
    live: PresenceTable,
    now: float,
    subject: ExplanationSubject,
    cluster: ClusterRow | None,
) -> Document:
    """Of a bundle that is removed, and that clusters still have."""
    cluster_id = cluster.id if cluster is not None else ""
    removals = pending_removals.group_removals(
        reader, subject.workspace, subject.bundle, cluster_id
    )
    if not removals:
        why_command = f"fleetctl why bundle/{subject.bundle}"
        raise NotFound(
            f"bundle {subject.bundle} does not exist, and cluster {subject.cluster} does not have"
            " it any more",
            subject=f"bundle {subject.workspace}/{subject.bundle}",
            next_step=f"See `{why_command}` for the clusters that still have it.",
        )
    (_, repo, _), causes = next(iter(removals.items()))
    going = Going(
        workspace=subject.workspace,
        bundle=subject.bundle,
        repo=repo,
        cluster=subject.cluster,
        clusters=sum(group.count for group in causes),
        agent=describe_agent(cluster, live, now) if cluster is not None else None,
        troubles=[bundle_and_cluster.trouble_of(group) for group in causes],
    )
    about = "deployment" if subject.cluster else "bundle"
    return bundle_and_cluster.build_explanation(about, going, going_lines(going), going_step(going))


def _resolve(reader: Reader, subject: ExplanationSubject) -> ExplanationSubject:
    """The subject with its cluster and bundle, which exist, in place of a name."""
    workspace, name = subject.workspace, subject.name
    if not name:
        _check_cluster(reader, workspace, subject.cluster)
        _check_bundle(reader, workspace, subject.bundle)
        return subject
    is_cluster = find_cluster_by_name(reader, workspace, name) is not None
    is_bundle = _has_bundle(reader, workspace, name)
    if is_cluster and is_bundle:
        step = f"Write `fleetctl why cluster/{name}` or `fleetctl why bundle/{name}`."
        raise UsageError(f"{name} is a cluster and a bundle", subject=name, next_step=step)
    if not is_cluster and not is_bundle:
        names = [*_names(reader, "Cluster", workspace), *_names(reader, "Bundle", workspace)]
        near = nearest_name(name, names)
        lists = f"`fleetctl cluster list -n {workspace}` and `fleetctl bundle list -n {workspace}`"
        raise NotFound(
            f"there is no cluster and no bundle {name} in workspace {workspace}",
            subject=name,
            next_step=f"Did you mean {near}?" if near else f"See {lists}.",
        )
    return (
        ExplanationSubject(workspace, cluster=name)
        if is_cluster
        else ExplanationSubject(workspace, bundle=name)
    )


def _has_bundle(reader: Reader, workspace: str, name: str) -> bool:
    """Whether the bundle exists or a cluster still has to remove it."""
    return bundle_exists(reader, workspace, name) or has_removals(reader, workspace, name)


def _check_cluster(reader: Reader, workspace: str, name: str) -> None:
    if name and find_cluster_by_name(reader, workspace, name) is None:
        raise _missing(reader, "Cluster", workspace, name)


def _check_bundle(reader: Reader, workspace: str, name: str) -> None:
    if name and not _has_bundle(reader, workspace, name):
        raise _missing(reader, "Bundle", workspace, name)


def _missing(reader: Reader, kind: str, workspace: str, name: str) -> NotFound:
    near, word = nearest_name(name, _names(reader, kind, workspace)), kind.lower()
    step = f"Did you mean {near}?" if near else f"See `fleetctl {word} list -n {workspace}`."
    return NotFound(
        f"{word} {name} does not exist in workspace {workspace}",
        subject=f"{word} {workspace}/{name}",
        next_step=step,
    )


def _names(reader: Reader, kind: str, workspace: str) -> list[str]:
    return list_names(reader, kind, workspace, MAX_NAMES)


class _DeploymentExplainer:
    """Reads the facts about one bundle on one cluster."""

    def __init__(
        self,
        reader: Reader,
        live: PresenceTable,
        now: float,
        cluster: ClusterRow,
        bundle: BundleName,
    ) -> None:
        self.reader, self.live, self.now = reader, live, now
        self.cluster, self.cluster_id = cluster, ClusterId(cluster.id)
        self.key = (Workspace(cluster.workspace), bundle)
        self.row = find_deployment(reader, cluster.id, bundle)
        self.context = reason_context(reader, live, now, cluster)

    def facts(self) -> ExplanationFacts:
        workspace, bundle = self.key
        spec = bundle_specs(self.reader, Scope(workspace, bundles=[bundle]))[0]
        target_cluster = cluster_of(self.cluster, workspace)
        current = self.row if self.row is not None and not self.row.is_removed else None
        state, reason = self._state()
        holds = []
        if self.row is not None:
            holds = blockers.list_holds(self.reader, self.key, spec.repo, self.row)
        return ExplanationFacts(
            workspace=workspace,
            cluster=self.cluster.name,
            bundle=bundle,
            repo=spec.repo,
            state=state.value if state else "",
            ready=state is State.READY,
            targeting=self._targeting(spec, target_cluster),
            told=_delivery(self.row),
            staged=self._find_staged_commit(),
            rollout=waits.describe_way(self.reader, self.key, current, self.now),
            window=waits.describe_window(self.reader, self.key, self.cluster, self.now),
            dependencies=waits.list_dependencies(self.reader, self.context, self.cluster_id, spec),
            pauses=blockers.list_pauses(self.reader, spec, self.cluster),
            pins=blockers.list_pins(self.reader, self.key, self.cluster),
            holds=holds,
            agent=describe_agent(self.cluster, self.live, self.now),
            reason=reason,
        )

    def _state(self) -> tuple[State | None, Reason | None]:
        """The state, None without a deployment, and why; of a removal, what blocks it."""
        if self.row is None:
            return None, None
        if self.row.is_removed:
            return None, self._removal_reason()
        state, reason = self.context.explain(self.context.facts_of_deployment(self.row))
        if state is State.READY:
            reason = warning_of(self.row, self.cluster.name)
        return state, reason

    def _removal_reason(self) -> Reason | None:
        removals = pending_removals.group_removals(self.reader, *self.key, self.cluster_id)
        return next((group.reason for causes in removals.values() for group in causes), None)

    def _targeting(self, spec: BundleSpec, cluster: Cluster) -> Targeting:
        all_groups = groups(self.reader, self.key[0])
        attempts = _try_targets(spec, cluster, all_groups)
        if self.cluster.is_leaving:
            return Targeting(missed="the cluster is leaving", tried=attempts)
        match = explain(spec, [cluster], all_groups)[0]
        if not isinstance(match, Match):
            labels: dict[str, str] = {}
            if not any(attempt.matches for attempt in attempts):
                labels = next(filter(None, map(wanted_labels, spec.targets)), {})
            return Targeting(missed=match.why, tried=attempts, labels=labels)
        # a pinned revision has customizations of its own
        order = self._order(spec, cluster)
        order_match = explain(order.spec, [cluster], all_groups)[0]
        effective = order_match if isinstance(order_match, Match) else match
        return Targeting(
            target=match.target or attempts[-1].name,
            customization=effective.customization,
            tried=attempts,
        )

    def _order(self, spec: BundleSpec, cluster: Cluster) -> Order:
        """What the cluster should have: the last order that concerns it."""
        return [
            order
            for order in orders(self.reader, self.key[0], [spec], [cluster])
            if order.only is None or self.cluster_id in order.only
        ][-1]

    def _find_staged_commit(self) -> str:
        if self.row is None or not self.row.staged_key:
            return ""
        return staged_commit(self.reader, self.row.staged_key)


def _try_targets(spec: BundleSpec, cluster: Cluster, all_groups: list[Group]) -> list[Tried]:
    """The targets in order, up to the first that matches, with why the others do not."""
    own_groups = [group for group in all_groups if matches(group.selector, cluster.labels)]
    attempts = []
    for number, target in enumerate(spec.targets or DEFAULT_TARGETS, start=1):
        is_match = criteria_match(target, cluster, own_groups)
        mismatch = "" if is_match else "; ".join(why_not(target, cluster, own_groups))
        attempts.append(
            Tried(name=target.name or f"target {number}", matches=is_match, why=mismatch)
        )
        if is_match:
            break
    return attempts


def _delivery(row: DeploymentRow | None) -> Told:
    """What the cluster was sent last."""
    if row is None or row.generation < 1:
        return Told()
    return Told(
        generation=row.generation,
        commit=row.commit,
        at=rfc3339(row.sent_at) if row.sent_at else "",
        applied=row.applied_generation,
        reported_at=row.reported_at,
    )
