"""The fleet on one screen."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from fleetctl.core.status import State
from manager.live import Live
from manager.views import Asked, Document, display_state, fleet, listing, trouble_type


def overview(connection: Connection, live: Live, workspace: str | None, now: float) -> Document:
    """The fleet on one screen: how many of each kind are in each state, and what needs attention, worst first."""
    asked = Asked(workspace=workspace)
    found: Document = {}
    attention: list[Document] = []
    for kind, key in (("GitRepo", "gitrepos"), ("Cluster", "clusters"), ("Bundle", "bundles")):
        items = listing(connection, live, kind, asked, now)
        tally: dict[str, int] = {}
        for item in items:
            state = display_state(item)
            tally[state] = tally.get(state, 0) + 1
            if state != "Ready":
                attention.append(_attention(item, state))
            elif kind == "Cluster" and item["status"]["agent"]["troubles"]:
                attention.append(_attention(item, trouble_type(item["status"]["agent"]["troubles"][0]["code"])))
        found[key] = tally
    whole = fleet(connection, live, now, asked)
    states = whole.counted(lambda sort: None).get(None, {})
    found["deployments"] = {state.value: n for state, n in states.items()}
    order = ["Stalled", "Held", *State]
    attention.sort(key=lambda a: (order.index(a["state"]) if a["state"] in order else len(order), a["kind"], a["name"]))
    return found | {"attention": attention[:100]}


def _attention(item: Document, state: str) -> Document:
    meta, message = item["metadata"], item["status"]["display"].get("message", "")
    return {"kind": item["kind"], "namespace": meta["namespace"], "name": meta["name"], "state": state, "message": message}
