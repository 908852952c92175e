"""Bundles that state the Namespace of their own release, as Fleet users write them, on a real API
server.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.core.model.errors import OwnershipConflict
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench

pytestmark = pytest.mark.cluster
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: '1'}\n"


@pytest.fixture
def bench(tmp_path: Path, kube: LocalKube, tool_env: dict[str, str]) -> Workbench:
    return Workbench(tmp_path / "agent", kube["dev"].kubeconfig, tool_env)


def namespace(name: str, **labels: str) -> str:
    return json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )


def labels(bench: Workbench, name: str) -> dict[str, str]:
    found = bench.get("namespace", name)["metadata"]["labels"]
    return {
        k: v for k, v in found.items() if not k.startswith(("kubernetes.io/", "app.kubernetes.io/"))
    }


@pytest.mark.parametrize("style", ["raw", "kustomize", "chart", "labels"])
def test_a_bundle_brings_the_namespace_of_its_release(bench: Workbench, style: str) -> None:
    """Whatever renders it: the Namespace becomes the release's, with the bundle's labels."""
    space = f"own-{style}"
    stated = namespace(space, team="a")
    options = {"defaultNamespace": space}
    files = {"b-namespace.yaml": stated, "a-map.yaml": MAP}
    if style == "kustomize":
        files |= {
            "kustomization.yaml": f"namespace: {space}\nresources: [b-namespace.yaml, a-map.yaml]\n"
        }
    elif style == "chart":
        files = {"Chart.yaml": CHART, "templates/n.yaml": stated, "templates/m.yaml": MAP}
    elif style == "labels":
        options |= {"namespaceLabels": {"tier": "web"}}
    bench.install("app", files, options)
    wanted = {"team": "a"} | ({"tier": "web"} if style == "labels" else {})
    assert labels(bench, space) == wanted
    assert (
        bench.get("namespace", space)["metadata"]["annotations"]["meta.helm.sh/release-name"]
        == "app"
    )
    bench.again("app")
    assert bench.releases(space) == ["app"]


def test_an_upgrade_that_leaves_the_namespace_out_deletes_nothing(bench: Workbench) -> None:
    """It comes with an upgrade and goes with one; helm would delete it with the release and all
    that is in it.
    """
    space = "own-later"
    bench.install("app", {"m.yaml": MAP}, {"defaultNamespace": space})
    bench.install(
        "app", {"m.yaml": MAP, "n.yaml": namespace(space, team="b")}, {"defaultNamespace": space}
    )
    assert labels(bench, space) == {"team": "b"}
    bench.install("app", {"m.yaml": MAP}, {"defaultNamespace": space})
    found = bench.get("namespace", space)["metadata"]
    assert "deletionTimestamp" not in found
    assert "helm.sh/resource-policy" not in found.get("annotations", {})
    assert bench.exists("configmap", "settings", "-n", space)
    bench.install("app", {"m.yaml": MAP, "n.yaml": namespace(space)}, {"defaultNamespace": space})
    assert bench.history("app", space)[-1][1] == "deployed"


def test_a_namespace_with_other_bundles_outlives_the_bundle_that_states_it(
    bench: Workbench,
) -> None:
    """One bundle states the Namespaces of others: neither an upgrade without them nor its removal
    deletes one in use.
    """
    for name in ("used-a", "used-b"):
        bench.install(f"app-{name}", {"m.yaml": MAP}, {"defaultNamespace": name})
    both = {"a.yaml": namespace("used-a", team="a"), "b.yaml": namespace("used-b", team="b")}
    bench.install("spaces", both, {"defaultNamespace": "default"})
    assert labels(bench, "used-a") == {"team": "a"}
    bench.install(
        "spaces", {"b.yaml": namespace("used-b", team="b")}, {"defaultNamespace": "default"}
    )
    bench.remove("spaces")
    for name in ("used-a", "used-b"):
        assert bench.get("namespace", name)["status"]["phase"] == "Active"
        assert bench.exists("configmap", "settings", "-n", name)


def test_a_namespace_of_a_person_is_taken_only_when_asked_for(bench: Workbench) -> None:
    """Its removal would delete what others put there; the error names it, and the key."""
    bench.kubectl("create", "namespace", "own-persons")
    files, options = (
        {"m.yaml": MAP, "n.yaml": namespace("own-persons", team="a")},
        {"defaultNamespace": "own-persons"},
    )
    with pytest.raises(
        OwnershipConflict, match="Namespace own-persons exists already, and no release owns it"
    ) as caught:
        bench.install("app", files, options)
    assert "helm.takeOwnership: true" in caught.value.next_step
    bench.install("app", files, options | {"helm": {"takeOwnership": True}})
    assert labels(bench, "own-persons") == {"team": "a"}
