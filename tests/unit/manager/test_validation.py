"""Objects as `kubectl get -o yaml` prints them are accepted, and what has no effect is a
warning.
"""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.core.documents.convert import Note
from fleetctl.core.model.errors import FleetError
from manager import validation

API = "fleet.cattle.io/v1alpha1"
META = {
    "annotations": None,
    "creationTimestamp": "2025-01-01T00:00:00Z",
    "deletionGracePeriodSeconds": 0,
    "deletionTimestamp": None,
    "finalizers": ["fleet.cattle.io/x"],
    "generateName": "a-",
    "generation": 3,
    "labels": {"a": "b"},
    "managedFields": [{"manager": "rancher"}],
    "name": "a",
    "namespace": "w",
    "ownerReferences": [],
    "resourceVersion": "1",
    "selfLink": "/x",
    "uid": "1",
}


def check(kind: str, spec: Any, **more: Any) -> tuple[dict[str, Any], list[str]]:
    notes: list[Note] = []
    document = {
        "apiVersion": API,
        "kind": kind,
        "metadata": META,
        "spec": spec,
        "status": {"conditions": []},
        **more,
    }
    return validation.check_document(kind, "w", "a", document, notes), [
        note.summary for note in notes
    ]


def test_an_exported_gitrepo():
    """Null counts as not written, also inside; a false or empty key without effect is no
    warning.
    """
    spec = {
        "repo": "https://git.example/r", "branch": None, "paths": None, "bundles": None, "clientSecretName": None, "caBundle": None,  # noqa: E501
        "pollingInterval": None, "serviceAccount": None, "correctDrift": {"enabled": None}, "insecureSkipTLSVerify": False,  # noqa: E501
        "imageScanInterval": "15m", "imageScanCommit": {"authorName": ""}, "webhookSecret": "", "ociRegistrySecret": "x",  # noqa: E501
        "helmSecretNameForPaths": None, "targets": [{"name": None, "clusterGroup": None, "clusterName": None, "clusterSelector": {}}],  # noqa: E501
    }  # fmt: skip
    stored, warnings = check("GitRepo", spec)
    assert stored["targets"] == [{"clusterSelector": {}}]
    assert not {key for key, value in stored.items() if value is None}
    assert [text.partition(" has")[0] for text in warnings] == [
        "key `imageScanInterval`",
        "key `imageScanCommit`",
        "key `ociRegistrySecret`",
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "stored"),
    [
        ("Cluster", {"Paused": True, "agentNamespace": "x", "templateValues": {"a": None}, "hostNetwork": None, "clientID": None},  # noqa: E501
         {"paused": True, "templateValues": {"a": None}, "agentNamespace": "x"}),
        ("Cluster", None, {}),
        ("ClusterGroup", {"selector": {"matchlabels": {"a": 1}, "matchExpressions": None}}, {"selector": {"matchLabels": {"a": "1"}}}),  # noqa: E501
        ("ClusterGroup", {"selector": None}, {}),
        ("ClusterRegistrationToken", {"TTL": "1h", "uses": None}, {"ttl": "1h"}),
        ("Schedule", {"schedule": "@daily", "duration": "1h", "location": None,
          "Targets": {"clusters": [{"clusterName": "x", "name": None}]}},
         {"schedule": "@daily", "duration": "1h", "targets": {"clusters": [{"clusterName": "x"}]}}),
    ],
)  # fmt: skip
def test_other_exported_objects(kind, spec, stored):
    """What is stored has the right spelling, and no null."""
    assert check(kind, spec)[0] == stored


@pytest.mark.parametrize(
    ("kind", "spec", "words", "step"),
    [
        ("GitRepo", {"repo": "x", "insecureSkipTLSVerify": True}, "insecureSkipTLSVerify", "caBundle"),  # noqa: E501
        ("GitRepo", {"repo": "x", "brnach": "y"}, "unknown key `spec.brnach`", "branch"),
        ("GitRepo", {"repo": "x", "pollingInterval": "9" * 400 + "h"}, "is not a duration", "15s"),
        ("GitRepo", {"repo": "x", "pollingInterval": "999999999999h"}, "longer than 292 years", "15s"),  # noqa: E501
        ("GitRepo", {"repo": None}, "the key `repo` is missing", "type"),
        ("GitRepo", {"repo": "x", "targets": [{"clusterSelector": {"matchLabels": ["a"]}}]}, "matchLabels is not a map", "NAME: VALUE"),  # noqa: E501
        ("GitRepo", {"repo": "x", "owner": "y", "strict": True}, "unknown key `spec.owner`", "Remove it"),  # noqa: E501
        ("ClusterGroup", {"selector": {"env": "prod"}}, "unknown key `spec.selector.env`", "matchLabels"),  # noqa: E501
        ("ClusterGroup", {"selector": {"matchExpressions": {"a": "b"}}}, "is not a list", "condition"),  # noqa: E501
        ("Schedule", {"schedule": "@daily", "duration": "1h", "targets": {"clusters": [{"clusterSelector": []}]}},  # noqa: E501
         "label selector", "matchLabels"),
        ("Cluster", {"templateValues": [1]}, "templateValues", "type"),
        ("Cluster", [1], "spec is not a map", "below it"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_key_and_the_next_step(kind, spec, words, step):
    with pytest.raises(FleetError, match=words) as caught:
        check(kind, spec)
    assert step in caught.value.next_step


def test_unknown_keys_of_the_metadata():
    """A typing error is an error; any other is a warning, as Kubernetes drops it."""
    document = {"apiVersion": API, "kind": "Cluster", "metadata": {**META, "lables": {}}}
    with pytest.raises(FleetError, match=r"unknown key `metadata.lables`"):
        validation.check_document("Cluster", "w", "a", document)
    notes: list[Note] = []
    validation.check_document(
        "Cluster", "w", "a", {**document, "metadata": {**META, "owner": "me"}}, notes
    )
    assert [note.code for note in notes] == ["ignored-key"]
