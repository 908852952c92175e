"""Readiness and drift of single objects."""

from __future__ import annotations

from typing import Any

import pytest

from agent.drift import differences
from agent.health import health


def thing(kind: str, api: str, spec: dict[str, Any], status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x", "generation": 1, **meta}, "spec": spec, "status": status}


READY = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (thing("Deployment", "apps/v1", {"replicas": 2}, READY), ""),
        (thing("Deployment", "apps/v1", {"replicas": 2}, {}), "its controller has not seen it yet"),
        (thing("Deployment", "apps/v1", {"replicas": 2}, READY | {"availableReplicas": 1}), "1 of 2 replicas are available"),
        (thing("Deployment", "apps/v1", {"replicas": 2}, READY | {"observedGeneration": 0}), "the change is not seen yet"),
        (thing("StatefulSet", "apps/v1", {"replicas": 2}, READY | {"readyReplicas": 0}), "0 of 2 replicas are ready"),
        (thing("Job", "batch/v1", {}, {"conditions": [{"type": "Failed", "status": "True", "message": "deadline"}]}), "deadline"),
        (thing("ConfigMap", "v1", {}, {}), ""),
        (thing("ConfigMap", "v1", {}, {}, deletionTimestamp="x"), "is being deleted"),
        (thing("Widget", "example.com/v1", {}, {"conditions": [{"type": "Ready", "status": "False", "message": "no"}]}), "Ready=False: no"),
        (thing("PersistentVolumeClaim", "v1", {}, {"phase": "Pending"}), "phase Pending"),
    ],
)
def test_readiness_has_a_reason(item: dict[str, Any], why: str) -> None:
    """Ready, or what stands in the way in words."""
    assert health(item)[1] == why


class TestDifferences:
    def test_only_stated_fields_count(self) -> None:
        """Defaults and what others add are no drift; another value of a stated field is."""
        live = {"data": {"a": "2", "b": "added"}, "status": {"x": 1}}
        assert differences({"data": {"a": "1"}, "status": {"x": 2}}, live) == {"/data/a": "2"}

    def test_the_same_amount_written_otherwise_is_no_drift(self) -> None:
        """Quantities are compared as numbers, and empty maps are nothing."""
        wanted = {"cpu": "1000m", "memory": "0.5Gi", "labels": {}, "none": None, "on": True}
        assert differences(wanted, {"cpu": 1, "memory": "512Mi", "on": True}) == {}
        assert differences({"on": True}, {"on": "true"}) == {"/on": "true"}
