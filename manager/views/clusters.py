"""Clusters and their groups as objects."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cluster import matches
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.reasons import message_of
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import summarize, together, worst_of

from ..agents.agent_upgrades import upgrade_status
from ..clock import rfc3339
from ..store.queries import shown_labels
from ..store.schema import clusters, objects
from . import metadata, pins, reasons
from .metadata import Asked, Document, condition
from .states import Fleet

_load = msgspec.json.decode


def clusters_of(whole: Fleet, asked: Asked) -> list[Document]:
    connection = whole.connection
    rows = metadata.rows(connection, clusters, asked)
    counts = whole.of_clusters([row.id for row in rows] if asked.name else None)
    place = reasons.Place(asked.workspace, cluster=rows[0].id if asked.name and rows else "")
    why = reasons.grouped(whole.known, place, reasons.BY_CLUSTER)
    wishes = upgrade_status(connection, asked.workspace, [row.id for row in rows])
    found = []
    for row in rows:
        states = counts.get(row.id, {})
        labels = shown_labels(row.name, _load(row.labels))
        status = _status(row, whole, states) | {"summary": summarize(states)}
        status["agent"] |= wishes.get(row.id, {})
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        if not status["display"]["message"]:
            said = [t["message"] for t in status["agent"]["troubles"]] + [
                message_of(why.get(row.id, []))
            ]
            said += [_removing(whole.going[row.id])] if row.id in whole.going else []
            status["display"]["message"] = "; ".join(text for text in said if text)
        head = metadata.head(row) | {"labels": labels}
        found.append(metadata.of_row("Cluster", row, _load(row.spec), status, **head))
    pins.on_clusters(
        connection,
        asked.workspace,
        [(row.id, document) for row, document in zip(rows, found, strict=True)],
    )
    return found


def _status(row: Any, whole: Fleet, states: dict[State, int]) -> Document:
    presence = whole.live.clusters.get(ClusterId(row.id))
    seen = whole.live.last_seen(row, whole.now)
    agent = _load(row.agent)
    state, message = whole.trouble_of(row) or (worst_of(states).value, "")
    going = _removing(whole.going.get(row.id, []))
    if row.leaving:
        message = "leaving: its bundles are being removed" + (f"; {going}" if going else "")
    removing = [condition("Removing", ok=True, message=going)] if going else []
    ready = f"{states.get(State.READY, 0)}/{sum(states.values())}"
    troubles = agent.get("troubles", [])
    contact = whole.live.contact(ClusterId(row.id), whole.now)
    told = {
        "lastSeen": rfc3339(seen) if seen else "",
        "contact": contact,
        "version": agent.get("version", ""),
        "enrolled": row.enrolled,
    }
    address = presence.address if presence else row.address
    return {
        "display": {"readyBundles": ready, "state": state, "message": message},
        "agent": told
        | {
            "address": address,
            "tools": agent.get("tools", {}),
            "id": row.id,
            "troubles": troubles,
            "runtime": agent.get("runtime", ""),
        },
        "kubeVersion": agent.get("kube", ""),
        "conditions": [
            condition("Ready", ok=state == "Ready", message=message),
            *map(_trouble, troubles),
            *removing,
        ],
        **(
            {
                "scheduled": True,
                "activeSchedule": whole.known.calendars.of(row.workspace).verdict(row.windows).open,
            }
            if row.windows
            else {}
        ),
    }


def _removing(rows: list[Any]) -> str:
    """The first removal that is not done, and how many more."""
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return f"removing {rows[0].bundle}: {rows[0].message}{more}" if rows else ""


def _trouble(said: dict[str, str]) -> dict[str, str]:
    """What an agent says of itself as a condition: `disk-full` is DiskFull."""
    found = condition(trouble_type(said["code"]), ok=True, message=said["message"])
    return found | ({"lastTransitionTime": said["since"]} if said.get("since") else {})


def trouble_type(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))


def groups_of(whole: Fleet, asked: Asked) -> list[Document]:
    connection = whole.connection
    rows = metadata.rows(connection, objects, asked, objects.c.kind == "ClusterGroup")
    everyone = _members(connection, asked.workspace) if rows else []
    counts = whole.of_clusters() if rows else {}
    found = []
    for row in rows:
        spec = _load(row.spec)
        mine = [
            one
            for one, labels in everyone
            if one.workspace == row.workspace and matches(spec.get("selector"), labels)
        ]
        unready = [
            one.name
            for one in mine
            if whole.trouble_of(one) or worst_of(counts.get(one.id, {})) is not State.READY
        ]
        states = together(counts.get(one.id, {}) for one in mine)
        display = {
            "readyClusters": f"{len(mine) - len(unready)}/{len(mine)}",
            "readyBundles": f"{states.get(State.READY, 0)}/{sum(states.values())}",
            "state": "NotReady" if unready else "Ready",
        }
        status = {
            "clusterCount": len(mine),
            "nonReadyClusterCount": len(unready),
            "nonReadyClusters": unready[:10],
            "display": display,
            "summary": summarize(states),
            "conditions": [condition("Ready", ok=not unready)],
        }
        found.append(metadata.of_row("ClusterGroup", row, spec, status, **metadata.head(row)))
    return found


def _members(connection: Connection, workspace: str | None) -> list[tuple[Any, dict[str, str]]]:
    """All clusters, with the labels that selectors see."""
    c = clusters.c
    query = sa.select(c.id, c.workspace, c.name, c.labels, c.enrolled, c.seen).order_by(
        c.workspace, c.name
    )
    rows = connection.execute(query.where(c.workspace == workspace) if workspace else query)
    return [(row, shown_labels(row.name, _load(row.labels))) for row in rows]
