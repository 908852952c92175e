"""Lists rollouts as documents (docs/api.md): how far each partition is, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from fleetctl.core.documents.object_check import api_version
from fleetctl.core.rollout.decide import Step, Tally

from ..clock import rfc3339
from ..rollout.partitions import shape_of
from ..store.connection import Reader
from ..store.queries import rollouts
from ..store.queries.rollouts import RolloutRow
from . import marks, pins
from .metadata import Document

T = TypeVar("T")


def list_rollouts(reader: Reader, workspace: str | None, bundle: str = "") -> list[Document]:
    """Sorted by workspace and bundle."""
    pinned_bundles = pins.pins_by_bundle(reader, workspace)
    documents = []
    for row in rollouts.list_rollouts(reader, workspace, bundle):
        document = _document(row)
        bundle_pins = pinned_bundles.get((row.workspace, row.bundle), pins.NO_PINS)
        pins.add_to_rollout(document["status"], bundle_pins)
        documents.append(document)
    marks.add_marks_to_rollouts(reader, workspace, documents)
    return documents


def _document(row: RolloutRow) -> Document:
    shape = shape_of(row.partition_plan)
    counts = msgspec.json.decode(row.counts)
    partitions = [
        _partition(part, _item(row.steps, number) or Step(), _item(counts, number))
        for number, part in enumerate(shape.partitions)
    ]
    sent_clusters = sum(p["told"] for p in partitions)
    finished_partitions = sum(1 for p in partitions if p["finishedAt"] or not p["clusters"])
    status = {
        "display": {
            "state": row.phase,
            "clusters": f"{sent_clusters}/{sum(p['clusters'] for p in partitions)}",
            "partitions": f"{finished_partitions}/{len(partitions)}",
            "message": _message(row),
        },
        "reason": row.reason,
        "commit": row.commit,
        "partitions": partitions,
        "offline": sum(p["offline"] for p in partitions),
        "waitingForWindow": sum(p["waitingForWindow"] for p in partitions),
        "ignoringWindows": row.window_override,
    }
    return {
        "apiVersion": api_version("Bundle"),
        "kind": "Rollout",
        "metadata": {
            "name": row.bundle,
            "namespace": row.workspace,
            "generation": row.version,
            "creationTimestamp": row.started_at,
        },
        "spec": {"bundle": row.bundle, "version": row.version, "policy": shape.policy},
        "status": status,
    }


def _message(row: RolloutRow) -> str:
    """What it waits for, or why it does not go on, and that it ignores closed windows."""
    windows = f"closed windows are ignored: {row.window_override}" if row.window_override else ""
    return "; ".join(filter(None, (row.waiting_for, windows)))


def _item(items: Sequence[T], number: int) -> T | None:
    return items[number] if number < len(items) else None


def _partition(
    part: tuple[str, int, int, float, bool], step: Step, count: Document | None
) -> Document:
    """`step` and `count`: of the partition in the rollout's `steps` and `counts`; before the first
    decision an empty step and None.
    """
    name, clusters, budget, soak, approval = part
    fields = dict(count or {})
    gate = fields.pop("why", "")
    asks = bool(fields.pop("asks", False))
    tally = Tally(**fields)
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
        "why": gate,
        "soakSeconds": soak,
        "asks": asks,
        "approval": _approval(step, required=approval),
        "startedAt": rfc3339(step.opened) if step.opened else "",
        "finishedAt": rfc3339(step.finished) if step.finished else "",
        "idle": bool(step.idle_since),  # its clock is stopped
        "idleSeconds": step.idle,
    }


def _approval(step: Step, *, required: bool) -> str:
    if step.approved:
        return "approved"
    return "wanted" if required and not step.opened else ""
