"""The status that controllers and a kubelet would write, computed. Pure: no clock, no network.

Rule: what is returned is a merge patch for the status, or None when the object already says so. The
annotation ``localkube.example/play`` on an object chooses another ending: ``hold`` stays in
progress, ``fail`` fails.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

Json = dict[str, Any]
ANNOTATION = "localkube.example/play"
KINDS = {
    "Deployment": "/apis/apps/v1/%sdeployments",
    "StatefulSet": "/apis/apps/v1/%sstatefulsets",
    "DaemonSet": "/apis/apps/v1/%sdaemonsets",
    "Job": "/apis/batch/v1/%sjobs",
}


def patch_for(kind: str, item: Json, now: str) -> Json | None:
    """The status patch that brings ``item`` to its end; ``now`` is RFC 3339 in UTC, whole
    seconds.
    """
    ending = item["metadata"].get("annotations", {}).get(ANNOTATION, "ready")
    status: Json = item.get("status", {})
    if kind == "Job":
        if _finished(status) or item["spec"].get("suspend"):
            return None
        return _changed(status, _job(item, ending, now))
    wanted = {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}[
        kind
    ](item, ending)
    wanted["observedGeneration"] = item["metadata"].get("generation", 1)
    if "conditions" in wanted:
        wanted["conditions"] = _dated(wanted["conditions"], status.get("conditions", []), now)
    return _changed(status, wanted)


def path_of(kind: str, item: Json) -> str:
    """The path of the object's status subresource."""
    meta = item["metadata"]
    return f"{KINDS[kind] % ('namespaces/' + meta['namespace'] + '/')}/{meta['name']}/status"


def _changed(status: Json, wanted: Json) -> Json | None:
    # The API server leaves zeros and nulls out of what it returns.
    same = all(
        status.get(key) == value or (not value and not status.get(key))
        for key, value in wanted.items()
    )
    return None if same else wanted


def _condition(kind: str, truth: bool, reason: str) -> Json:
    return {
        "type": kind,
        "status": "True" if truth else "False",
        "reason": reason,
        "message": "played by localkube",
    }


def _dated(conditions: list[Json], old: list[Json], now: str) -> list[Json]:
    """Conditions that did not change keep their times, so that an equal status stays equal."""
    before = {condition["type"]: condition for condition in old}
    dated = []
    for condition in conditions:
        known = before.get(condition["type"], {})
        if all(known.get(key) == value for key, value in condition.items()):
            dated.append(known)
        else:
            dated.append(condition | {"lastUpdateTime": now, "lastTransitionTime": now})
    return dated


def _deployment(item: Json, ending: str) -> Json:
    count = item["spec"].get("replicas", 1)
    ready = count if ending == "ready" else 0
    progress = {
        "ready": _condition("Progressing", True, "NewReplicaSetAvailable"),
        "fail": _condition("Progressing", False, "ProgressDeadlineExceeded"),
    }.get(ending, _condition("Progressing", True, "ReplicaSetUpdated"))
    available = ready == count
    return {
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": count - ready,
        "conditions": [
            _condition(
                "Available",
                available,
                f"MinimumReplicas{'Available' if available else 'Unavailable'}",
            ),
            progress,
        ],
    }


def _stateful_set(item: Json, ending: str) -> Json:
    count = item["spec"].get("replicas", 1)
    template = json.dumps(item["spec"].get("template"), sort_keys=True).encode()
    revision = f"{item['metadata']['name']}-{hashlib.sha256(template).hexdigest()[:10]}"
    ready = count if ending == "ready" else 0
    return {
        "replicas": count,
        "currentReplicas": count,
        "updatedReplicas": count,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentRevision": revision,
        "updateRevision": revision,
    }


def _daemon_set(item: Json, ending: str) -> Json:
    # There are no nodes here; one is pretended.
    ready = 1 if ending == "ready" else 0
    return {
        "desiredNumberScheduled": 1,
        "currentNumberScheduled": 1,
        "updatedNumberScheduled": 1,
        "numberReady": ready,
        "numberAvailable": ready,
        "numberUnavailable": 1 - ready,
        "numberMisscheduled": 0,
    }


def _finished(status: Json) -> bool:
    return any(
        condition["type"] in {"Complete", "Failed"} and condition["status"] == "True"
        for condition in status.get("conditions", [])
    )


def _job(item: Json, ending: str, now: str) -> Json:
    started = item.get("status", {}).get("startTime", now)
    if ending == "hold":
        return {"startTime": started, "active": 1, "ready": 0}
    # Since 1.31 the API server wants the reason's own condition together with the final one.
    last = ("FailureTarget", "Failed") if ending == "fail" else ("SuccessCriteriaMet", "Complete")
    reason = "BackoffLimitExceeded" if ending == "fail" else "CompletionsReached"
    conditions = [
        _condition(kind, True, reason) | {"lastProbeTime": now, "lastTransitionTime": now}
        for kind in last
    ]
    wanted: Json = {
        "startTime": started,
        "active": 0,
        "ready": 0,
        "terminating": 0,
        "conditions": conditions,
    }
    wanted["uncountedTerminatedPods"] = {}
    if ending == "fail":
        return wanted | {"failed": 1}
    return wanted | {"completionTime": now, "succeeded": item["spec"].get("completions", 1)}
