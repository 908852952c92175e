"""Whether a live object is ready, by the rules of kstatus (sigs.k8s.io/cli-utils `pkg/kstatus`). Pure."""

from __future__ import annotations

from typing import Any

READY, NOT_READY = "Ready", "NotReady"


def health(live: dict[str, Any]) -> tuple[str, str]:
    """(Ready or NotReady, why not)."""
    meta, status = live.get("metadata") or {}, live.get("status") or {}
    if meta.get("deletionTimestamp"):
        return NOT_READY, "is being deleted"
    seen = status.get("observedGeneration")
    if seen is not None and meta.get("generation") is not None and seen < meta["generation"]:
        return NOT_READY, "the change is not seen yet"
    rule = _RULES.get((str(live.get("apiVersion", "")).split("/")[0], str(live.get("kind"))))
    why = rule(live.get("spec") or {}, status) if rule else _conditions(status)
    return (NOT_READY, why) if why else (READY, "")


def _deployment(spec: dict[str, Any], status: dict[str, Any]) -> str:
    wanted = spec.get("replicas", 1)
    stuck = _condition(status, "Progressing")
    if stuck and stuck.get("reason") == "ProgressDeadlineExceeded":
        return str(stuck.get("message") or "its progress deadline is over")
    if status.get("observedGeneration") is None:
        return "its controller has not seen it yet"
    updated, total, available = (status.get(key) or 0 for key in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated < wanted:
        return f"{updated} of {wanted} replicas are updated"
    if total > updated:
        return f"{total - updated} old replicas are left"
    return f"{available} of {wanted} replicas are available" if available < wanted else ""


def _stateful_set(spec: dict[str, Any], status: dict[str, Any]) -> str:
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration") is None:
        return "its controller has not seen it yet"
    ready = status.get("readyReplicas") or 0
    if ready < wanted:
        return f"{ready} of {wanted} replicas are ready"
    rolling = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0
    if rolling and not partition and status.get("currentRevision") != status.get("updateRevision"):
        return f"{status.get('updatedReplicas') or 0} of {wanted} replicas are updated"
    return ""


def _daemon_set(spec: dict[str, Any], status: dict[str, Any]) -> str:
    if status.get("observedGeneration") is None:
        return "its controller has not seen it yet"
    wanted = status.get("desiredNumberScheduled") or 0
    for key, word in (("updatedNumberScheduled", "updated"), ("numberAvailable", "available")):
        if (status.get(key) or 0) < wanted:
            return f"{status.get(key) or 0} of {wanted} Pods are {word}"
    return ""


def _replica_set(spec: dict[str, Any], status: dict[str, Any]) -> str:
    wanted, available = spec.get("replicas", 1), status.get("availableReplicas") or 0
    return f"{available} of {wanted} replicas are available" if available < wanted else ""


def _job(spec: dict[str, Any], status: dict[str, Any]) -> str:
    failed = _condition(status, "Failed")
    if failed and failed.get("status") == "True":
        return str(failed.get("message") or "failed")
    return "" if status.get("startTime") or spec.get("suspend") else "has not started"


def _pod(_spec: dict[str, Any], status: dict[str, Any]) -> str:
    phase = status.get("phase")
    if phase == "Succeeded":
        return ""
    ready = _condition(status, "Ready")
    return "" if phase == "Running" and ready and ready.get("status") == "True" else f"phase {phase or 'unknown'}"


def _claim(_spec: dict[str, Any], status: dict[str, Any]) -> str:
    return "" if status.get("phase") == "Bound" else f"phase {status.get('phase')}"


def _service(spec: dict[str, Any], status: dict[str, Any]) -> str:
    return "has no address yet" if spec.get("type") == "LoadBalancer" and not spec.get("clusterIP") else ""


def _definition(_spec: dict[str, Any], status: dict[str, Any]) -> str:
    established = _condition(status, "Established")
    return "" if established and established.get("status") == "True" else "is not established"


def _available(_spec: dict[str, Any], status: dict[str, Any]) -> str:
    found = _condition(status, "Available")
    return "" if found and found.get("status") == "True" else str((found or {}).get("message") or "is not available")


def _nothing(_spec: dict[str, Any], _status: dict[str, Any]) -> str:
    return ""


def _conditions(status: dict[str, Any]) -> str:
    """Any other kind: Ready must not be false, and Reconciling and Stalled not true."""
    for kind, bad in (("Ready", ("False", "Unknown")), ("Stalled", ("True",)), ("Reconciling", ("True",))):
        found = _condition(status, kind)
        if found and found.get("status") in bad:
            return f"{kind}={found['status']}: {found.get('message') or found.get('reason') or ''}".rstrip(": ")
    return ""


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any] | None:
    for condition in status.get("conditions") or []:
        if isinstance(condition, dict) and condition.get("type") == kind:
            return condition
    return None


_RULES = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _nothing,
    ("v1", "Pod"): _pod,
    ("v1", "PersistentVolumeClaim"): _claim,
    ("v1", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _available,
}
