"""A journal that was lost is made again from the labels that every release of ours carries, before anything is changed.

What is rebuilt counts as not applied: the next document applies it again, which changes nothing that is as it should be, and a tombstone
finds the release that it removes.
"""

from __future__ import annotations

from typing import Any

from agent.journal import Entry, Journal
from agent.kube import Kube
from agent.parts import PART
from fleetctl.core.ids import BundleName, ClusterId, Digest, Epoch, Generation


async def rebuild(kube: Kube, journal: Journal, cluster: ClusterId) -> int:
    """How many bundles were found. Raises ClusterUnreachable, OSError."""
    found = await kube.call("GET", f"/api/v1/secrets?labelSelector=owner%3Dhelm%2Cfleetctl-cluster%3D{cluster}")
    latest: dict[str, dict[str, Any]] = {}
    parts: dict[str, set[int]] = {}
    for item in found.get("items") or []:
        labels = item["metadata"].get("labels") or {}
        bundle = str(labels.get("fleetctl-bundle", ""))
        if PART in labels:
            parts.setdefault(bundle, set()).add(int(labels[PART]))
        elif bundle and int(labels.get("version", 0)) >= int((latest.get(bundle) or {}).get("version", 0)):
            latest[bundle] = {**labels, "namespace": item["metadata"]["namespace"]}
    for bundle, labels in latest.items():
        journal.put(_entry(bundle, labels, parts.get(bundle, set())))
    return len(latest)


def _entry(bundle: str, labels: dict[str, Any], parts: set[int]) -> Entry:
    return Entry(
        parts=tuple(sorted(parts)),
        bundle=BundleName(bundle),
        generation=Generation(int(labels.get("fleetctl-generation", 0))),
        archive=Digest(""),
        release=str(labels.get("name", "")),
        namespace=str(labels["namespace"]),
        revision=int(labels.get("version", 0)),
        epoch=Epoch(int(labels.get("fleetctl-epoch", 0))),
    )
