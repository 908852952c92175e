"""Releases whose objects are of kinds that the cluster no longer serves: they are upgraded, and
they go.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from pathlib import Path

import pytest

from agent.host.failpoints import REPAIR_NAMES
from fleetctl.core.model.errors import FleetError, NoKind, Terminating, WebhookSilent
from tests.integration.deploy.test_apply import MAP, custom, cut_off_at, definition
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench

pytestmark = pytest.mark.cluster
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"
HOOKED = (
    'apiVersion: %s/v1\nkind: Valve\nmetadata: {name: hooked, annotations: {"helm.sh/hook":'
    " pre-delete}}\n"
)


@pytest.fixture
def bench(tmp_path: Path, kube: LocalKube, tool_env: dict[str, str]) -> Workbench:
    return Workbench(tmp_path / "agent", kube["dev"].kubeconfig, tool_env)


def drop(bench: Workbench, *names: str) -> None:
    """The definitions go, as with the bundle that brought them."""
    bench.kubectl("delete", "crd", *names)


def stored(bench: Workbench, release: str, space: str) -> list[str]:
    """The manifests of all records."""
    items = bench.get("secret", "-n", space, "-l", f"owner=helm,name={release}")["items"]
    packed = [base64.b64decode(base64.b64decode(item["data"]["release"])) for item in items]
    return [json.loads(gzip.decompress(one))["manifest"] for one in packed]


def rewrite(bench: Workbench, release: str, space: str, old: str, new: str) -> None:
    """As a cluster whose upgrade has removed an API version: the record states one that is not
    served.
    """
    for item in bench.get("secret", "-n", space, "-l", f"owner=helm,name={release}")["items"]:
        content = json.loads(
            gzip.decompress(base64.b64decode(base64.b64decode(item["data"]["release"])))
        )
        content["manifest"] = content["manifest"].replace(old, new)
        packed = base64.b64encode(gzip.compress(json.dumps(content).encode()))
        item["data"]["release"] = base64.b64encode(packed).decode()
        bench.kubectl("replace", "-f", "-", stdin=json.dumps(item))


def test_what_has_no_kind_any_more_stops_no_uninstall(bench: Workbench) -> None:
    """Objects, Lists and hooks of it count as gone; the rest of the release goes, and its
    record.
    """
    group, space = "uninstall.example.com", "kinds-uninstall"
    bench.install(
        "def",
        {"d.yaml": definition("Valve", group)},
        {"defaultNamespace": space, "deleteCRDResources": True},
    )
    files = {
        "Chart.yaml": CHART,
        "templates/v.yaml": custom("Valve", group),
        "templates/l.yaml": json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [json.loads(custom("Valve", group, "two"))],
            }
        ),
        "templates/m.yaml": MAP.format(name="rest", value=1),
        "templates/h.yaml": HOOKED % group,
    }
    bench.install("objects", files, {"defaultNamespace": space})
    bench.remove("def")
    assert not bench.exists("crd", f"valves.{group}")
    bench.remove("objects")
    assert not bench.exists("configmap", "rest", "-n", space)
    assert bench.history("objects", space) == []


@pytest.mark.parametrize("where", ["", *REPAIR_NAMES])
def test_what_has_no_kind_any_more_stops_no_upgrade(bench: Workbench, where: str) -> None:
    """The new manifest does without it; a repair that was cut off is done again."""
    group, space = f"upgrade{where}.example.com", f"kinds-upgrade{where}"
    files = {"v.yaml": custom("Valve", group), "m.yaml": MAP.format(name="rest", value=1)}
    bench.install("def", {"d.yaml": definition("Valve", group)}, {"defaultNamespace": space})
    bench.install("objects", files, {"defaultNamespace": space})
    uid = bench.uid("configmap", "rest", "-n", space)
    drop(bench, f"valves.{group}")
    changed = {"m.yaml": MAP.format(name="rest", value=2)}
    if where:
        with cut_off_at(where):
            bench.install("objects", changed, {"defaultNamespace": space})
        bench.again("objects")
    else:
        with pytest.raises(NoKind, match='no matches for kind "Valve" in version') as caught:
            bench.install("objects", files, {"defaultNamespace": space})
        assert "dependsOn" in caught.value.next_step
        bench.install("objects", changed, {"defaultNamespace": space})
    assert bench.get("configmap", "rest", "-n", space)["data"] == {"a": "2"}
    assert bench.uid("configmap", "rest", "-n", space) == uid
    assert not any("Valve" in manifest for manifest in stored(bench, "objects", space))


def test_a_version_that_is_not_served_any_more_becomes_the_one_that_is(bench: Workbench) -> None:
    """As after an upgrade of the cluster: of the same group, and of the group that Kubernetes moved
    the kind to. The objects stay.
    """
    space = "kinds-versions"
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1},
    }
    rule = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "n"},
        "spec": {"podSelector": {}},
    }
    files = {
        "b.yaml": json.dumps(budget),
        "n.yaml": json.dumps(rule),
        "m.yaml": MAP.format(name="rest", value=1),
    }
    bench.install("old", files, {"defaultNamespace": space})
    uids = [
        bench.uid(kind, name, "-n", space) for kind, name in (("pdb", "b"), ("networkpolicy", "n"))
    ]
    rewrite(bench, "old", space, "policy/v1", "policy/v1beta1")
    rewrite(bench, "old", space, "networking.k8s.io/v1", "extensions/v1beta1")
    bench.install("old", files, {"defaultNamespace": space})
    assert [
        bench.uid(kind, name, "-n", space) for kind, name in (("pdb", "b"), ("networkpolicy", "n"))
    ] == uids
    rewrite(bench, "old", space, "policy/v1", "policy/v1beta1")
    bench.install("old", {"m.yaml": MAP.format(name="rest", value=1)}, {"defaultNamespace": space})
    assert not bench.exists("pdb", "b", "-n", space)
    assert not bench.exists("networkpolicy", "n", "-n", space)


@pytest.mark.parametrize("what", ["changed", "left-out", "removed"])
def test_a_custom_resource_of_a_version_that_is_not_served_any_more(
    bench: Workbench, what: str
) -> None:
    """It is the same object under the version that is served: upgraded in place, deleted when Git
    leaves it out, or with its bundle.
    """
    group, space = f"{what}.example.com", f"kinds-version-{what}"
    crd = json.loads(definition("Pipe", group))
    (new,) = crd["spec"]["versions"]
    crd["spec"]["versions"] = [{**new, "name": "v1beta1", "storage": False}, new]
    bench.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    bench.kubectl("wait", "--for=condition=Established", f"crd/pipes.{group}")
    old = custom("Pipe", group, size="a").replace("/v1", "/v1beta1")
    bench.install(
        "app",
        {"p.yaml": old, "m.yaml": MAP.format(name="rest", value=1)},
        {"defaultNamespace": space},
    )
    uid = bench.uid(f"pipes.{group}", "one", "-n", space)
    crd["spec"]["versions"][0]["served"] = False
    bench.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    rest = {"m.yaml": MAP.format(name="rest", value=2)}
    if what == "changed":
        bench.install(
            "app", rest | {"p.yaml": custom("Pipe", group, size="b")}, {"defaultNamespace": space}
        )
        found = bench.get(f"pipes.{group}", "one", "-n", space)
        assert (found["metadata"]["uid"], found["spec"]) == (uid, {"size": "b"})
        return
    if what == "left-out":
        bench.install("app", rest, {"defaultNamespace": space})
    else:
        bench.remove("app")
    assert not bench.exists(f"pipes.{group}", "one", "-n", space)


def test_a_webhook_that_is_gone_is_named_at_an_uninstall(bench: Workbench) -> None:
    """helm only says that it failed. The removal goes on by itself when the webhook is repaired or
    deleted.
    """
    space = "kinds-webhook"
    bench.install(
        "app", {"m.yaml": MAP.format(name="watched", value=1)}, {"defaultNamespace": space}
    )
    hook = {
        "name": "check.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": {"name": "away", "namespace": space, "path": "/"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["DELETE"],
                "resources": ["configmaps"],
            }
        ],
    }
    kind = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
    }
    bench.kubectl(
        "apply",
        "-f",
        "-",
        stdin=json.dumps({**kind, "metadata": {"name": "away"}, "webhooks": [hook]}),
    )
    failure = first_failure(bench, space)
    assert isinstance(failure, WebhookSilent)
    assert 'webhook "check.example.com"' in failure.summary
    bench.kubectl("delete", "validatingwebhookconfiguration", "away")
    for _ in range(20):  # until the API server has forgotten the webhook
        with contextlib.suppress(WebhookSilent):
            bench.remove("app")
            break
    assert not bench.exists("configmap", "watched", "-n", space)


def test_a_record_that_cannot_be_read_stops_no_upgrade(bench: Workbench) -> None:
    """helm passes over it and says that the next revision exists already, for ever."""
    space = "kinds-damaged"
    for value in (1, 2):
        bench.install(
            "app", {"m.yaml": MAP.format(name="rest", value=value)}, {"defaultNamespace": space}
        )
    uid = bench.uid("configmap", "rest", "-n", space)
    damaged = json.dumps({"data": {"release": "aGVsbG8="}})
    for name in ("v2", "v1"):
        bench.kubectl(
            "patch",
            "secret",
            "-n",
            space,
            f"sh.helm.release.v1.app.{name}",
            "--type=merge",
            "-p",
            damaged,
        )
        bench.install(
            "app", {"m.yaml": MAP.format(name="rest", value=name)}, {"defaultNamespace": space}
        )
        assert bench.get("configmap", "rest", "-n", space)["data"] == {"a": name}
    assert bench.uid("configmap", "rest", "-n", space) == uid
    bench.remove("app")
    assert not bench.exists("configmap", "rest", "-n", space)


def test_a_namespace_that_does_not_end_is_named_with_its_cause(bench: Workbench) -> None:
    """Nothing can be deployed into it until it is gone; then it heals by itself."""
    space = "kinds-ending"
    bench.kubectl("create", "namespace", space)
    bench.kubectl("delete", "namespace", space, "--wait=false")
    with pytest.raises(Terminating, match=f"namespace {space} is being deleted") as caught:
        bench.install(
            "app", {"m.yaml": MAP.format(name="rest", value=1)}, {"defaultNamespace": space}
        )
    assert caught.value.next_step
    gone = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": space},
        "spec": {"finalizers": []},
    }
    bench.kubectl(
        "replace",
        "--raw",
        f"/api/v1/namespaces/{space}/finalize",
        "-f",
        "-",
        stdin=json.dumps(gone),
    )
    bench.again("app")
    assert bench.exists("configmap", "rest", "-n", space)


def first_failure(bench: Workbench, space: str) -> FleetError | None:
    """Of removals, until the API server knows the webhook."""
    for _ in range(20):
        try:
            bench.remove("app")
        except FleetError as error:
            return error
        bench.install(
            "app", {"m.yaml": MAP.format(name="watched", value=1)}, {"defaultNamespace": space}
        )
    return None
