"""Enrols many agents together: one read, one decision for each agent, one write.

Rule: the result equals the enrolments one by one; `registration.decide_enrolment` decides each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from fleetctl.core.model.errors import FleetError, LoginError
from fleetctl.core.model.ids import ClusterId, Workspace

from ..reconcile.new_clusters import reconcile_new_clusters
from ..rollout import staging
from ..store.commands import clusters as cluster_commands
from ..store.commands import tokens as token_commands
from ..store.commands.clusters import NewCluster, NewKey
from ..store.connection import Reader, Writer
from ..store.group_commit import BatchKind
from ..store.queries import clusters as cluster_queries
from ..store.queries import tokens as token_queries
from ..store.queries.clusters import ClusterRow
from ..store.queries.tokens import RegistrationRow
from .registration import (
    EnrolmentAction,
    EnrolmentFacts,
    KeyedCluster,
    decide_enrolment,
    name_of_key,
    new_cluster,
)

_ClusterName = tuple[str, str]  # workspace and name


@dataclass(frozen=True, slots=True)
class EnrolmentItem:
    """An agent that enrols. `now` is an RFC 3339 time, `version` that of the agent."""

    token_hash: bytes
    key: bytes
    now: str
    version: str


@dataclass(frozen=True)
class Enrolment:
    """The row of the enrolled cluster, and the clusters whose documents changed. `repeated`:
    nothing was changed.
    """

    cluster: ClusterRow
    changed_clusters: set[ClusterId] = field(default_factory=set)
    repeated: bool = False


class EnrolledCluster(NamedTuple):
    """A cluster with the key that an earlier item of the batch gave it."""

    id: ClusterId
    name: str
    workspace: str
    public_key: bytes | None


@dataclass(frozen=True)
class EnrolmentState:
    """The registrations and clusters that the tokens are for. `decide_batch` changes it, so that an
    item sees what the earlier items changed.
    """

    registrations: dict[bytes, RegistrationRow]
    clusters: dict[ClusterId, KeyedCluster]
    clusters_by_name: dict[_ClusterName, KeyedCluster]


@dataclass(frozen=True)
class EnrolmentDecision:
    """What a batch changes. `outcomes`: for each item its action and cluster, or its error."""

    outcomes: list[tuple[EnrolmentAction, ClusterId] | LoginError] = field(default_factory=list)
    token_uses: list[bytes] = field(default_factory=list)
    new_clusters: list[NewCluster] = field(default_factory=list)
    keys: list[NewKey] = field(default_factory=list)
    workspaces: dict[ClusterId, str] = field(default_factory=dict)


def enrol(writer: Writer, items: Sequence[EnrolmentItem]) -> list[Enrolment | FleetError]:
    """Bind each key to the cluster of its token. A LoginError names what is wrong with a token.

    The same key and token again get the same answer while the token is valid and the cluster still
    has that key.
    """
    decision = decide_batch(gather_batch(writer, items), items)
    changed_clusters = _commit_batch(writer, decision)
    enrolled_clusters = {
        outcome[1] for outcome in decision.outcomes if not isinstance(outcome, LoginError)
    }
    rows = cluster_queries.find_clusters(writer, enrolled_clusters)
    other_clusters = changed_clusters - enrolled_clusters
    return [
        outcome if isinstance(outcome, LoginError) else _enrolment(*outcome, rows, other_clusters)
        for outcome in decision.outcomes
    ]


ENROLMENTS: BatchKind[EnrolmentItem, Enrolment] = BatchKind("enrolments", enrol)


def _enrolment(
    action: EnrolmentAction,
    cluster: ClusterId,
    rows: dict[ClusterId, ClusterRow],
    other_clusters: set[ClusterId],
) -> Enrolment:
    if action is EnrolmentAction.REPEAT:
        return Enrolment(rows[cluster], repeated=True)
    if action is EnrolmentAction.BIND:
        return Enrolment(rows[cluster])
    return Enrolment(rows[cluster], {cluster} | other_clusters)


def gather_batch(reader: Reader, items: Sequence[EnrolmentItem]) -> EnrolmentState:
    registrations = token_queries.find_registrations(reader, {item.token_hash for item in items})
    ids = {row.cluster_id for row in registrations.values() if row.cluster_id is not None}
    names: dict[str, set[str]] = {}
    for item in items:
        registration = registrations.get(item.token_hash)
        if registration is not None and registration.cluster_id is None:
            names.setdefault(registration.workspace, set()).add(name_of_key(item.key))
    by_name: dict[_ClusterName, KeyedCluster] = {}
    for workspace, workspace_names in names.items():
        for row in cluster_queries.find_clusters_by_name(reader, workspace, workspace_names):
            by_name[row.workspace, row.name] = row
    clusters = cluster_queries.find_clusters(reader, {ClusterId(cluster) for cluster in ids})
    return EnrolmentState(registrations, dict(clusters), by_name)


def decide_batch(state: EnrolmentState, items: Sequence[EnrolmentItem]) -> EnrolmentDecision:
    """Decide the items in their order."""
    decision = EnrolmentDecision()
    for item in items:
        registration = state.registrations.get(item.token_hash)
        facts = EnrolmentFacts(registration, _find_cluster(state, registration, item.key))
        try:
            action = decide_enrolment(facts, item.key, item.now)
        except LoginError as error:
            decision.outcomes.append(error)
            continue
        decision.outcomes.append((action, _apply(state, decision, facts, action, item)))
    return decision


def _find_cluster(
    state: EnrolmentState, registration: RegistrationRow | None, key: bytes
) -> KeyedCluster | None:
    if registration is None:
        return None
    if registration.cluster_id is None:
        return state.clusters_by_name.get((registration.workspace, name_of_key(key)))
    return state.clusters.get(ClusterId(registration.cluster_id))


def _apply(
    state: EnrolmentState,
    decision: EnrolmentDecision,
    facts: EnrolmentFacts,
    action: EnrolmentAction,
    item: EnrolmentItem,
) -> ClusterId:
    """Add an allowed item to the decision. Returns its cluster."""
    registration, cluster = facts.registration, facts.cluster
    assert registration is not None
    if action is EnrolmentAction.REPEAT:
        assert cluster is not None
        return cluster.id
    if cluster is None:
        new = new_cluster(
            registration.workspace, name_of_key(item.key), registration.labels, item.now
        )
        decision.new_clusters.append(new)
        cluster = EnrolledCluster(new.id, new.name, new.workspace, None)
    keyed_cluster = EnrolledCluster(cluster.id, cluster.name, cluster.workspace, item.key)
    state.clusters[keyed_cluster.id] = keyed_cluster
    state.clusters_by_name[keyed_cluster.workspace, keyed_cluster.name] = keyed_cluster
    state.registrations[item.token_hash] = msgspec.structs.replace(
        registration, remaining_uses=registration.remaining_uses - 1
    )
    decision.token_uses.append(item.token_hash)
    agent = msgspec.json.encode({"version": item.version})
    decision.keys.append(NewKey(item.key, item.now, agent, keyed_cluster.id))
    decision.workspaces[keyed_cluster.id] = keyed_cluster.workspace
    return keyed_cluster.id


def _commit_batch(writer: Writer, decision: EnrolmentDecision) -> set[ClusterId]:
    """Store a decision. Returns the clusters whose documents changed."""
    token_commands.use_registrations(writer, decision.token_uses)
    cluster_commands.insert_clusters(writer, decision.new_clusters)
    groups: dict[tuple[str, str], list[ClusterId]] = {}
    for cluster in decision.new_clusters:
        groups.setdefault((cluster.workspace, cluster.created_at), []).append(cluster.id)
    changed_clusters: set[ClusterId] = set()
    for (workspace, now), ids in groups.items():
        changed_clusters |= reconcile_new_clusters(writer, Workspace(workspace), ids, now=now)
    cluster_commands.bind_keys(writer, decision.keys)
    by_workspace: dict[str, list[ClusterId]] = {}
    for identifier, workspace in decision.workspaces.items():
        by_workspace.setdefault(workspace, []).append(identifier)
    for workspace, ids in by_workspace.items():
        staging.mark_rollouts_of_clusters(writer, workspace, ids)
    return changed_clusters
