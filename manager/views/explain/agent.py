"""A cluster's agent as `fleetctl why` tells of it: when it was heard, and what is wrong with it as
a whole.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from fleetctl.core.explain.deployment import Agent
from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.reasons import Reason

from ...agents.presence import UNKNOWN, Live
from ...clock import rfc3339
from .. import reasons


def known(connection: Connection, live: Live, now: float, cluster: Any) -> reasons.Known:
    """What tells why something on this one cluster is not Ready."""
    offline = (
        {cluster.id}
        if cluster.public_key and live.is_offline(ClusterId(cluster.id), now)
        else set()
    )
    absent = set() if cluster.public_key else {cluster.id}
    return reasons.Known(connection, live, now, cluster.workspace, offline, absent)


def agent_of(cluster: Any, live: Live, now: float) -> Agent:
    """When it was heard, and what is wrong with it as a whole."""
    seen = live.last_seen(cluster, now)
    state, message = _presence(cluster, live, now)
    said = msgspec.json.decode(cluster.agent).get("troubles", [])
    troubles = [
        Reason(t["code"], t["message"], "", hint_of(t["code"], cluster=cluster.name)) for t in said
    ]
    return Agent(
        state=state, seen=rfc3339(seen) if seen else "", message=message, troubles=troubles
    )


def _presence(cluster: Any, live: Live, now: float) -> tuple[str, str]:
    """(state, what is to be said of it)."""
    presence = live.clusters.get(ClusterId(cluster.id))
    if not cluster.public_key:
        return reasons.agentless(cluster)
    if presence and presence.twin:
        return "twin", f"duplicate agent: {presence.twin}; both change nothing"
    if live.is_offline(ClusterId(cluster.id), now):
        return "offline", "Offline: its agent is silent; what runs there is not known"
    if cluster.leaving:
        return "leaving", "it is being removed"
    if live.health(ClusterId(cluster.id), now) == UNKNOWN:
        return "unknown", "no report since the manager started"
    return "heard", ""
