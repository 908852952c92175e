"""Manifests that try to leave the namespace that their GitRepo is confined to, through a real helm
to a real API server.

Rule: each is refused, or what it makes stands in the namespace. What one YAML parser sees and
another one does not, lists that do not look like lists, and templates that write other text than
they show.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.core.model.errors import FleetError
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench

pytestmark = pytest.mark.cluster
HOME = "hostile-home"
ROLE = (
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name:"
    " hostile-role}\nrules: []\n"
)
FLOW = (
    '{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name":'
    ' "hostile-role"}, "rules": []}'
)
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hostile-map, namespace: default}\n"
ITEM = "apiVersion: v1\nkind: List\nitems:\n- "
CHART = {"Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n"}


def chart(template: str, **more: str) -> dict[str, str]:
    return {**CHART, "templates/a.yaml": template, **more}


RAW = {
    "plain": ROLE,
    "another-namespace": MAP,
    "kind-twice": ROLE.replace("kind: ClusterRole", "kind: ConfigMap\nkind: ClusterRole"),
    "kind-twice-the-other-way": ROLE.replace(
        "kind: ClusterRole", "kind: ClusterRole\nkind: ConfigMap"
    ),
    "namespace-twice": MAP.replace("namespace: default", f"namespace: {HOME}, namespace: default"),
    "metadata-twice": f"metadata: {{name: hostile-map, namespace: {HOME}}}\n" + MAP,
    "merge-key": (
        "x: &x {kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1}\n<<: *x\nmetadata:"
        " {name: hostile-role}\nrules: []\n"
    ),
    "alias": "a: &k ClusterRole\n" + ROLE.replace("kind: ClusterRole", "kind: *k"),
    "tag": ROLE.replace("kind: ClusterRole", "kind: !!str ClusterRole"),
    "quoted-key": ROLE.replace("kind:", '"\\x6bind":'),
    "separator-with-text": "--- # one\n" + MAP.replace("default", HOME) + "--- # two\n" + ROLE,
    "separator-in-a-document": MAP.replace("default", HOME) + "data:\n  a: |\n    x\n---\n" + ROLE,
    "end-of-document": MAP.replace("default", HOME) + "...\n" + ROLE,
    "directive": "%YAML 1.1\n---\n" + ROLE,
    "byte-order-mark": "\ufeff" + ROLE,
    "carriage-returns": ROLE.replace("\n", "\r\n"),
    "next-line-separators": ROLE.replace("\n", "\u2028"),
    "json": FLOW,
    "list": ITEM + FLOW,
    "list-in-a-list": f"{ITEM}{{apiVersion: v1, kind: List, items: [{FLOW}]}}\n",
    "map-with-items": f"{MAP}items: [{FLOW}]\n",
    "typed-list": (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleList\nitems: [{metadata: {name:"
        " hostile-role}, rules: []}]\n"
    ),
    "list-kind-of-another": f"apiVersion: v1\nkind: ConfigMapList\nitems: [{FLOW}]\n",
    "list-with-metadata": (
        ITEM.replace("items", "metadata: {namespace: default}\nitems") + MAP.replace("\n", "\n  ")
    ),
    "capital-items": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nItems: [{FLOW}]\n",
    "namespace-is-no-text": MAP.replace("namespace: default", "namespace: [default]"),
    "namespace-with-spaces": MAP.replace("namespace: default", 'namespace: "default "'),
    "hook": ROLE.replace(
        "name: hostile-role", 'name: hostile-role, annotations: {"helm.sh/hook": "pre-install"}'
    ),
}
CHARTS = {
    "template": chart(
        '{{ "apiVersion: rbac.authorization.k8s.io/v1\\nkind: Cluster" }}Role\nmetadata: {name:'
        " hostile-role}\nrules: []\n"
    ),
    "two-in-one-line": chart(
        f'{{{{ printf "%s\\n---\\n%s" {json.dumps(MAP)} {json.dumps(ROLE)} }}}}'
    ),
    "hook": chart(
        ROLE.replace(
            "name: hostile-role",
            'name: hostile-role, annotations: {"helm.sh/hook": "pre-install,post-delete"}',
        )
    ),
    "test-hook": chart(
        ROLE.replace(
            "name: hostile-role", 'name: hostile-role, annotations: {"helm.sh/hook": test}'
        )
    ),
    "another-namespace": chart(MAP),
    "hook-of-another-namespace": chart(
        MAP.replace(
            "namespace: default", 'namespace: default, annotations: {"helm.sh/hook": pre-install}'
        )
    ),
    "own-annotation": chart(
        ROLE.replace(
            "name: hostile-role",
            'name: hostile-role, annotations: {"postrenderer.helm.sh/postrender-filename":'
            ' "crds/x.yaml"}',
        )
    ),
    "crds": chart(MAP, **{"crds/a.yaml": ROLE}),
    "subchart-crds": chart(
        MAP,
        **{
            "charts/b/Chart.yaml": CHART["Chart.yaml"].replace("c", "b"),
            "charts/b/crds/a.yaml": ROLE,
        },
    ),
    "notes": chart(MAP.replace("default", HOME), **{"templates/NOTES.txt": ROLE}),
    "partial": chart(
        '{{ include "r" . }}', **{"templates/_r.tpl": '{{ define "r" }}' + ROLE + "{{ end }}"}
    ),
    "kustomized": {**chart(MAP), "kustomization.yaml": "resources: [r.yaml]\n", "r.yaml": ROLE},
}
CASES = {
    **{f"raw-{name}": {"m.yaml": text} for name, text in RAW.items()},
    **{f"chart-{name}": files for name, files in CHARTS.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_gets_out(
    name: str, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """No ClusterRole, and no ConfigMap but in the namespace of the GitRepo; what is refused is
    refused before anything stands there.
    """
    bench, refused = Workbench(tmp_path, kube["prod"].kubeconfig, tool_env), ""
    try:
        bench.install("hostile", CASES[name], {"namespace": HOME, "targetNamespace": HOME})
    except FleetError as why:
        refused = why.summary
    try:
        found = json.loads(bench.kubectl("get", "clusterroles,configmaps", "-A", "-o", "json"))
        made = [i for i in found["items"] if i["metadata"]["name"].startswith("hostile-")]
        assert {i["metadata"].get("namespace") for i in made} <= {HOME}, (name, refused)
        assert not (refused and made), refused
        assert "\n" not in refused
    finally:
        bench.remove("hostile")
        # helm leaves hooks where they are
        bench.kubectl("delete", "configmap", "hostile-map", "-n", HOME, "--ignore-not-found")
