"""`fleetctl cluster get`: a cluster and its bundles, worst first."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.objects.list_request import Items, ListRequest, View
from fleetctl.cli.objects.list_view import read
from fleetctl.cli.session import Session


def explain_clusters(session: Session, clusters: Items) -> None:
    for cluster in clusters:
        message = (cluster["status"].get("display") or {}).get("message")
        if message:
            out.line(f"{cluster['metadata']['name']}: {message}")
        upgrade = agent_upgrade(cluster)
        if upgrade:
            out.line(f"{cluster['metadata']['name']}: agent {upgrade}")
        out.line()
        read(
            session,
            [ListRequest("bundledeployments", filters={"cluster": cluster["metadata"]["name"]})],
            View(sort_by="status"),
        )


def agent_upgrade(cluster: dict[str, Any]) -> str:
    """The agent version, the target version and the progress; "" without a target version."""
    agent = cluster["status"].get("agent") or {}
    if not agent.get("wanted"):
        return ""
    state, message = agent["upgrade"]["state"], agent["upgrade"]["message"]
    return f"{agent.get('version') or 'unknown'}, wanted {agent['wanted']}: {state}" + (
        f" ({message})" if message else ""
    )
