"""Explains a bundle or a cluster as a whole, for `fleetctl why BUNDLE` and `fleetctl why CLUSTER`,
from one read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fleetctl.core.explain.bundle_and_cluster import (
    OnCluster,
    TroubleFacts,
    Whole,
    bundle_lines,
    bundle_step,
    cluster_lines,
    cluster_next,
)
from fleetctl.core.explain.deployment import Line, Next
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.reasons import MOST_GROUPS, ReasonGroup, merge
from fleetctl.core.model.status import State, rank
from fleetctl.core.model.summary import count, worst_of

from ...presence import PresenceTable
from ...store.connection import Reader
from ...store.queries import Scope, bundle_specs
from ...store.queries.clusters import ClusterRow
from ...store.queries.deployments import DeploymentRow, DeploymentScope, deployments_of_cluster
from .. import rollouts, states
from ..metadata import Document
from ..reasons import ReasonContext, bundle_key, group_reasons
from . import blockers, waits
from .agent import describe_agent, reason_context

# What a cluster as a whole shows when its agent is not heard.
_STATE_OF_AGENT = {
    "offline": "Offline",
    "never-enrolled": "WaitCheckIn",
    "revoked": "WaitCheckIn",
    "twin": "ErrApplied",
}


def explain_bundle(
    reader: Reader, live: PresenceTable, now: float, workspace: Workspace, name: BundleName
) -> Document:
    key = (workspace, name)
    spec = bundle_specs(reader, Scope(workspace, bundles=[name]))[0]
    fleet = states.fleet_view(reader, live, now, workspace)
    counts = fleet.count_states(lambda count_key: count_key.bundle, name).get(name, {})
    scope = DeploymentScope(workspace, bundle=name)
    groups = merge(group_reasons(fleet.reasons, scope, bundle_key).get(key, []))
    rollout = next(iter(rollouts.list_rollouts(reader, workspace, name)), None)
    state = worst_of(counts)
    whole = Whole(
        workspace=workspace,
        bundle=name,
        repo=spec.repo,
        state=state.value,
        ready=state is State.READY,
        commit=spec.commit,
        counts=_sort_counts(counts),
        rollout=waits.describe_rollout(rollout, now),
        partitions=rollout["status"]["partitions"] if rollout else [],
        troubles=[trouble_of(group) for group in groups[:MOST_GROUPS]],
        omitted=sum(group.count for group in groups[MOST_GROUPS:]),
        pauses=blockers.list_pauses(reader, spec),
        pins=blockers.list_pins(reader, key),
        holds=blockers.list_holds(reader, key, spec.repo),
    )
    return build_explanation("bundle", whole, bundle_lines(whole), bundle_step(whole))


def explain_cluster(
    reader: Reader, live: PresenceTable, now: float, cluster: ClusterRow
) -> Document:
    rows = deployments_of_cluster(reader, cluster.id)
    context = reason_context(reader, live, now, cluster)
    deployment_states, troubles = _explain_deployments(rows, context, cluster.name)
    agent, counts = describe_agent(cluster, live, now), count(deployment_states)
    worst = worst_of(counts)
    facts = OnCluster(
        workspace=cluster.workspace,
        cluster=cluster.name,
        state=_STATE_OF_AGENT.get(agent.state, worst.value),
        ready=worst is State.READY and agent.state == "heard",
        counts=_sort_counts(counts),
        agent=agent,
        pauses=blockers.cluster_pauses(cluster),
        removing=[
            f"{row.bundle}: {row.message or 'removal sent, not done yet'}"
            for row in rows
            if row.is_removed
        ],
        troubles=troubles,
    )
    return build_explanation("cluster", facts, cluster_lines(facts), cluster_next(facts))


def _explain_deployments(
    rows: Iterable[DeploymentRow], context: ReasonContext, cluster: str
) -> tuple[list[State], list[TroubleFacts]]:
    """The states of all bundles on the cluster, and what is wrong with them, worst first."""
    deployment_states, troubles = [], []
    for row in rows:
        if row.is_removed:
            continue
        state, reason = context.explain(context.facts_of_deployment(row))
        deployment_states.append(state)
        if reason is not None:
            trouble = TroubleFacts(
                state=state.value, reason=reason, count=1, cluster=cluster, bundle=row.bundle
            )
            troubles.append(trouble)
    return deployment_states, sorted(troubles, key=lambda t: (rank(State(t.state)), t.bundle))


def _sort_counts(counts: Mapping[State, int]) -> dict[str, int]:
    return {state.value: counts[state] for state in sorted(counts, key=rank)}


def trouble_of(group: ReasonGroup) -> TroubleFacts:
    return TroubleFacts(
        state=group.state.value,
        reason=group.reason,
        count=group.count,
        cluster=group.cluster,
        bundle=group.bundle,
    )


def build_explanation(about: str, facts: Any, lines: Sequence[Line], step: Next) -> Document:
    """Facts as docs/api.md has them, with the lines that people read and the next step."""
    return {
        "kind": "Why",
        "about": about,
        **msgspec.to_builtins(facts),
        "lines": [{"topic": line.topic, "text": line.text} for line in lines],
        "next": {"text": step.text, "command": step.command},
    }
