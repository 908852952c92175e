"""Rollouts as people read them (docs/api.md): how far each partition is, and what is waited for."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.rollout.decide import Tally

from ..clock import rfc3339
from ..commands.validation import api_version
from ..rollout.partitions import shape_of
from ..store.schema import rollouts
from . import marks, pins

_load = msgspec.json.decode


def listing(
    connection: Connection, workspace: str | None, bundle: str = ""
) -> list[dict[str, Any]]:
    """Sorted by workspace and bundle."""
    r = rollouts.c
    query = sa.select(rollouts).order_by(r.workspace, r.bundle)
    if workspace:
        query = query.where(r.workspace == workspace)
    if bundle:
        query = query.where(r.bundle == bundle)
    pinned = pins.of_bundles(connection, workspace)
    found = []
    for row in connection.execute(query):
        document = _document(row)
        pins.on_rollout(document["status"], pinned.get((row.workspace, row.bundle), pins.NONE))
        found.append(document)
    marks.on_rollouts(connection, workspace, found)
    return found


def _document(row: Any) -> dict[str, Any]:
    meta = {
        "name": row.bundle,
        "namespace": row.workspace,
        "generation": row.version,
        "creationTimestamp": row.begun,
    }
    shape = shape_of(row.shape)
    steps, counts = _load(row.steps), _load(row.counts)
    partitions = [
        _partition(part, _at(steps, at), _at(counts, at))
        for at, part in enumerate(shape.partitions)
    ]
    told = sum(p["told"] for p in partitions)
    finished = sum(1 for p in partitions if p["finishedAt"] or not p["clusters"])
    status = {
        "display": {
            "state": row.phase,
            "clusters": f"{told}/{sum(p['clusters'] for p in partitions)}",
            "partitions": (f"{finished}/{len(partitions)}"),
            "message": _message(row),
        },
        "reason": row.reason,
        "commit": row.commit,
        "partitions": partitions,
        "offline": sum(p["offline"] for p in partitions),
        "waitingForWindow": sum(p["waitingForWindow"] for p in partitions),
        "ignoringWindows": row.ignoring,
    }
    spec = {"bundle": row.bundle, "version": row.version, "policy": shape.policy}
    return {
        "apiVersion": api_version("Bundle"),
        "kind": "Rollout",
        "metadata": meta,
        "spec": spec,
        "status": status,
    }


def _message(row: Any) -> str:
    """What it waits for, or why it does not go on, and that it passes windows."""
    return "; ".join(
        text
        for text in (
            row.waiting,
            f"closed windows are ignored: {row.ignoring}" if row.ignoring else "",
        )
        if text
    )


def _at(items: list[Any], at: int) -> Any:
    return items[at] if at < len(items) else None


def _partition(part: tuple[str, int, int, float, bool], step: Any, count: Any) -> dict[str, Any]:
    name, clusters, budget, soak, approval = part
    opened, finished, approved = step[:3] if step else (0.0, 0.0, False)
    said = dict(count or {})
    why = said.pop("why", "")
    asks = bool(said.pop("asks", False))
    tally = Tally(**said)
    return {
        "name": name,
        "clusters": clusters,
        "maxUnavailable": budget,
        "unavailable": tally.unavailable - tally.fresh,
        "told": tally.ready_started + tally.down_started,
        "ready": tally.ready_started,
        "failed": tally.failed,
        "offline": tally.offline,
        "waitingForWindow": tally.later,
        "waiting": tally.may_go + tally.unknown + tally.barred_ready + tally.barred_down,
        "why": why,
        "soakSeconds": soak,
        "asks": asks,
        "approval": "approved" if approved else "wanted" if approval and not opened else "",
        "startedAt": rfc3339(opened) if opened else "",
        "finishedAt": rfc3339(finished) if finished else "",
        "idle": bool(step and len(step) > 5 and step[5]),  # its clock stands
        "idleSeconds": step[4] if step and len(step) > 4 else 0.0,
    }
