"""Describes a cluster's agent for `fleetctl why`: when it was heard, and its troubles."""

from __future__ import annotations

import msgspec

from fleetctl.core.explain.deployment import AgentFacts
from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.reasons import Reason

from ...clock import rfc3339
from ...presence import UNKNOWN, PresenceTable
from ...store.connection import Reader
from ...store.queries.clusters import ClusterRow
from ..reasons import ReasonContext, describe_missing_agent


def reason_context(
    reader: Reader, live: PresenceTable, now: float, cluster: ClusterRow
) -> ReasonContext:
    """Tells why something on this cluster is not Ready."""
    is_offline = cluster.public_key and live.is_offline(ClusterId(cluster.id), now)
    offline = {cluster.id} if is_offline else set()
    absent = set() if cluster.public_key else {cluster.id}
    context = ReasonContext(reader, live, now, cluster.workspace, offline, absent)
    context.load_clusters([cluster.id])
    return context


def describe_agent(cluster: ClusterRow, live: PresenceTable, now: float) -> AgentFacts:
    """When it was heard, and what is wrong with it as a whole."""
    last_seen = live.last_seen(cluster, now)
    state, message = _presence(cluster, live, now)
    troubles = [
        Reason(
            trouble["code"], trouble["message"], "", hint_of(trouble["code"], cluster=cluster.name)
        )
        for trouble in msgspec.json.decode(cluster.agent).get("troubles", [])
    ]
    return AgentFacts(
        state=state,
        seen=rfc3339(last_seen) if last_seen else "",
        message=message,
        troubles=troubles,
    )


def _presence(cluster: ClusterRow, live: PresenceTable, now: float) -> tuple[str, str]:
    """State and message."""
    presence = live.clusters.get(ClusterId(cluster.id))
    if not cluster.public_key:
        return describe_missing_agent(cluster)
    if presence and presence.twin:
        return "twin", f"duplicate agent: {presence.twin}; both change nothing"
    if live.is_offline(ClusterId(cluster.id), now):
        return "offline", "Offline: its agent does not report; the state of its releases is unknown"
    if cluster.is_leaving:
        return "leaving", "it is being removed"
    if live.health(ClusterId(cluster.id), now) == UNKNOWN:
        return "unknown", "no report since the manager started"
    return "heard", ""
