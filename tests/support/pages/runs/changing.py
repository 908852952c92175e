"""docs/plan.md, docs/safety.md and docs/migrate-from-fleet.md: changes to a fleet that runs."""

from __future__ import annotations

import json

from tests.support.fleet import Fleet
from tests.support.pages.stage import PageRun, Result
from tests.support.pages.workplace import GIT_HOST, MAP, Workplace, check_bundles

_CLUSTERS = ("paris", "lyon")


class ChangingFleet:
    """Two clusters with the label env=prod and the repository `apps`."""

    def __init__(self, place: Workplace, fleet: Fleet) -> None:
        self.place, self.computer, self.fleet = place, place.computer, fleet

    def start(self, files: dict[str, str | bytes | None], bundles: int) -> str:
        commit = self.place.clone.push(files)
        for name in _CLUSTERS:
            fleet_dir = self.computer.home / name
            self.fleet.agent(name, None, target_dir=fleet_dir, env="prod")
        self.follow("prod")
        self.fleet.all_ready(commit, bundles=bundles * len(_CLUSTERS))
        return commit

    def follow(self, env: str) -> None:
        """The GitRepo names the clusters with this label."""
        targets = [{"name": "all", "clusterSelector": {"matchLabels": {"env": env}}}]
        self.fleet.gitrepo(f"{GIT_HOST}apps.git", targets=targets)

    def until_held(self) -> None:
        self.fleet.until(lambda: self.fleet.call("GET", "held")["items"], bool)

    def say(self, line: str) -> Result:
        result = self.computer.run(line)
        assert result.status == 0, result
        return result


def plan(place: Workplace, fleet: Fleet) -> PageRun:
    clone = place.clone
    world = ChangingFleet(place, fleet)
    world.start(_bundle("web", 1), 1)
    clone.git("checkout", "--quiet", "-b", "feature-x")
    (clone.folder / "web" / "m.yaml").write_text(MAP.format(name="web", value=2))
    clone.git("commit", "--quiet", "--all", "-m", "feature")
    clone.git("push", "--quiet", "origin", "feature-x")
    commit = clone.git("rev-parse", "HEAD")
    document = world.say("fleetctl get gitrepo apps -o json").out
    gitrepo = json.loads(document)
    gitrepo["metadata"]["name"] = "more"
    (clone.folder / "gitrepo.yaml").write_text(json.dumps(gitrepo))
    place.computer.folder = clone.folder
    statuses = dict.fromkeys(
        ("fleetctl plan apps --", "fleetctl plan -f"), 1
    )  # the page: 1 when something changes
    return PageRun("docs/plan.md", place.computer, {"3f2a91c8…": commit}, statuses=statuses)


def safety(place: Workplace, fleet: Fleet) -> PageRun:
    world = ChangingFleet(place, fleet)
    world.start(_bundle("web", 1, name="web") | _bundle("apps/web", 1), 2)

    def lose_target() -> None:
        """All clusters lose their bundles by one change."""
        world.follow("none")
        world.until_held()

    def find_target() -> None:
        world.follow("prod")
        fleet.all_ready(bundles=2 * len(_CLUSTERS))

    def rename() -> None:
        world.say("fleetctl cluster label paris lyon env=prod")
        fleet.all_ready(bundles=2 * len(_CLUSTERS))
        place.clone.git("mv", "apps", "platform")
        place.clone.push({})
        world.until_held()

    return PageRun(
        "docs/safety.md",
        place.computer,
        {"--removals 5000": f"--removals {len(_CLUSTERS)}"},
        before=[
            ("fleetctl held list", lose_target),
            ("fleetctl cluster label", find_target),
            ("fleetctl gitrepo get apps", rename),
        ],
        after=[
            ("fleetctl held list", lambda result: _contains(result, "web")),
            (
                "fleetctl gitrepo get apps",
                lambda result: _contains(result, "fleetctl bundle moved"),
            ),
        ],
    )


def migrate(place: Workplace, fleet: Fleet, kubeconfig: str) -> PageRun:
    """The management cluster of Fleet is a real API server with Fleet's kinds and objects."""
    place.clone.push(_bundle("web", 1))
    place.computer.env["KUBECONFIG"] = kubeconfig
    world = ChangingFleet(place, fleet)
    place.computer.folder = place.clone.folder
    for name, text in (("kinds", _KINDS), ("objects", _OBJECTS)):
        file = place.computer.home / f"{name}.yaml"
        file.write_text(text)
        world.say(f"kubectl apply -f {file}")
        if name == "kinds":
            world.say(f"kubectl wait --for condition=Established -f {file}")
    return PageRun(
        "docs/migrate-from-fleet.md",
        place.computer,
        after=[("fleetctl targets", lambda result: check_bundles(result, {"clone-web"}))],
    )


def agent_chart(place: Workplace) -> PageRun:
    return PageRun("examples/agent-chart/README.md", place.computer)


def _bundle(folder: str, value: int, name: str = "") -> dict[str, str | bytes | None]:
    text = f"name: {name}\n" if name else ""
    files: dict[str, str | bytes | None] = {
        f"{folder}/fleet.yaml": f"{text}defaultNamespace: {name or 'web'}\n",
        f"{folder}/m.yaml": MAP.format(name=name or "web", value=value),
    }
    return files


def _contains(result: Result, text: str) -> None:
    assert text in result.out + result.err, result


def _crd(kind: str) -> str:
    plural = f"{kind.lower()}s"
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.fleet.cattle.io}}
spec:
  group: fleet.cattle.io
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}, singular: {kind.lower()}}}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


_OBJECTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: fleet-default}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: cattle-fleet-system}}
---
apiVersion: v1
kind: Secret
metadata: {{name: git-login, namespace: fleet-default}}
type: kubernetes.io/basic-auth
stringData: {{username: ada, password: secret}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {{name: paris, namespace: fleet-default, labels: {{env: prod}}}}
spec: {{kubeConfigSecret: paris-kubeconfig}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {{name: apps, namespace: fleet-default}}
spec:
  repo: {GIT_HOST}apps.git
  branch: main
  clientSecretName: git-login
  targets: [{{name: prod, clusterSelector: {{matchLabels: {{env: prod}}}}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: fleet-agent, namespace: cattle-fleet-system}}
spec:
  selector: {{matchLabels: {{app: fleet-agent}}}}
  template:
    metadata: {{labels: {{app: fleet-agent}}}}
    spec: {{containers: [{{name: fleet-agent, image: rancher/fleet-agent}}]}}
"""
_KINDS = "---".join([_crd("Cluster"), _crd("GitRepo")])
