"""Repositories as Fleet users have them, through the real manager and agent: what Fleet deploys is
Ready, and what is removed goes.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.deploy.test_apply import custom, definition
from tests.integration.deploy.test_client_side_apply import TWICE, deployment
from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"
GROUP = "wild.example.com"


def test_manifests_that_only_server_side_apply_refuses_and_kinds_that_go(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """Ready with a warning, also after the look for drift; drift is corrected; a removal after its
    definition is gone ends.
    """
    space = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "wild-own", "labels": {"team": "a"}},
        }
    )
    clone.push(
        {
            "twice/fleet.yaml": "defaultNamespace: wild-twice\ncorrectDrift: {enabled: true}\n",
            "twice/d.yaml": deployment(env=TWICE),
            "fields/fleet.yaml": "defaultNamespace: wild-fields\n",
            "fields/d.yaml": deployment(imagepullpolicy="Always"),
            "own/fleet.yaml": "defaultNamespace: wild-own\nnamespaceLabels: {tier: web}\n",
            "own/n.yaml": space,
            "own/m.yaml": MAP,
            "crd/fleet.yaml": "defaultNamespace: wild-crd\ndeleteCRDResources: true\n",
            "crd/d.yaml": definition("Wild", GROUP),
            "cr/fleet.yaml": "defaultNamespace: wild-cr\ndependsOn: [{name: apps-crd}]\n",
            "cr/w.yaml": custom("Wild", GROUP),
            "cr/m.yaml": MAP,
        }
    )
    fleet.gitrepo(clone.url, paths=["*"])
    fleet.agent("dev", kube["dev"].kubeconfig)
    found = fleet.all_ready(bundles=5)
    codes = {name: item["status"]["code"] for name, item in found.items() if item["status"]["code"]}
    assert codes == {"dev.apps-twice": "client-side", "dev.apps-fields": "client-side"}
    assert "imagepullpolicy: field not declared" in found["dev.apps-fields"]["status"]["message"]

    def kubectl(*words: str) -> Any:
        command = ["kubectl", "--kubeconfig", str(kube["dev"].kubeconfig), *words, "-o", "json"]
        return json.loads(
            subprocess.run(command, env=tool_env, capture_output=True, text=True, check=True).stdout
        )

    def image() -> str:
        return str(
            kubectl("get", "deployment", "web", "-n", "wild-twice")["spec"]["template"]["spec"][
                "containers"
            ][0]["image"]
        )

    kubectl("set", "image", "deployment/web", "web=example.com/other:1", "-n", "wild-twice")
    fleet.until(image, lambda value: value == "example.com/web:1")
    clone.push({"crd/d.yaml": None, "crd/fleet.yaml": None})
    fleet.until(fleet.states, lambda states: "dev.apps-crd" not in states)
    clone.push({"cr/w.yaml": None, "cr/m.yaml": None, "cr/fleet.yaml": None})
    fleet.until(
        lambda: kubectl(
            "get", "secret,configmap", "-n", "wild-cr", "-l", "app.kubernetes.io/managed-by=Helm"
        )["items"],
        lambda i: not i,
    )
    fleet.until(
        lambda: kubectl("get", "secret", "-n", "wild-cr", "-l", "owner=helm")["items"],
        lambda items: not items,
    )
    assert sorted(fleet.states()) == ["dev.apps-fields", "dev.apps-own", "dev.apps-twice"]
