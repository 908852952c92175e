"""Whether a live object is ready, and in words why not. Pure.

The rules are those of kstatus (sigs.k8s.io/cli-utils `pkg/kstatus/status`), and what Rancher Fleet
adds to them (`internal/cmd/agent/deployer/summary/summarizers.go`): a load balancer needs an
address, and conditions of certain names count for all. Two things are stricter here than in
kstatus: a Pod that ended in failure is not ready, nor is a Deployment whose Pods cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleetctl.core.model.json_object import JsonObject

READY, NOT_READY = "Ready", "NotReady"
_MOST_MESSAGE = 300

# What a condition of this name must not be, whatever the kind (Fleet's tables; its `Failed=False`
# is a trap that is not copied).
_MUST_NOT_BE = {
    **dict.fromkeys(
        (
            "Reconciling",
            "Stalled",
            "ReplicaFailure",
            "Unschedulable",
            "OutOfDisk",
            "MemoryPressure",
        ),
        ("True",),
    ),
    **dict.fromkeys(("DiskPressure", "NetworkUnavailable", "Failed"), ("True",)),
    **dict.fromkeys(
        ("Ready", "Available", "Completed", "BootstrapReady", "InfrastructureReady", "NodeHealthy"),
        ("False", "Unknown"),
    ),
    **dict.fromkeys(
        ("Initialized", "Installed", "Deployed", "Provisioned", "Reconciled", "Registered"),
        ("False", "Unknown"),
    ),
    **dict.fromkeys(
        ("Active", "AbleToScale", "ScalingActive", "Created", "Processed", "Updated", "Upgraded"),
        ("False", "Unknown"),
    ),
}
# Kinds whose own rule says it all: a suspended or finished Job, or a Pod that has done its work,
# has conditions that would read as bad.
_SPEAK_FOR_THEMSELVES = frozenset({"Pod", "Job"})


def health(live: JsonObject) -> tuple[str, str]:
    """(Ready or NotReady, why not)."""
    problem = _find_problem(live)
    return (NOT_READY, problem[:_MOST_MESSAGE]) if problem else (READY, "")


def _find_problem(live: JsonObject) -> str:
    meta, spec, status = (_map(live.get(key)) for key in ("metadata", "spec", "status"))
    if meta.get("deletionTimestamp"):
        holders = meta.get("finalizers") or []
        return "is being deleted" + (f", which waits for finalizer {holders[0]}" if holders else "")
    generation, observed_generation = meta.get("generation"), status.get("observedGeneration")
    if (
        isinstance(generation, int)
        and isinstance(observed_generation, int)
        and observed_generation != generation
    ):
        return (
            f"its controller has processed generation {observed_generation}, not yet {generation}"
        )
    kind = str(live.get("kind"))
    for name in ("Reconciling", "Stalled"):
        if _is(status, name, "True"):
            return _describe_condition(status, name)
    rule = _RULES.get((_group(live), kind))
    problem = rule(spec, status) if rule else ""
    return problem or ("" if kind in _SPEAK_FOR_THEMSELVES and rule else _conditions(status))


def _deployment(spec: JsonObject, status: JsonObject) -> str:
    if _condition(status, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        return _describe_condition(status, "Progressing")
    if status.get("observedGeneration") is None:
        return "its controller has not processed it yet"
    if _is(status, "ReplicaFailure", "True"):
        return _describe_condition(status, "ReplicaFailure")
    spec_replicas = _number(spec, "replicas", 1)
    total, updated_count, available, ready = _numbers(
        status, "replicas", "updatedReplicas", "availableReplicas", "readyReplicas"
    )
    if total < spec_replicas:
        return f"{total} of {spec_replicas} replicas exist"
    if updated_count < spec_replicas:
        return f"{updated_count} of {spec_replicas} replicas are updated"
    if total > spec_replicas:
        return f"{total - spec_replicas} old replicas are left"
    if available < updated_count:
        return f"{available} of {updated_count} replicas are available"
    if ready < spec_replicas:
        return f"{ready} of {spec_replicas} replicas are ready"
    return _check_rollout(spec, status)


def _check_rollout(spec: JsonObject, status: JsonObject) -> str:
    """What a Deployment's conditions say when its counts are right. Without a deadline there is no
    word of progress.
    """
    reason, deadline = (
        _condition(status, "Progressing").get("reason"),
        spec.get("progressDeadlineSeconds"),
    )
    if spec.get("paused") and reason == "DeploymentPaused":
        return "is paused"
    if isinstance(deadline, int) and deadline < 2**31 - 1 and reason != "NewReplicaSetAvailable":
        return "its new ReplicaSet is not available yet"
    return "" if _is(status, "Available", "True") else "is not available yet"


def _replica_set(spec: JsonObject, status: JsonObject) -> str:
    if _is(status, "ReplicaFailure", "True"):
        return _describe_condition(status, "ReplicaFailure")
    spec_replicas = _number(spec, "replicas", 1)
    total, labelled_count, available, ready = _numbers(
        status, "replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas"
    )
    for count, word in ((labelled_count, "labelled"), (available, "available"), (ready, "ready")):
        if count < spec_replicas:
            return f"{count} of {spec_replicas} replicas are {word}"
    return f"{total - spec_replicas} replicas too many are left" if total > spec_replicas else ""


def _stateful_set(spec: JsonObject, status: JsonObject) -> str:
    strategy = _map(spec.get("updateStrategy"))
    if strategy.get("type") == "OnDelete":
        return ""  # a person decides when its Pods follow
    if status.get("observedGeneration") is None:
        return "its controller has not processed it yet"
    spec_replicas = _number(spec, "replicas", 1)
    total, ready, current, updated_count = _numbers(
        status, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas"
    )
    if total < spec_replicas:
        return f"{total} of {spec_replicas} replicas exist"
    if ready < spec_replicas:
        return f"{ready} of {spec_replicas} replicas are ready"
    if total > spec_replicas:
        return f"{total - spec_replicas} replicas too many are left"
    partition = _map(strategy.get("rollingUpdate")).get("partition")
    if isinstance(partition, int):
        return (
            f"{updated_count} of {spec_replicas - partition} replicas are updated"
            if updated_count < spec_replicas - partition
            else ""
        )
    if status.get("currentRevision") != status.get("updateRevision"):
        return f"{updated_count} of {spec_replicas} replicas are updated"
    return f"{current} of {spec_replicas} replicas are current" if current < spec_replicas else ""


def _daemon_set(_spec: JsonObject, status: JsonObject) -> str:
    if status.get("observedGeneration") is None or status.get("desiredNumberScheduled") is None:
        return "its controller has not processed it yet"
    target_count = _number(status, "desiredNumberScheduled", 0)
    counts = (
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
    )
    for key, word in (*counts, ("numberReady", "ready")):
        if _number(status, key, 0) < target_count:
            return f"{_number(status, key, 0)} of {target_count} Pods are {word}"
    return ""


def _job(spec: JsonObject, status: JsonObject) -> str:
    if _is(status, "Failed", "True"):
        return _describe_condition(status, "Failed")
    if _is(status, "Complete", "True") or _is(status, "Suspended", "True") or spec.get("suspend"):
        return ""
    return "" if status.get("startTime") else "has not started"


def _pod(_spec: JsonObject, status: JsonObject) -> str:
    phase = status.get("phase")
    if phase == "Succeeded" or (phase == "Running" and _is(status, "Ready", "True")):
        return ""
    looping = _waiting(status)
    if looping:
        return looping
    if phase == "Pending" and _is(status, "PodScheduled", "False"):
        return (
            "cannot be scheduled:"
            f" {_condition(status, 'PodScheduled').get('message') or 'no node fits'}"
        )
    if phase == "Running":
        return "runs but is not ready"
    detail = status.get("message") or status.get("reason") or ""
    return (f"phase {phase}" if phase else "it is not scheduled to a node yet") + (
        f": {detail}" if detail else ""
    )


def _waiting(status: JsonObject) -> str:
    """The first container that cannot start or falls over again and again."""
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or []:
            waiting = _map(_map(_map(container).get("state")).get("waiting"))
            reason = str(waiting.get("reason") or "")
            if reason and reason not in {"ContainerCreating", "PodInitializing"}:
                message = waiting.get("message")
                return f"container {container.get('name')}: {reason}" + (
                    f": {message}" if message else ""
                )
    return ""


def _volume_claim(_spec: JsonObject, status: JsonObject) -> str:
    return (
        ""
        if status.get("phase") == "Bound"
        else f"is not bound, phase {status.get('phase') or 'unknown'}"
    )


def _service(spec: JsonObject, status: JsonObject) -> str:
    if spec.get("type") != "LoadBalancer":
        return ""
    if not spec.get("clusterIP"):
        return "has no cluster address yet"
    return (
        ""
        if _map(status.get("loadBalancer")).get("ingress")
        else "its load balancer has no address yet"
    )


def _definition(_spec: JsonObject, status: JsonObject) -> str:
    if _is(status, "NamesAccepted", "False"):
        return _describe_condition(status, "NamesAccepted")
    if _is(status, "Established", "True"):
        return ""
    is_refused = (
        _is(status, "Established", "False")
        and _condition(status, "Established").get("reason") != "Installing"
    )
    return _describe_condition(status, "Established") if is_refused else "is not established yet"


def _available(_spec: JsonObject, status: JsonObject) -> str:
    return (
        ""
        if _is(status, "Available", "True")
        else _describe_condition(status, "Available") or "is not available yet"
    )


def _no_rule(_spec: JsonObject, _status: JsonObject) -> str:
    return ""


def _conditions(status: JsonObject) -> str:
    """What the conditions of any kind say; the first that is bad, in the object's own order."""
    for condition in _list_conditions(status):
        name = str(condition.get("type"))
        if condition.get("status") in _MUST_NOT_BE.get(name, ()):
            return _describe_condition(status, name)
    return ""


def _describe_condition(status: JsonObject, name: str) -> str:
    """`NAME=STATUS: message`, or "" for a condition that is not there."""
    condition = _condition(status, name)
    if not condition:
        return ""
    text = condition.get("message") or condition.get("reason") or ""
    return f"{name}={condition.get('status')}: {text}".rstrip(": ")


def _is(status: JsonObject, name: str, value: str) -> bool:
    return _condition(status, name).get("status") == value


def _condition(status: JsonObject, name: str) -> JsonObject:
    return next((c for c in _list_conditions(status) if c.get("type") == name), {})


def _list_conditions(status: JsonObject) -> list[JsonObject]:
    conditions = status.get("conditions")
    return [c for c in conditions if isinstance(c, dict)] if isinstance(conditions, list) else []


def _group(live: JsonObject) -> str:
    """ "" for the core's."""
    return str(live.get("apiVersion", "")).rpartition("/")[0]


def _map(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _number(part: JsonObject, key: str, default: int) -> int:
    value = part.get(key)
    return value if isinstance(value, int) else default


def _numbers(part: JsonObject, *keys: str) -> tuple[int, ...]:
    return tuple(_number(part, key, 0) for key in keys)


_RULES: dict[tuple[str, str], Callable[[JsonObject, JsonObject], str]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _no_rule,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _volume_claim,
    ("", "Service"): _service,
    ("", "ConfigMap"): _no_rule,
    ("", "Secret"): _no_rule,
    # its generation is observed: the allowed disruptions are computed
    ("policy", "PodDisruptionBudget"): _no_rule,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _available,
}
