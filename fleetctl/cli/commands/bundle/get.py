"""`fleetctl bundle get`: what is wrong with a bundle, cluster by cluster."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.commands.bundle.diff import difference_lines, difference_title
from fleetctl.cli.commands.bundle.filters import BY_BUNDLE
from fleetctl.cli.display import output as out
from fleetctl.cli.display import reasons_text
from fleetctl.cli.display.columns import rank
from fleetctl.cli.display.humanize import format_times
from fleetctl.cli.objects.list_request import Items
from fleetctl.cli.session import Session
from fleetctl.core.model.status import State

_MOST_CLUSTERS = 20
_NOT_READY = ",".join(state for state in State if state is not State.READY)


def explain_bundles(session: Session, bundles: Items) -> None:
    """Print the reasons for all clusters, then the objects of the first clusters that are not
    Ready.
    """
    for bundle in bundles:
        reasons_text.show(bundle)
        name = bundle["metadata"]["name"]
        for word in ("problem", "warning"):
            for item in bundle["status"].get(f"{word}s") or []:
                out.line(f"{word}: {item['summary']}")
                out.line(
                    f"  {item.get('nextStep') or item.get('next_step') or 'Correct it and push.'}"
                )
        if bundle["status"].get("display", {}).get("state") == "Ready":
            continue
        params = {
            "workspace": session.workspace,
            "selector": f"{BY_BUNDLE}{name}",
            "state": _NOT_READY,
        }
        deployments = sorted(session.client.list("bundledeployments", **params), key=rank)
        for item in deployments[:_MOST_CLUSTERS]:
            _explain(item)
        if len(deployments) > _MOST_CLUSTERS:
            amount = len(deployments) - _MOST_CLUSTERS
            out.line(f"and {amount} more clusters: `fleetctl bundle status {name} --not-ready`")


def _explain(item: dict[str, Any]) -> None:
    """Print the objects of one deployment that are not ready or differ from Git."""
    cluster, status = item["spec"]["cluster"], item["status"]
    if status.get("message"):
        out.line(f"{cluster}: {status['display']['state']}: {format_times(status['message'])}")
    modified = status.get("modifiedStatus") or []
    for problem in status.get("nonReadyStatus") or []:
        name = "/".join(part for part in (problem.get("namespace", ""), problem["name"]) if part)
        message = f": {problem['message']}" if problem.get("message") else ""
        if not problem.get("differences"):
            out.line(f"{cluster}: {problem['kind']} {name} is {problem['state']}{message}")
    for problem in modified:
        out.line(f"{cluster}: {difference_title(problem)}")
        for text in difference_lines(problem):
            out.line(f"    {text}")
