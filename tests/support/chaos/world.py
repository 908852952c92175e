"""One cluster, one manager, one agent and two bundles that are installed, changed, renamed and
removed while things go wrong.

A stage is one step of that life: the agent is stopped, what is wanted changes, the agent starts
with a fault, and the world must come to what is wanted by itself, with nothing in its history that
must never be (tests/support/chaos/history.py). Changes are made by labels of the cluster, which the
manager acts on at once.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localkube.apiclient import Api, ApiError
from tests.servers.gitserver import GitServer
from tests.support.chaos.history import History, changing_helms
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.network.api_proxy import ApiProxy

BOUND_SECONDS = 90.0
NAMESPACE, BUNDLE, OTHER = "chaos", "apps-app", "apps-raw"
CHART = {
    "app/Chart.yaml": "apiVersion: v2\nname: app\nversion: 0.1.0\n",
    "app/templates/all.yaml": (
        """\
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {version: {{ .Values.version | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: only-{{ .Values.version }}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  {{- if .Values.broken }}
  annotations: {localkube.example/play: hold}
  {{- end }}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {version: {{ .Values.version | quote }}}}
    spec: {containers: [{name: web, image: web}]}
"""
    ),
    "app/fleet.yaml": (
        """\
defaultNamespace: chaos
helm: {values: {version: v1, broken: false}}
targetCustomizations:
- name: v2
  clusterSelector: {matchLabels: {app: v2}}
  helm: {values: {version: v2}}
- name: renamed
  clusterSelector: {matchLabels: {app: renamed}}
  helm: {releaseName: other, values: {version: v2}}
- name: bad
  clusterSelector: {matchLabels: {app: bad}}
  helm: {atomic: true, timeoutSeconds: 3, values: {version: bad, broken: true}}
"""
    ),
}
SEALED = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sealed}}\nimmutable: true\ndata: {{version:"
    " {}}}\n"
)
# What helm alone cannot do: a definition with an object of its kind, and an object that cannot be
# changed.
RAW = {
    "raw/crd.yaml": (
        """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.chaos.test}
spec:
  group: chaos.test
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"""  # noqa: E501
    ),
    "raw/thing.yaml": "apiVersion: chaos.test/v1\nkind: Thing\nmetadata: {name: thing}\n",
    "raw/sealed.yaml": SEALED.format("v1"),
    "raw/overlays/v2/sealed.yaml": SEALED.format("v2"),
    "raw/fleet.yaml": (
        """\
defaultNamespace: chaos
helm: {force: true}
targetCustomizations:
- name: v2
  clusterSelector: {matchExpressions: [{key: app, operator: In, values: [v2, renamed]}]}
  yaml: {overlays: [v2]}
"""
    ),
}
VERSIONS = ("v1", "v2", "renamed", "bad")


@dataclass(frozen=True)
class Wish:
    """What the cluster should come to: the release's name and the chart's version, "" for nothing
    at all.
    """

    label: str = ""
    release: str = BUNDLE
    version: str = ""


NOTHING, V1, V2, RENAMED = (
    Wish(),
    Wish("v1", version="v1"),
    Wish("v2", version="v2"),
    Wish("renamed", "other", "v2"),
)
BAD = Wish("bad", version="bad")  # never gets ready, and is taken back


class _Patient(Api):
    """The API server closes connections that were idle."""

    def get(self, path: str) -> dict[str, Any]:
        try:
            return super().get(path)
        except ApiError as why:
            if why.status:
                raise
            return super().get(path)


class World:
    def __init__(self, folder: Path, env: Mapping[str, str], kubeconfig: Path) -> None:
        self.folder, self.env = folder, dict(env)
        self.api = _Patient(kubeconfig)
        (folder / "git").mkdir(parents=True)
        self.git = GitServer(folder / "git")
        self.git.__enter__()
        self.clone = Clone(self.git, "apps", folder / "clone")
        self.clone.push(CHART | RAW)
        self.proxy = ApiProxy(kubeconfig, folder)
        self.proxy.__enter__()
        self.fleet = Fleet(folder / "fleet", env)
        targets = [{"name": v, "clusterSelector": {"matchLabels": {"app": v}}} for v in VERSIONS]
        self.fleet.gitrepo(self.clone.url, targets=targets, paths=["app", "raw"])
        self.agent = self.fleet.agent("edge", self.proxy.kubeconfig)
        self.seen = folder / "passed"
        self.base_env = dict(self.agent.process.env)
        self.history = History(kubeconfig, [NAMESPACE], self.agent.state_dir, self.told, folder)
        self.history.__enter__()
        self.wish = NOTHING
        self._numbers = itertools.count(1)

    def stop(self) -> None:
        self.history.__exit__()
        self.api.close()
        self.fleet.stop()
        self.proxy.__exit__()
        self.git.__exit__(None, None, None)

    def told(self) -> dict[str, tuple[str, int, int]]:
        """{bundle deployment: (state, generation, applied)} as the manager says it."""
        found = self.fleet.deployments()
        return {
            name: (
                item["status"]["display"]["state"],
                item["metadata"]["generation"],
                item["status"]["appliedGeneration"],
            )
            for name, item in found.items()
        }

    def calm(self) -> None:
        """Whatever a test has left: nothing is wanted, and nothing is there."""
        self.proxy.arm()
        if self.wish != NOTHING or not self.agent.process.alive():
            self.agent.process.kill()
            self.ask_for(NOTHING)
            self.start()
        self.settled()

    def ask_for(self, wish: Wish) -> None:
        """Tell the manager. Nobody waits."""
        self.wish = wish
        said = {"names": ["edge"], "labels": {"app": wish.label or None}}
        seen = self.fleet.call("POST", "clusters/fleet-default/labels", said | {"dryRun": True})
        self.fleet.call(
            "POST", "clusters/fleet-default/labels", said | {"removals": seen["removals"]}
        )

    def start(self, failpoints: str = "", **more: str) -> None:
        """The agent; `more`: of its environment."""
        self.seen.unlink(missing_ok=True)
        own = {"FLEETCTL_FAILPOINTS": failpoints, "FLEETCTL_FAILPOINTS_SEEN": str(self.seen)}
        self.agent.process.env = {**self.base_env, **own, **more}
        self.agent.process.start()

    def passed(self) -> list[str]:
        """The failpoints that the agent has passed since it was started, in order."""
        return self.seen.read_text().split() if self.seen.exists() else []

    def died(self, seconds: float = BOUND_SECONDS) -> None:
        """Wait until the agent is dead."""
        end = time.monotonic() + seconds
        while self.agent.process.alive():
            assert time.monotonic() < end, (
                f"the agent lives on; it passed {self.passed()}\n{self.log()}"
            )
            time.sleep(0.02)

    def until(self, good: Callable[[], Any], what: str, seconds: float = BOUND_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not good():
            assert time.monotonic() < end, (
                f"{what}: not within {seconds:g} s; {self.lacking()}\n{self.log()}"
            )
            time.sleep(0.02)

    def settled(self, seconds: float = BOUND_SECONDS) -> None:
        """Wait until the cluster and the manager's word are what is wished for."""
        end = time.monotonic() + seconds
        while True:
            lacking = self.lacking()
            if not lacking:
                return
            assert time.monotonic() < end, (
                f"{self.wish} not within {seconds:g} s: {lacking}\n{self.log()}"
            )
            time.sleep(0.05)

    def lacking(self) -> str:
        """What differs from the wish, "" for nothing."""
        told = self.told()
        if not self.wish.version:
            left = self.names("configmaps") | self.names("deployments") | self.records().keys()
            path = self.agent.state_dir / "desired.json"
            kept = (
                json.loads(json.loads(path.read_bytes())["envelope"]["payload"])
                if path.exists()
                else {}
            )
            # the manager forgets what the agent reported done
            meant = [kept[key] for key in ("bundles", "tombstones") if kept.get(key)]
            return (
                f"left: {left}, told: {told}, in the document: {meant}"
                if left or told or meant
                else ""
            )
        if {state for state, _, _ in told.values()} != {"Ready"} or len(told) != 2:
            return f"the manager says {told}"
        for name in ("config", "sealed"):
            found = self.get("configmaps", name)
            if found is None or found["data"]["version"] != self.wish.version:
                return f"{name} is {found and found['data']}"
        extra = self.names("configmaps") ^ {"config", "sealed", f"only-{self.wish.version}"}
        records = [meta["labels"] for meta in self.records().values()]
        if extra or {labels["name"] for labels in records} != {self.wish.release, OTHER}:
            return f"objects {extra}, records {records}"
        for name, bundle in ((self.wish.release, BUNDLE), (OTHER, OTHER)):
            newest = max(
                (labels for labels in records if labels["name"] == name),
                key=lambda labels: int(labels["version"]),
            )
            if newest["status"] != "deployed" or newest["fleetctl-generation"] != str(
                told[f"edge.{bundle}"][1]
            ):
                return f"record {newest}, told {told}"
        return (
            f"helm runs: {running}" if (running := changing_helms([NAMESPACE], self.folder)) else ""
        )

    def names(self, plural: str) -> set[str]:
        root = "/apis/apps/v1" if plural == "deployments" else "/api/v1"
        items = self.api.get(f"{root}/namespaces/{NAMESPACE}/{plural}")["items"]
        return {item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"}

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        try:
            return self.api.get(f"/api/v1/namespaces/{NAMESPACE}/{plural}/{name}")
        except ApiError as why:
            if why.status == 404:
                return None
            raise

    def records(self) -> dict[str, Any]:
        """{Secret: its metadata} of helm's records."""
        found = self.api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets?labelSelector=owner%3Dhelm")[
            "items"
        ]
        return {item["metadata"]["name"]: item["metadata"] for item in found}

    def log(self, lines: int = 60) -> str:
        path = self.folder / "fleet" / "agent-edge.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
