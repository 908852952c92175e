"""What an agent notices on a real API server, after a real helm: soon, all of it, and nothing that
is none.

For ten minutes nothing but a watch tells of a change, so that what is noticed within the deadline
here was noticed by a watch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.drift.watch import WatchScope
from agent.kube.client import Kube
from agent.kube.impersonation import NAMESPACE
from fleetctl.core.model.options import ComparePatch, DiffOptions, Operation, Options
from fleetctl.tools.helm import HelmCli
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools
from tests.support.agent.observer import Looking
from tests.support.network.relay import Relay

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1', b: '2'}\n"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: app, image: 'x:1', resources: {limits: {cpu: 1000m, memory: 0.5Gi}}, ports: [{containerPort: 80}]}
"""  # noqa: E501
MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}
Work = Callable[[Looking], Awaitable[None]]


def on(
    kube: LocalKube,
    folder: Path,
    work: Work,
    *,
    accounts: str = NAMESPACE,
    kubeconfig: Path | None = None,
) -> None:
    async def all_of_it() -> None:
        config = kube["dev"].kubeconfig
        helm = HelmCli(list(tools.find("helm").argv), kubeconfig=config, home=folder / "helm")
        async with Looking(
            folder / "agent", Kube(kubeconfig or config), helm, accounts=accounts
        ) as looking:
            await work(looking)

    asyncio.run(all_of_it())


def config_map(namespace: str, name: str = "m") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def change(
    kube: Kube,
    path: str,
    body: Any,
    headers: dict[str, str] = MERGE,
    *,
    manager: str = "kubectl-edit",
) -> Any:
    return await kube.call(
        "PATCH", f"{path}?fieldManager={manager}", json.dumps(body).encode(), headers
    )


class TestDrift:
    def test_a_hand_edit_and_its_end(self, kube: LocalKube, tmp_path: Path) -> None:
        """A stated field that is changed is told with both values; one that only others state is
        nobody's business.
        """

        async def work(looking: Looking) -> None:
            await looking.apply("edit", MAP, namespace="w-edit")
            await looking.until("edit", {"ConfigMap/m": "Ready"})
            await change(looking.kube, config_map("w-edit"), {"data": {"a": "hand", "x": "more"}})
            found = (await looking.until("edit", {"ConfigMap/m": "Modified"}))["ConfigMap/m"]
            assert [(d.pointer, d.wanted, d.live) for d in found.differences] == [
                ("/data/a", '"1"', '"hand"')
            ]
            assert found.patch == '{"data":{"a":"1"}}'
            await change(looking.kube, config_map("w-edit"), {"data": {"a": "1"}})
            await looking.until("edit", {"ConfigMap/m": "Ready"})

        on(kube, tmp_path, work)

    def test_an_object_that_lost_helms_label_is_still_found(
        self, kube: LocalKube, tmp_path: Path
    ) -> None:
        """The watch calls it deleted; by name it is there, and what it lacks is told. Deleted it is
        missing; made again it is there.
        """

        async def work(looking: Looking) -> None:
            await looking.apply("label", MAP, namespace="w-label")
            await looking.until("label", {"ConfigMap/m": "Ready"})
            await change(
                looking.kube,
                config_map("w-label"),
                {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
            )
            found = (await looking.until("label", {"ConfigMap/m": "Modified"}))["ConfigMap/m"]
            assert [(d.pointer, d.live) for d in found.differences] == [("/metadata/labels", "")]
            await change(
                looking.kube,
                config_map("w-label"),
                {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}},
            )
            await looking.until("label", {"ConfigMap/m": "Ready"})
            await looking.kube.call("DELETE", config_map("w-label"))
            await looking.until("label", {"ConfigMap/m": "Missing"})
            await looking.apply("label", MAP, namespace="w-label")
            await looking.until("label", {"ConfigMap/m": "Ready"})

        on(kube, tmp_path, work)

    def test_what_a_controller_owns_and_what_is_defaulted_is_none(
        self, kube: LocalKube, tmp_path: Path
    ) -> None:
        """An autoscaler's replicas, a sidecar that another manager adds, quantities in another
        form; a person's replicas are drift.
        """

        async def work(looking: Looking) -> None:
            web = "/apis/apps/v1/namespaces/w-owned/deployments/web"
            await looking.apply("owned", DEPLOYMENT, namespace="w-owned")
            await looking.until("owned", {"Deployment/web": "Ready"})
            side = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
            side["spec"] = {
                "template": {"spec": {"containers": [{"name": "a-side", "image": "y:1"}]}}
            }
            await change(looking.kube, web, side, APPLY, manager="injector")
            await change(
                looking.kube,
                f"{web}/scale",
                {"spec": {"replicas": 5}},
                manager="kube-controller-manager",
            )
            seen = looking.teller.refreshed
            await looking.reach(lambda: looking.teller.refreshed > seen)
            await looking.until("owned", {"Deployment/web": "Ready"})
            await change(looking.kube, f"{web}/scale", {"spec": {"replicas": 3}}, manager="kubectl")
            found = (await looking.until("owned", {"Deployment/web": "Modified"}))["Deployment/web"]
            assert [(d.pointer, d.wanted, d.live) for d in found.differences] == [
                ("/spec/replicas", "2", "3")
            ]
            image = {
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "x:2"}]}}}
            }
            await change(looking.kube, web, image, STRATEGIC)
            await looking.reach(
                lambda: len(looking.objects("owned")["Deployment/web"].differences) == 2
            )
            pointers = {
                d.pointer.rpartition("/")[2]: (d.wanted, d.live)
                for d in looking.objects("owned")["Deployment/web"].differences
            }
            assert pointers == {"replicas": ("2", "3"), "image": ('"x:1"', '"x:2"')}

        on(kube, tmp_path, work)

    def test_extra_and_foreign_objects(self, kube: LocalKube, tmp_path: Path) -> None:
        """An object with the release's marks that the bundle has not is orphaned, until it is gone;
        what another release took says whose it is; what an object owns, or was kept on purpose, is
        no orphan.
        """

        async def work(looking: Looking) -> None:
            await looking.apply("extra", MAP, namespace="w-extra")
            await looking.until("extra", {"ConfigMap/m": "Ready"})
            marks = {
                "meta.helm.sh/release-name": "extra",
                "meta.helm.sh/release-namespace": "w-extra",
            }
            for name, more in (("stray", {}), ("kept", {"helm.sh/resource-policy": "keep"})):
                meta = {
                    "name": name,
                    "labels": {"app.kubernetes.io/managed-by": "Helm"},
                    "annotations": marks | more,
                }
                body = json.dumps({"metadata": meta}).encode()
                await looking.kube.call(
                    "POST",
                    "/api/v1/namespaces/w-extra/configmaps",
                    body,
                    {"content-type": "application/json"},
                )
            await looking.until("extra", {"ConfigMap/m": "Ready", "ConfigMap/stray": "Orphaned"})
            await looking.kube.call("DELETE", config_map("w-extra", "stray"))
            await looking.until("extra", {"ConfigMap/m": "Ready"})
            await change(
                looking.kube,
                config_map("w-extra"),
                {"metadata": {"annotations": {"meta.helm.sh/release-name": "thief"}}},
            )
            found = (await looking.until("extra", {"ConfigMap/m": "Modified"}))["ConfigMap/m"]
            assert (found.owner, found.message) == (
                "w-extra/thief",
                "belongs to release w-extra/thief now",
            )

        on(kube, tmp_path, work)

    def test_what_a_release_leaves_behind(self, kube: LocalKube, tmp_path: Path) -> None:
        """An object that a new generation has no more, and that is still there, is orphaned."""

        async def work(looking: Looking) -> None:
            two = MAP + "---\n" + MAP.replace("name: m", "name: old")
            await looking.apply("left", two, namespace="w-left")
            await looking.until("left", {"ConfigMap/m": "Ready", "ConfigMap/old": "Ready"})
            looking.know("left", MAP, namespace="w-left")
            await looking.until("left", {"ConfigMap/m": "Ready", "ConfigMap/old": "Orphaned"})
            await looking.apply("left", MAP, namespace="w-left")
            await looking.until("left", {"ConfigMap/m": "Ready"})

        on(kube, tmp_path, work)

    def test_secrets_are_not_shown(self, kube: LocalKube, tmp_path: Path) -> None:
        """That a value differs is told; neither the old nor the new one is."""
        secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: moonlight}\n"

        async def work(looking: Looking) -> None:
            await looking.apply("secret", secret, namespace="w-secret")
            await looking.until("secret", {"Secret/s": "Ready"})
            await change(
                looking.kube,
                "/api/v1/namespaces/w-secret/secrets/s",
                {"stringData": {"key": "daylight"}},
            )
            found = await looking.until("secret", {"Secret/s": "Modified"})
            assert [d.pointer for d in found["Secret/s"].differences] == ["/data/key"]
            text = msgspec.json.encode(found).decode()
            assert not [
                word
                for word in ("moonlight", "daylight", "bW9vbmxpZ2h0", "ZGF5bGlnaHQ")
                if word in text
            ]

        on(kube, tmp_path, work)

    def test_rules(self, kube: LocalKube, tmp_path: Path) -> None:
        """A rule that comes with a new document ends drift at once, of a field inside a list and of
        an object that is gone.
        """

        async def work(looking: Looking) -> None:
            await looking.apply("rules", MAP + "---\n" + DEPLOYMENT, namespace="w-rules")
            await looking.until("rules", {"ConfigMap/m": "Ready", "Deployment/web": "Ready"})
            image = {
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "x:2"}]}}}
            }
            await change(
                looking.kube, "/apis/apps/v1/namespaces/w-rules/deployments/web", image, STRATEGIC
            )
            await looking.kube.call("DELETE", config_map("w-rules"))
            await looking.until("rules", {"ConfigMap/m": "Missing", "Deployment/web": "Modified"})
            field = ComparePatch(
                api_version="apps/v1",
                kind="Deployment",
                name="^we",
                json_pointers=["/spec/template/spec/containers/0/image"],
            )
            whole = ComparePatch(
                api_version="v1", kind="ConfigMap", operations=[Operation(op="ignore")]
            )
            looking.rules("rules", Options(diff=DiffOptions(compare_patches=[field, whole])))
            await looking.until("rules", {"Deployment/web": "Ready"})

        on(kube, tmp_path, work)


WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.watching.example"},
    "spec": {
        "group": "watching.example",
        "scope": "Cluster",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def test_kinds_of_ones_own(kube: LocalKube, tmp_path: Path) -> None:
    """A custom resource, cluster-wide: its conditions, a hand edit, and that its kind goes and
    comes back.
    """

    async def work(looking: Looking) -> None:
        definitions, one = (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "/apis/watching.example/v1/widgets/w",
        )

        async def define() -> None:
            await looking.kube.call(
                "POST",
                definitions,
                json.dumps(WIDGETS).encode(),
                {"content-type": "application/json"},
            )
            await looking.reach_async(
                lambda: looking.kube.call("GET", "/apis/watching.example/v1/widgets")
            )

        manifest = (
            "apiVersion: watching.example/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n"
        )
        await define()
        await looking.apply("widget", manifest, namespace="w-widget")
        await looking.until("widget", {"Widget/w": "Ready"})
        bad = {
            "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no disk"}]}
        }
        await change(looking.kube, f"{one}/status", bad)
        assert (await looking.until("widget", {"Widget/w": "NotReady"}))[
            "Widget/w"
        ].message == "Ready=False: no disk"
        await change(looking.kube, one, {"spec": {"size": 2}})
        await looking.reach(lambda: bool(looking.objects("widget")["Widget/w"].differences))
        await change(looking.kube, f"{one}/status", {"status": {"conditions": []}})
        await looking.until("widget", {"Widget/w": "Modified"})
        await looking.kube.call("DELETE", f"{definitions}/widgets.watching.example")
        await looking.until("widget", {"Widget/w": "Missing"})
        await define()
        await looking.apply("widget", manifest, namespace="w-widget")
        await looking.until("widget", {"Widget/w": "Ready"})
        await looking.kube.call("DELETE", f"{definitions}/widgets.watching.example")

    on(kube, tmp_path, work)


def test_readiness_follows_the_controllers(kube: LocalKube, tmp_path: Path) -> None:
    """Held back it is not ready and says why, changed meanwhile it is both; let go it becomes
    ready: all told by events.
    """

    async def work(looking: Looking) -> None:
        held = DEPLOYMENT.replace(
            "{name: web}", "{name: web, annotations: {localkube.example/play: hold}}", 1
        )
        await looking.apply("ready", held, namespace="w-ready")
        found = (await looking.until("ready", {"Deployment/web": "NotReady"}))["Deployment/web"]
        await looking.reach(
            lambda: (
                looking.objects("ready")["Deployment/web"].message
                == "0 of 2 replicas are available"
            )
        )
        assert not found.drifted
        web = "/apis/apps/v1/namespaces/w-ready/deployments/web"
        await change(
            looking.kube, web, {"metadata": {"annotations": {"localkube.example/play": "ready"}}}
        )
        found = (await looking.until("ready", {"Deployment/web": "Modified"}))["Deployment/web"]
        assert [d.pointer for d in found.differences] == [
            "/metadata/annotations/localkube.example~1play"
        ]

    on(kube, tmp_path, work)


LOOKER = Options(service_account="looker")


class TestRights:
    def test_without_the_right_to_watch_it_polls_and_without_dry_run_it_compares(
        self, kube: LocalKube, tmp_path: Path
    ) -> None:
        """An account that may only get: everything is still seen, later; said once; what differed
        right after the apply is no drift.
        """

        async def work(looking: Looking) -> None:
            await _grant(looking.kube, "w-rights", ["get"])
            await looking.apply(
                "rights", DEPLOYMENT + "---\n" + MAP, namespace="w-rights", options=LOOKER
            )
            await looking.until("rights", {"ConfigMap/m": "Ready", "Deployment/web": "Ready"})
            await looking.reach(
                lambda: (
                    not looking.watcher.watches.running()
                    and len(looking.watcher.watches.unwatched_scopes) == 2
                )
            )
            await change(looking.kube, config_map("w-rights"), {"data": {"a": "hand"}})
            await looking.until(
                "rights", {"ConfigMap/m": "Modified", "Deployment/web": "Ready"}, seconds=60
            )

        on(kube, tmp_path, work, accounts="w-rights")

    def test_rights_in_one_namespace_are_enough_to_watch_there(
        self, kube: LocalKube, tmp_path: Path
    ) -> None:
        """Where all namespaces may not be read, each of ours is watched by itself."""

        async def work(looking: Looking) -> None:
            await _grant(looking.kube, "w-one", ["get", "list", "watch", "patch"])
            await looking.apply("one", MAP, namespace="w-one", options=LOOKER)
            await looking.until("one", {"ConfigMap/m": "Ready"})
            user = "system:serviceaccount:w-one:looker"
            await looking.reach(
                lambda: (
                    looking.watcher.watches.running()
                    == {WatchScope(user, "v1", "ConfigMap", "w-one")}
                )
            )
            await change(looking.kube, config_map("w-one"), {"data": {"a": "hand"}})
            await looking.until("one", {"ConfigMap/m": "Modified"})

        on(kube, tmp_path, work, accounts="w-one")


async def _grant(admin: Kube, namespace: str, verbs: list[str]) -> None:
    """The account `looker` may do these to ConfigMaps and Deployments of its namespace, and nothing
    else.
    """
    json_type = {"content-type": "application/json"}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [
        {"apiGroups": ["", "apps"], "resources": ["configmaps", "deployments"], "verbs": verbs}
    ]
    subject = {"kind": "ServiceAccount", "name": "looker", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looker"}
    for path, body in (
        ("/api/v1/namespaces", {"metadata": {"name": namespace}}),
        (f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "looker"}}),
        (f"{rbac}/roles", {"metadata": {"name": "looker"}, "rules": rules}),
        (
            f"{rbac}/rolebindings",
            {"metadata": {"name": "looker"}, "subjects": [subject], "roleRef": role},
        ),
    ):
        await admin.call("POST", path, json.dumps(body).encode(), json_type)


def test_a_wire_that_is_cut(kube: LocalKube, tmp_path: Path) -> None:
    """The watch goes on where it stopped, and what happened meanwhile is noticed."""
    port = int(kube["dev"].url.rpartition(":")[2])
    with Relay(port) as relay:
        path = tmp_path / "kubeconfig"
        path.write_text(kube["dev"].kubeconfig.read_text().replace(f":{port}", f":{relay.port}"))

        async def work(looking: Looking) -> None:
            await looking.apply("cut", MAP, namespace="w-cut")
            await looking.until("cut", {"ConfigMap/m": "Ready"})
            admin = Kube(kube["dev"].kubeconfig)
            for value, state in (("hand", "Modified"), ("1", "Ready")):
                relay.cut()
                await change(admin, config_map("w-cut"), {"data": {"a": value}})
                await looking.until("cut", {"ConfigMap/m": state})
            await admin.close()

        on(kube, tmp_path, work, kubeconfig=path)
