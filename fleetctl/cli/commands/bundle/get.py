"""`fleetctl bundle get`: what is wrong with a bundle, cluster by cluster."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.commands.bundle.diff import difference_lines, difference_title
from fleetctl.cli.commands.bundle.filters import BY_BUNDLE
from fleetctl.cli.display import output as out
from fleetctl.cli.display import reasons_text
from fleetctl.cli.display.columns import rank
from fleetctl.cli.display.humanize import format_times
from fleetctl.cli.objects.list_view import Items
from fleetctl.cli.session import Session
from fleetctl.core.model.status import State

_MOST = 20
_NOT_READY = ",".join(state for state in State if state is not State.READY)


def explain_bundles(session: Session, bundles: Items) -> None:
    """Why, for all clusters; then the objects on the first of them."""
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
        asked = {
            "workspace": session.workspace,
            "selector": f"{BY_BUNDLE}{name}",
            "state": _NOT_READY,
        }
        found = sorted(session.client.list("bundledeployments", **asked), key=rank)
        for item in found[:_MOST]:
            _explain(item)
        if len(found) > _MOST:
            out.line(
                f"and {len(found) - _MOST} more clusters: `fleetctl bundle status {name}"
                " --not-ready`"
            )


def _explain(item: dict[str, Any]) -> None:
    """The objects of one deployment that are not as they should be, and what somebody changed in
    them.
    """
    cluster, status = item["spec"]["cluster"], item["status"]
    if status.get("message"):
        out.line(f"{cluster}: {status['display']['state']}: {format_times(status['message'])}")
    changed = status.get("modifiedStatus") or []
    for found in status.get("nonReadyStatus") or []:
        where = "/".join(part for part in (found.get("namespace", ""), found["name"]) if part)
        said = f": {found['message']}" if found.get("message") else ""
        if not found.get("differences"):
            out.line(f"{cluster}: {found['kind']} {where} is {found['state']}{said}")
    for found in changed:
        out.line(f"{cluster}: {difference_title(found)}")
        for text in difference_lines(found):
            out.line(f"    {text}")
