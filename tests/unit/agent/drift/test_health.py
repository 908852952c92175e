"""Readiness of single objects: one line of a table for each ending that kstatus and Fleet know."""

from __future__ import annotations

from typing import Any

import pytest

from agent.drift.health import NOT_READY, READY, health

Json = dict[str, Any]


def thing(kind: str, api: str, spec: Json, status: Json, **meta: Any) -> Json:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "x", "generation": 1, **meta},
        "spec": spec,
        "status": status,
    }


def conditions(*found: tuple[str, str, str, str]) -> Json:
    return {
        "conditions": [
            dict(zip(("type", "status", "reason", "message"), c, strict=True)) for c in found
        ]
    }


AVAILABLE = conditions(
    ("Available", "True", "", ""), ("Progressing", "True", "NewReplicaSetAvailable", "")
)
DONE = {
    "observedGeneration": 1,
    "replicas": 2,
    "updatedReplicas": 2,
    "availableReplicas": 2,
    "readyReplicas": 2,
    **AVAILABLE,
}
SPEC = {"replicas": 2, "progressDeadlineSeconds": 600}
LATE = conditions(
    ("Progressing", "False", "ProgressDeadlineExceeded", "ReplicaSet web-1 has timed out")
)
QUOTA = conditions(("ReplicaFailure", "True", "FailedCreate", "exceeded quota"))


@pytest.mark.parametrize(
    ("spec", "status", "why"),
    [
        (SPEC, DONE, ""),
        (
            {"replicas": 0, "progressDeadlineSeconds": 600},
            {"observedGeneration": 1, **AVAILABLE},
            "",
        ),
        (
            {},
            {
                **DONE,
                "replicas": 1,
                "updatedReplicas": 1,
                "availableReplicas": 1,
                "readyReplicas": 1,
            },
            "",
        ),
        (SPEC, {}, "its controller has not processed it yet"),
        (
            SPEC,
            DONE | {"observedGeneration": 0},
            "its controller has processed generation 0, not yet 1",
        ),
        (SPEC, DONE | {"replicas": 1}, "1 of 2 replicas exist"),
        (SPEC, DONE | {"updatedReplicas": 1}, "1 of 2 replicas are updated"),
        (SPEC, DONE | {"replicas": 3}, "1 old replicas are left"),
        (SPEC, DONE | {"availableReplicas": 1}, "1 of 2 replicas are available"),
        (SPEC, DONE | {"readyReplicas": 1}, "1 of 2 replicas are ready"),
        (
            SPEC,
            DONE | conditions(("Available", "True", "", "")),
            "its new ReplicaSet is not available yet",
        ),
        ({"replicas": 2}, DONE | conditions(("Available", "True", "", "")), ""),
        (
            {"replicas": 2},
            DONE | conditions(("Available", "False", "", "")),
            "is not available yet",
        ),
        (SPEC, DONE | LATE, "Progressing=False: ReplicaSet web-1 has timed out"),
        (SPEC, DONE | QUOTA, "ReplicaFailure=True: exceeded quota"),
        (
            SPEC | {"paused": True},
            DONE | conditions(("Progressing", "Unknown", "DeploymentPaused", "")),
            "is paused",
        ),
    ],
)
def test_deployments(spec: Json, status: Json, why: str) -> None:
    """Counts first, then its conditions; a deadline that is over or Pods that cannot be made come
    before all.
    """
    assert health(thing("Deployment", "apps/v1", spec, status)) == (
        NOT_READY if why else READY,
        why,
    )


FULL = {
    "observedGeneration": 1,
    "replicas": 3,
    "readyReplicas": 3,
    "currentReplicas": 3,
    "updatedReplicas": 3,
    "currentRevision": "a",
    "updateRevision": "a",
}


def rolling(partition: int) -> Json:
    return {
        "replicas": 3,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
    }


@pytest.mark.parametrize(
    ("spec", "status", "why"),
    [
        ({"replicas": 3}, FULL, ""),
        (rolling(0), FULL, ""),
        ({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}, {}, ""),
        ({"replicas": 3}, {}, "its controller has not processed it yet"),
        ({"replicas": 3}, FULL | {"replicas": 1}, "1 of 3 replicas exist"),
        ({"replicas": 3}, FULL | {"readyReplicas": 2}, "2 of 3 replicas are ready"),
        ({"replicas": 2}, FULL, "1 replicas too many are left"),
        (rolling(0), FULL | {"updatedReplicas": 1}, "1 of 3 replicas are updated"),
        (rolling(2), FULL | {"updatedReplicas": 1, "updateRevision": "b"}, ""),
        (
            rolling(1),
            FULL | {"updatedReplicas": 1, "updateRevision": "b"},
            "1 of 2 replicas are updated",
        ),
        (
            {"replicas": 3},
            FULL | {"updateRevision": "b", "updatedReplicas": 1},
            "1 of 3 replicas are updated",
        ),
        ({"replicas": 3}, FULL | {"currentReplicas": 2}, "2 of 3 replicas are current"),
    ],
)
def test_stateful_sets(spec: Json, status: Json, why: str) -> None:
    """A partition holds the rest back on purpose; with OnDelete a person decides."""
    assert health(thing("StatefulSet", "apps/v1", spec, status))[1] == why


SCHEDULED = {
    "observedGeneration": 1,
    "desiredNumberScheduled": 2,
    "currentNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
    "numberReady": 2,
}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (SCHEDULED, ""),
        (dict.fromkeys(SCHEDULED, 0) | {"observedGeneration": 1}, ""),
        ({}, "its controller has not processed it yet"),
        ({"observedGeneration": 1}, "its controller has not processed it yet"),
        (SCHEDULED | {"currentNumberScheduled": 1}, "1 of 2 Pods are scheduled"),
        (SCHEDULED | {"updatedNumberScheduled": 1}, "1 of 2 Pods are updated"),
        (SCHEDULED | {"numberAvailable": 0}, "0 of 2 Pods are available"),
        (SCHEDULED | {"numberReady": 1}, "1 of 2 Pods are ready"),
    ],
)
def test_daemon_sets(status: Json, why: str) -> None:
    """On as many nodes as it wants; none is enough where it fits no node."""
    assert health(thing("DaemonSet", "apps/v1", {}, status))[1] == why


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (
            {"replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 2, "readyReplicas": 2},
            "",
        ),
        ({"replicas": 2, "fullyLabeledReplicas": 1}, "1 of 2 replicas are labelled"),
        (
            {"replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 1},
            "1 of 2 replicas are available",
        ),
        (
            {"replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 2, "readyReplicas": 1},
            "1 of 2 replicas are ready",
        ),
        (
            {"replicas": 3, "fullyLabeledReplicas": 3, "availableReplicas": 3, "readyReplicas": 3},
            "1 replicas too many are left",
        ),
        (QUOTA, "ReplicaFailure=True: exceeded quota"),
    ],
)
def test_replica_sets(status: Json, why: str) -> None:
    """Counts, and that Pods can be made at all."""
    assert health(thing("ReplicaSet", "apps/v1", {"replicas": 2}, status))[1] == why


def container(reason: str, message: str = "") -> Json:
    return {"name": "app", "state": {"waiting": {"reason": reason, "message": message}}}


NO_NODE = conditions(("PodScheduled", "False", "Unschedulable", "0/3 nodes are available"))


@pytest.mark.parametrize(
    ("kind", "spec", "status", "why"),
    [
        ("Job", {}, {}, "has not started"),
        ("Job", {}, {"startTime": "t", "active": 1}, ""),
        ("Job", {}, {"startTime": "t", **conditions(("Complete", "True", "", ""))}, ""),
        (
            "Job",
            {},
            {"startTime": "t", **conditions(("Failed", "True", "BackoffLimitExceeded", ""))},
            "Failed=True: BackoffLimitExceeded",
        ),
        ("Job", {"suspend": True}, conditions(("Suspended", "True", "JobSuspended", "")), ""),
        ("Job", {"suspend": True}, {}, ""),
        ("CronJob", {}, {}, ""),
        ("Pod", {}, {}, "it is not scheduled to a node yet"),
        (
            "Pod",
            {},
            {"phase": "Succeeded", **conditions(("Ready", "False", "PodCompleted", ""))},
            "",
        ),
        ("Pod", {}, {"phase": "Running", **conditions(("Ready", "True", "", ""))}, ""),
        (
            "Pod",
            {},
            {"phase": "Running", **conditions(("Ready", "False", "", ""))},
            "runs but is not ready",
        ),
        (
            "Pod",
            {},
            {"phase": "Running", "containerStatuses": [container("CrashLoopBackOff")]},
            "container app: CrashLoopBackOff",
        ),
        (
            "Pod",
            {},
            {
                "phase": "Pending",
                "initContainerStatuses": [container("ImagePullBackOff", "no such image")],
            },
            "container app: ImagePullBackOff: no such image",
        ),
        (
            "Pod",
            {},
            {"phase": "Pending", "containerStatuses": [container("ContainerCreating")]},
            "phase Pending",
        ),
        (
            "Pod",
            {},
            {"phase": "Pending", **NO_NODE},
            "cannot be scheduled: 0/3 nodes are available",
        ),
        ("Pod", {}, {"phase": "Failed", "reason": "Evicted"}, "phase Failed: Evicted"),
    ],
)
def test_pods_and_jobs(kind: str, spec: Json, status: Json, why: str) -> None:
    """A Job is ready once it has begun, unless it failed; a Pod also when it has done its work."""
    assert health(thing(kind, "v1" if kind == "Pod" else "batch/v1", spec, status))[1] == why


@pytest.mark.parametrize(
    ("kind", "api", "spec", "status", "why"),
    [
        ("PersistentVolumeClaim", "v1", {}, {"phase": "Bound"}, ""),
        ("PersistentVolumeClaim", "v1", {}, {"phase": "Pending"}, "is not bound, phase Pending"),
        ("PersistentVolumeClaim", "v1", {}, {}, "is not bound, phase unknown"),
        ("Service", "v1", {"type": "ClusterIP"}, {}, ""),
        ("Service", "v1", {"type": "LoadBalancer"}, {}, "has no cluster address yet"),
        (
            "Service",
            "v1",
            {"type": "LoadBalancer", "clusterIP": "10.0.0.1"},
            {},
            "its load balancer has no address yet",
        ),
        (
            "Service",
            "v1",
            {"type": "LoadBalancer", "clusterIP": "10.0.0.1"},
            {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
            "",
        ),
        ("Service", "serving.knative.dev/v1", {"type": "LoadBalancer"}, {}, ""),
        ("PodDisruptionBudget", "policy/v1", {}, {"observedGeneration": 1}, ""),
        (
            "PodDisruptionBudget",
            "policy/v1",
            {},
            {"observedGeneration": 0},
            "its controller has processed generation 0, not yet 1",
        ),
        ("ConfigMap", "v1", {}, {}, ""),
        (
            "APIService",
            "apiregistration.k8s.io/v1",
            {},
            conditions(("Available", "True", "Local", "")),
            "",
        ),
        (
            "APIService",
            "apiregistration.k8s.io/v1",
            {},
            conditions(("Available", "False", "MissingEndpoints", "")),
            "MissingEndpoints",
        ),
        ("APIService", "apiregistration.k8s.io/v1", {}, {}, "is not available yet"),
        (
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            {},
            conditions(("ScalingActive", "False", "FailedGetScale", "")),
            "FailedGetScale",
        ),
    ],
)
def test_the_other_kinds_of_kubernetes(
    kind: str, api: str, spec: Json, status: Json, why: str
) -> None:
    """What each needs; the group counts, so that another's Service is not Kubernetes' Service."""
    assert health(thing(kind, api, spec, status))[1].rpartition(": ")[2] == why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (conditions(("NamesAccepted", "True", "", ""), ("Established", "True", "", "")), ""),
        ({}, "is not established yet"),
        (
            conditions(
                ("Established", "False", "Installing", "the initial names have been accepted")
            ),
            "is not established yet",
        ),
        (
            conditions(("Established", "False", "NotAccepted", "not all names are accepted")),
            "Established=False: not all names are accepted",
        ),
        (
            conditions(("NamesAccepted", "False", "KindConflict", "Widget is in use")),
            "NamesAccepted=False: Widget is in use",
        ),
    ],
)
def test_definitions(found: Json, why: str) -> None:
    """Established, and with the names that it asked for."""
    assert health(thing("CustomResourceDefinition", "apiextensions.k8s.io/v1", {}, found))[1] == why


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, ""),
        (conditions(("Ready", "True", "", "")), ""),
        (conditions(("Ready", "False", "NoDisk", "")), "Ready=False: NoDisk"),
        (conditions(("Ready", "Unknown", "", "")), "Ready=Unknown"),
        (
            conditions(("Ready", "True", "", ""), ("Reconciling", "True", "", "rolls out")),
            "Reconciling=True: rolls out",
        ),
        (conditions(("Stalled", "True", "", "cannot go on")), "Stalled=True: cannot go on"),
        (conditions(("Stalled", "False", "", ""), ("Reconciling", "False", "", "")), ""),
        (conditions(("Whatever", "False", "", "")), ""),
        (
            {"observedGeneration": 0, **conditions(("Ready", "True", "", ""))},
            "its controller has processed generation 0, not yet 1",
        ),
        ({"observedGeneration": 1, **conditions(("Ready", "True", "", ""))}, ""),
        ({"conditions": "odd", "observedGeneration": "odd"}, ""),
        ({"conditions": [None, {"type": "Ready", "status": "False"}]}, "Ready=False"),
    ],
)
def test_custom_resources(status: Json, why: str) -> None:
    """Ready, Reconciling and Stalled speak for any kind; one without them is ready when it is
    there.
    """
    assert health(thing("Widget", "example.com/v1", {}, status))[1] == why


def test_what_is_being_deleted_is_not_ready() -> None:
    """And it says what it waits for."""
    assert health(thing("ConfigMap", "v1", {}, {}, deletionTimestamp="t"))[1] == "is being deleted"
    held = thing("ConfigMap", "v1", {}, {}, deletionTimestamp="t", finalizers=["a/b"])
    assert health(held) == (NOT_READY, "is being deleted, which waits for finalizer a/b")
