"""Lists clusters and their groups as documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fleetctl.core.model.cluster import matches
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.reasons import ReasonGroup, message_of
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import summarize, together, worst_of
from fleetctl.core.text.listing import count_others

from ..agents.agent_upgrades import upgrade_status
from ..clock import rfc3339
from ..store.queries import clusters, shown_labels
from ..store.queries.clusters import ClusterRow, SelectableCluster, selectable_clusters
from ..store.queries.deployments import DeploymentScope
from ..store.queries.objects import ObjectRow, list_objects
from ..store.queries.rollout.removals import UnfinishedRemoval
from . import pins
from .metadata import Document, ListFilter, build_document, condition
from .reasons import cluster_key, count_resources, group_reasons
from .states import FleetView, StateCounts

_MAX_UNREADY_NAMES = 10


def list_clusters(fleet: FleetView, query: ListFilter) -> list[Document]:
    return build_clusters(fleet, query, read_rows(fleet, query))


def read_rows(fleet: FleetView, query: ListFilter) -> list[ClusterRow]:
    """The rows of the range. A page without Ready clusters reads only those that may be in it."""
    ids = fleet.unready_cluster_ids if query.keys.limit and query.excludes_ready else None
    filters = query.workspace, query.name, query.keys
    return clusters.list_clusters(fleet.reader, *filters, ids)


def build_clusters(
    fleet: FleetView, query: ListFilter, rows: Sequence[ClusterRow]
) -> list[Document]:
    """The documents of the rows; `query` is the one by which they were read."""
    ids = [row.id for row in rows]
    counts = fleet.count_states_by_cluster(ids)
    scope = DeploymentScope(query.workspace, cluster_ids=tuple(ids))
    groups = group_reasons(fleet.reasons, scope, cluster_key)
    upgrades = upgrade_status(fleet.reader, query.workspace, ids)
    documents = []
    for row in rows:
        status = _cluster_status(row, fleet, counts.get(row.id, {}))
        status["agent"] |= upgrades.get(row.id, {})
        if query.name:
            status["resourceCounts"] = count_resources(fleet.reader, scope)
        if not status["display"]["message"]:
            removals = fleet.removals.get(row.id, [])
            status["display"]["message"] = _message(status, groups.get(row.id, []), removals)
        labels = shown_labels(row.name, msgspec.json.decode(row.labels))
        spec = msgspec.json.decode(row.spec)
        documents.append(build_document("Cluster", row, spec, status, labels))
    pins.add_to_clusters(fleet.reader, query.workspace, list(zip(ids, documents, strict=True)))
    return documents


def _message(
    status: Document, groups: Sequence[ReasonGroup], removals: Sequence[UnfinishedRemoval]
) -> str:
    """The agent's troubles, then what is not Ready, then removals that are not finished."""
    texts = [trouble["message"] for trouble in status["agent"]["troubles"]]
    texts += [message_of(groups), _describe_removals(removals)]
    return "; ".join(filter(None, texts))


def _cluster_status(row: ClusterRow, fleet: FleetView, states: StateCounts) -> Document:
    state, message = fleet.cluster_trouble(row) or (worst_of(states).value, "")
    removals = _describe_removals(fleet.removals.get(row.id, []))
    if row.is_leaving:
        message = "leaving: its bundles are being removed" + (f"; {removals}" if removals else "")
    ready = f"{states.get(State.READY, 0)}/{sum(states.values())}"
    agent = _agent_status(row, fleet)
    conditions = [
        condition("Ready", ok=state == "Ready", message=message),
        *map(_trouble_condition, agent["troubles"]),
    ]
    if removals:
        conditions.append(condition("Removing", ok=True, message=removals))
    status = {
        "display": {"readyBundles": ready, "state": state, "message": message},
        "agent": agent,
        "kubeVersion": msgspec.json.decode(row.agent).get("kube", ""),
        "conditions": conditions,
        "summary": summarize(states),
    }
    if row.schedules:
        verdict = fleet.reasons.calendars.of(row.workspace).verdict(row.schedules)
        status |= {"scheduled": True, "activeSchedule": verdict.open}
    return status


def _agent_status(row: ClusterRow, fleet: FleetView) -> Document:
    presence = fleet.live.clusters.get(ClusterId(row.id))
    last_seen = fleet.live.last_seen(row, fleet.now)
    agent = msgspec.json.decode(row.agent)
    return {
        "lastSeen": rfc3339(last_seen) if last_seen else "",
        "contact": fleet.live.contact(ClusterId(row.id), fleet.now),
        "version": agent.get("version", ""),
        "enrolled": row.enrolled_at,
        "address": presence.address if presence else row.address,
        "tools": agent.get("tools", {}),
        "id": row.id,
        "troubles": agent.get("troubles", []),
        "runtime": agent.get("runtime", ""),
    }


def _describe_removals(removals: Sequence[UnfinishedRemoval]) -> str:
    """The first removal that is not finished, and how many more there are; "" for none."""
    if not removals:
        return ""
    suffix = count_others(len(removals) - 1)
    return f"removing {removals[0].bundle}: {removals[0].message}{suffix}"


def _trouble_condition(trouble: dict[str, str]) -> dict[str, str]:
    """A trouble that an agent reports, as a condition: `disk-full` is DiskFull."""
    fields = condition(trouble_type(trouble["code"]), ok=True, message=trouble["message"])
    if trouble.get("since"):
        fields["lastTransitionTime"] = trouble["since"]
    return fields


def trouble_type(code: str) -> str:
    """The type of the condition of a trouble's code."""
    return "".join(word.capitalize() for word in code.split("-"))


def list_groups(fleet: FleetView, query: ListFilter) -> list[Document]:
    rows = list_objects(fleet.reader, "ClusterGroup", query.workspace, query.name)
    if not rows:
        return []
    counts = fleet.count_states_by_cluster()
    candidates = [
        (cluster, shown_labels(cluster.name, msgspec.json.decode(cluster.labels)))
        for cluster in selectable_clusters(fleet.reader, query.workspace)
    ]
    documents = []
    for row in rows:
        spec = msgspec.json.decode(row.spec)
        members = _members(row, spec, candidates)
        status = _group_status(fleet, members, counts)
        documents.append(build_document("ClusterGroup", row, spec, status))
    return documents


def _members(
    row: ObjectRow,
    spec: dict[str, Any],
    candidates: Sequence[tuple[SelectableCluster, dict[str, str]]],
) -> list[SelectableCluster]:
    return [
        cluster
        for cluster, labels in candidates
        if cluster.workspace == row.workspace and matches(spec.get("selector"), labels)
    ]


def _group_status(
    fleet: FleetView, members: Sequence[SelectableCluster], counts: Mapping[str, StateCounts]
) -> Document:
    unready = [
        cluster.name
        for cluster in members
        if fleet.cluster_trouble(cluster) or worst_of(counts.get(cluster.id, {})) is not State.READY
    ]
    states = together(counts.get(cluster.id, {}) for cluster in members)
    return {
        "clusterCount": len(members),
        "nonReadyClusterCount": len(unready),
        "nonReadyClusters": unready[:_MAX_UNREADY_NAMES],
        "display": {
            "readyClusters": f"{len(members) - len(unready)}/{len(members)}",
            "readyBundles": f"{states.get(State.READY, 0)}/{sum(states.values())}",
            "state": "NotReady" if unready else "Ready",
        },
        "summary": summarize(states),
        "conditions": [condition("Ready", ok=not unready)],
    }
