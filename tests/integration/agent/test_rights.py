"""A bundle's rights on a real API server with RBAC: what its service account may not do, nobody
does for it.

Rule: each test has a namespace and an account of its own; the agent itself is cluster-admin, so
that everything that is refused here is refused by the account's rights.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.kube.client import Kube
from agent.kube.impersonation import Rights
from fleetctl.core.model.errors import FleetError, ForbiddenRequest
from fleetctl.core.model.options import Options
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
ACCOUNTS = "cattle-fleet-system"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '1'\n"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
"""
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"


class Cluster:
    """kubectl on one cluster, as its administrator."""

    def __init__(self, env: dict[str, str], kubeconfig: Path) -> None:
        self._env, self._config = env, kubeconfig

    def run(self, *words: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self._config, *words],
            env=self._env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def apply(self, *objects: dict[str, Any]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        said = self.run("apply", "-f", "-", stdin=text)
        assert "rror" not in said, said

    def get(self, *words: str) -> Any:
        return json.loads(self.run("get", *words, "-o", "json"))

    def account(self, name: str, namespace: str, *rules: dict[str, Any]) -> None:
        """A service account in the accounts' namespace that may keep helm's records in `namespace`,
        and what `rules` say there.
        """
        helm = {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get", "list", "create", "update", "patch", "delete"],
        }
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
        }
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        who = {"kind": "ServiceAccount", "name": name, "namespace": ACCOUNTS}
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNTS}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": ACCOUNTS},
            },
            {**role, "rules": [helm, *rules]},
            {**role, "kind": "RoleBinding", "roleRef": ref, "subjects": [who]},
        )


MAPS = {
    "apiGroups": [""],
    "resources": ["configmaps"],
    "verbs": ["get", "list", "create", "update", "patch", "delete"],
}


@pytest.fixture
def dev(kube: LocalKube, tool_env: dict[str, str]) -> Cluster:
    return Cluster(tool_env, kube["dev"].kubeconfig)


def failed(fleet: Fleet, bundle: str, *words: str) -> str:
    """The bundle's message, once it is ErrApplied and holds the words."""

    def look() -> str:
        found = [i for n, i in fleet.deployments().items() if i["spec"]["bundle"] == bundle]
        shown = found[0]["status"] if found else {}
        state = shown.get("display", {}).get("state", "")
        return str(shown.get("message") or "") if state == "ErrApplied" else f"({state})"

    return str(fleet.until(look, lambda said: all(word in said for word in words), seconds=60))


class TestAccount:
    def test_an_account_of_one_namespace(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, dev: Cluster
    ) -> None:
        """It may write ConfigMaps in its namespace: so does the bundle, and is Ready and watched by
        those rights; a Deployment, another namespace and a Secret elsewhere are refused in the API
        server's words, which name the account.
        """
        dev.account("maps", "rights-a", MAPS)
        dev.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rights-b"}})
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "rights-b"},
        }
        dev.apply({**secret, "stringData": {"values.yaml": "password: hunter2222\n"}})
        base = "defaultNamespace: rights-a\nserviceAccount: maps\n"
        lookup = MAP.format(name="stolen").replace(
            "'1'", '{{ (lookup "v1" "Secret" "rights-b" "s").data | toJson | quote }}'
        )
        clone.push(
            {
                "good/fleet.yaml": base,
                "good/m.yaml": MAP.format(name="good"),
                "deploy/fleet.yaml": base,
                "deploy/d.yaml": DEPLOYMENT,
                "away/fleet.yaml": "defaultNamespace: rights-b\nserviceAccount: maps\n",
                "away/m.yaml": MAP.format(name="away"),
                "made/fleet.yaml": "defaultNamespace: rights-made\nserviceAccount: maps\n",
                "made/m.yaml": MAP.format(name="made"),
                "none/fleet.yaml": "defaultNamespace: rights-a\nserviceAccount: nobody\n",
                "none/m.yaml": MAP.format(name="none"),
                "values/fleet.yaml": (
                    base + "helm:\n  valuesFrom: [{secretKeyRef: {name: s, namespace: rights-b}}]\n"
                ),
                "values/Chart.yaml": CHART,
                "values/templates/m.yaml": MAP.format(name="values"),
                "lookup/fleet.yaml": base,
                "lookup/Chart.yaml": CHART,
                "lookup/templates/m.yaml": lookup,
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        user = f"system:serviceaccount:{ACCOUNTS}:maps"
        failed(fleet, "apps-deploy", "deployments.apps", "forbidden", user)
        failed(fleet, "apps-away", "forbidden", user)
        failed(fleet, "apps-made", "namespace rights-made does not exist", user)
        failed(fleet, "apps-none", f"service account {ACCOUNTS}/nobody does not exist")
        failed(fleet, "apps-values", "forbidden", user, "rights-b")
        failed(fleet, "apps-lookup", "forbidden", user, "rights-b")
        fleet.until(
            lambda: fleet.states().get("dev.apps-good") or fleet.states(),
            lambda state: state == "Ready",
        )
        made = [i["metadata"]["name"] for i in dev.get("configmaps", "-n", "rights-a")["items"]]
        assert [name for name in made if name != "kube-root-ca.crt"] == ["good"]
        assert "No resources" in dev.run("get", "deployments", "-n", "rights-a")
        assert "hunter2222" not in "".join(
            p.read_text(errors="replace") for p in fleet.folder.glob("*.log")
        )


ROLE = (
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name:"
    " rights-{name}\n{more}rules: []\n"
)
HOOK = '  annotations: {"helm.sh/hook": pre-install}\n'
DEFINITION = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rights.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Right, plural: rights, singular: right}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""


def test_the_default_account(kube: LocalKube, dev: Cluster) -> None:
    """`fleet-default` counts where it exists, and has the groups of a service account without that
    anybody names them.
    """

    async def work() -> None:
        client = Kube(kube["dev"].kubeconfig)
        try:
            assert await Rights(client, "rights-accounts").user_of("") == ""
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "fleet-default", "namespace": "rights-accounts"},
            }
            dev.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rights-accounts"}},
                account,
            )
            acting = await Rights(client, "rights-accounts").kube_of(Options())
            review = json.dumps(
                {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            ).encode()
            path, head = (
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                {"content-type": "application/json"},
            )
            who = (await acting.call("POST", path, review, head))["status"]["userInfo"]
            assert who["username"] == "system:serviceaccount:rights-accounts:fleet-default"
            assert sorted(who["groups"]) == [
                "system:authenticated",
                "system:serviceaccounts",
                "system:serviceaccounts:rights-accounts",
            ]
            with pytest.raises(
                ForbiddenRequest, match="system:serviceaccount:rights-accounts:fleet-default"
            ):
                await acting.call("GET", "/api/v1/secrets")
            assert (await acting.acting_as("").call("GET", "/api/v1/secrets"))[
                "kind"
            ] == "SecretList"
        finally:
            await client.close()

    asyncio.run(work())


def test_a_removal_has_the_rights_of_the_account_too(
    kube: LocalKube, dev: Cluster, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """What the account may not do any more, the agent does not do for it; with the rights back the
    removal ends.
    """
    dev.account("leaver", "rights-leave", MAPS)
    bench = Workbench(tmp_path, kube["dev"].kubeconfig, tool_env)
    bench.install(
        "web",
        {"m.yaml": MAP.format(name="m")},
        {"defaultNamespace": "rights-leave", "serviceAccount": "leaver"},
    )
    assert bench.exists("configmap", "m", "-n", "rights-leave")
    bench.kubectl("delete", "rolebinding", "leaver", "-n", "rights-leave")
    with pytest.raises(FleetError, match=f"system:serviceaccount:{ACCOUNTS}:leaver"):
        bench.remove("web")
    assert bench.exists("configmap", "m", "-n", "rights-leave")
    dev.account("leaver", "rights-leave", MAPS)
    bench.remove("web")
    assert not bench.exists("configmap", "m", "-n", "rights-leave")


class TestTargetNamespace:
    def test_everything_stays_in_it(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, dev: Cluster
    ) -> None:
        """What names another namespace is moved, whatever a customization says; a cluster-scoped
        object is refused before anything of its bundle is applied, in a hook of a chart, in a list,
        in a kustomization and in `crds`; one line names object, kind and namespace.
        """
        other = MAP.format(name="moved").replace("name: moved", "name: moved\n  namespace: default")
        files = {
            "good/fleet.yaml": (
                "namespace: elsewhere\ntargetCustomizations:\n- {clusterSelector: {}, namespace:"
                " kube-system}\n"
            ),
            "good/m.yaml": other,
            "chart/Chart.yaml": CHART,
            "chart/templates/m.yaml": other.replace("moved", "moved-chart"),
            "raw/m.yaml": MAP.format(name="raw") + "---\n" + ROLE.format(name="raw", more=""),
            "hook/Chart.yaml": CHART,
            "hook/templates/m.yaml": (
                MAP.format(name="hook") + "---\n" + ROLE.format(name="hook", more=HOOK)
            ),
            "kust/kustomization.yaml": "resources: [m.yaml, r.yaml]\n",
            "kust/m.yaml": MAP.format(name="kust"),
            "kust/r.yaml": ROLE.format(name="kust", more=""),
            "crds/Chart.yaml": CHART,
            "crds/crds/c.yaml": DEFINITION,
            "crds/templates/m.yaml": MAP.format(name="crds"),
            "listed/m.yaml": json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "List",
                    "items": [
                        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rights-x"}}
                    ],
                }
            ),
            "reads/Chart.yaml": CHART,
            "reads/fleet.yaml": (
                "helm: {chart: ., valuesFrom: [{secretKeyRef: {name: s, namespace:"
                " kube-system}}]}\n"
            ),
        }
        clone.push(files)
        fleet.gitrepo(
            clone.url,
            targetNamespace="rights-target",
            paths=sorted({path.partition("/")[0] for path in files}),
        )
        fleet.agent("dev", kube["dev"].kubeconfig)
        rule = (
            "the GitRepo's targetNamespace keeps everything of the bundle in namespace"
            " rights-target"
        )
        for name, what in {
            "raw": "ClusterRole rights-raw",
            "hook": "ClusterRole rights-hook (a hook)",
            "kust": "ClusterRole rights-kust",
            "listed": "Namespace rights-x",
        }.items():
            said = failed(fleet, f"apps-{name}", what)
            assert said.endswith(f"{what} is cluster-scoped: {rule}"), said
        failed(fleet, "apps-crds", "crds/c.yaml", "cluster-scoped", "rights-target")
        fleet.until(
            lambda: (fleet.states().get("dev.apps-good"), fleet.states().get("dev.apps-chart")),
            lambda s: s == ("Ready", "Ready"),
        )
        made = [
            i["metadata"]["name"] for i in dev.get("configmaps", "-n", "rights-target")["items"]
        ]
        assert sorted(name for name in made if name != "kube-root-ca.crt") == [
            "moved",
            "moved-chart",
        ]
        elsewhere = dev.run("get", "clusterroles,crds,namespaces", "-o", "name")
        assert not any(
            name in elsewhere
            for name in (
                "rights-raw",
                "rights-hook",
                "rights-kust",
                "rights-x",
                "rights.example.org",
            )
        )
        problems = fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]
        assert "helm.valuesFrom names s of namespace kube-system" in json.dumps(problems)
        assert "apps-reads" not in json.dumps(fleet.call("GET", "objects/bundles"))


class TestDownstreamResources:
    def test_a_secret_of_the_manager_on_the_cluster(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, dev: Cluster
    ) -> None:
        """There before helm runs, with Fleet's mark; changed with the manager's; what is somebody
        else's stays; gone with the bundle.
        """

        def put(name: str, password: str) -> None:
            meta = {"name": name, "namespace": "fleet-default"}
            doc = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": meta,
                "type": "example.org/login",
                "stringData": {"password": password},
            }
            fleet.call("PUT", f"objects/secrets/fleet-default/{name}", doc)

        def data(name: str) -> Any:
            found = dev.run(
                "get", "secret", name, "-n", "rights-down", "-o", "json", "--ignore-not-found"
            )
            return json.loads(found) if found else None

        dev.account("down", "rights-down", MAPS)
        theirs = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "theirs", "namespace": "rights-down"},
            "stringData": {"a": "b"},
        }
        dev.apply(theirs)
        put("db", "hunter2222")
        put("theirs", "hunter2222")
        base = "defaultNamespace: rights-down\nserviceAccount: down\n"
        uses = MAP.format(name="uses").replace(
            "'1'", '{{ (lookup "v1" "Secret" "rights-down" "db").type | quote }}'
        )
        clone.push(
            {
                "web/fleet.yaml": base + "downstreamResources: [{kind: Secret, name: db}]\n",
                "web/Chart.yaml": CHART,
                "web/templates/m.yaml": uses,
                "theft/fleet.yaml": base + "downstreamResources: [{kind: Secret, name: theirs}]\n",
                "theft/m.yaml": MAP.format(name="theft"),
                "none/fleet.yaml": base + "downstreamResources: [{kind: Secret, name: nothing}]\n",
                "none/m.yaml": MAP.format(name="none"),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        failed(
            fleet, "apps-theft", "Secret rights-down/theirs exists and is not this bundle's copy"
        )
        failed(
            fleet,
            "apps-none",
            "Secret nothing does not exist in workspace fleet-default of the manager",
        )
        fleet.until(lambda: fleet.states().get("dev.apps-web"), lambda state: state == "Ready")
        found = data("db")
        assert (found["type"], found["data"]) == (
            "example.org/login",
            {"password": "aHVudGVyMjIyMg=="},
        )
        assert found["metadata"]["labels"] == {"fleet.cattle.io/bundledeployment": "apps-web"}
        assert dev.get("configmap", "uses", "-n", "rights-down")["data"] == {
            "a": "example.org/login"
        }

        put("db", "hunter3333")
        fleet.until(lambda: data("db")["data"], lambda d: d == {"password": "aHVudGVyMzMzMw=="})
        clone.push({"web/fleet.yaml": base})
        fleet.until(lambda: data("db"), lambda found: found is None)
        clone.push({"web/fleet.yaml": base + "downstreamResources: [{kind: Secret, name: db}]\n"})
        fleet.until(lambda: data("db"), lambda found: found is not None)
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        fleet.until(lambda: data("db"), lambda found: found is None)
        assert data("theirs")["data"] == {"a": "Yg=="}
        kept = b"".join(
            p.read_bytes()
            for p in fleet.folder.rglob("*")
            if p.is_file() and "manager" not in p.parts
        )
        assert not [word for word in (b"hunter", b"aHVudGVy") if word in kept]


class TestSecretsOfABundle:
    def test_a_value_stays_between_the_cluster_and_helm(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, dev: Cluster
    ) -> None:
        """A Secret made from valuesFrom: seen as changed by hand, though neither agent nor manager
        has its value anywhere; a change of the source is deployed.
        """
        dev.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rights-values"}})
        source = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "source", "namespace": "rights-values"},
        }
        dev.apply({**source, "stringData": {"values.yaml": "password: hunter2222\n"}})
        made = (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: made}\nstringData: {password: {{"
            " .Values.password | quote }}}\n"
        )
        wrong = MAP.format(name="wrong").replace("'1'", "{{ .Values.password | fail }}")
        reads = (
            "defaultNamespace: rights-values\nhelm: {chart: ., valuesFrom: [{secretKeyRef: {name:"
            " source}}]}\n"
        )
        files = {
            f"{name}/{path}": text
            for name in ("web", "wrong")
            for path, text in (("fleet.yaml", reads), ("Chart.yaml", CHART))
        }
        clone.push({**files, "web/templates/s.yaml": made, "wrong/templates/m.yaml": wrong})
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        failed(fleet, "apps-wrong", "is hidden")
        fleet.until(lambda: fleet.states().get("dev.apps-web"), lambda state: state == "Ready")
        dev.run(
            "patch",
            "secret",
            "made",
            "-n",
            "rights-values",
            "-p",
            '{"stringData": {"password": "mine5555"}}',
        )
        fleet.until(lambda: fleet.states().get("dev.apps-web"), lambda state: state == "Modified")
        shown = json.dumps(fleet.deployments())
        kept = b"".join(p.read_bytes() for p in fleet.folder.rglob("*") if p.is_file())
        for word in ("hunter2222", "aHVudGVyMjIyMg", "mine5555", "bWluZTU1NTU"):
            assert word not in shown
            assert word.encode() not in kept
