"""Adoption and leaving on a real API server: what is taken over keeps its uid, and nothing goes
that is not the bundle's.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.demo.parts import program
from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"
POD = "    spec: {containers: [{name: a, image: example.com/a}]}\n"
WEB = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels:"
    " {a: web}}\n  template:\n    metadata: {labels: {a: web}}\n" + POD
)
HELD = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  finalizers: [example.com/hold]\n"
)


class Cluster:
    """kubectl and helm as a person on the cluster uses them, in one namespace."""

    def __init__(self, kubeconfig: Path, env: Mapping[str, str], namespace: str) -> None:
        self.kubeconfig, self.env, self.namespace = kubeconfig, env, namespace

    def kubectl(self, *words: str, stdin: str = "") -> str:
        where = [] if "-n" in words else ["-n", self.namespace]
        argv = ["kubectl", "--kubeconfig", str(self.kubeconfig), *where, *words]
        done = subprocess.run(
            argv, env=self.env, input=stdin, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def helm(self, *words: str) -> str:
        argv = ["helm", "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, check=True).stdout

    def releases(self) -> list[str]:
        return sorted(r["name"] for r in json.loads(self.helm("ls", "-o", "json")))

    def make(self, text: str) -> None:
        self.kubectl("create", "namespace", self.namespace)
        said = self.kubectl("apply", "-f", "-", stdin=text)
        assert "created" in said, said

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """The object, or {} when it does not exist."""
        found = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip().startswith("{") else {}

    def uid(self, kind: str, name: str) -> str:
        return str(self.get(kind, name).get("metadata", {}).get("uid", ""))

    def free(self, kind: str, name: str) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


@pytest.fixture
def on(kube: LocalKube, tool_env: dict[str, str]) -> Callable[[str], Cluster]:
    return lambda namespace: Cluster(kube["dev"].kubeconfig, tool_env, namespace)


def message(fleet: Fleet, bundle: str) -> str:
    found = fleet.deployments().get(f"dev.{bundle}")
    return str(found["status"]["message"]) if found else ""


def cluster(fleet: Fleet) -> dict[str, Any]:
    return fleet.call("GET", "objects/clusters/fleet-default/dev")["status"]


def log(fleet: Fleet) -> str:
    return fleet.agents["dev"].process.log.read_text()


class TestAdoption:
    def test_what_nobody_holds_is_adopted_when_asked(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """Without takeOwnership the error names the object and the way; with it the object keeps
        its uid.
        """
        here = on("leave-adopt")
        here.make(MAP.format(name="mine", value="hand"))
        uid = here.uid("cm", "mine")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: leave-adopt\n",
                "m.yaml": MAP.format(name="mine", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "ErrApplied"})
        assert (
            message(fleet, "apps")
            == "ConfigMap leave-adopt/mine exists already, and no release owns it"
        )
        assert here.get("cm", "mine")["data"] == {"a": "hand"}
        commit = clone.push(
            {"fleet.yaml": "defaultNamespace: leave-adopt\nhelm: {takeOwnership: true}\n"}
        )
        fleet.all_ready(commit, bundles=1)
        assert (here.uid("cm", "mine"), here.get("cm", "mine")["data"]) == (uid, {"a": "1"})
        assert "bundle apps: objects taken over (held by nobody, objects 1" in log(fleet)

    def test_a_release_of_somebody_else_is_named_and_adopted_when_asked(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster], tmp_path: Path
    ) -> None:
        """An object of it, and the release itself when the names are the same."""
        here = on("leave-foreign")
        chart = tmp_path / "chart"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 0.1.0\n")
        (chart / "templates" / "m.yaml").write_text(
            MAP.format(name="theirs", value="{{ .Release.Name }}")
        )
        here.helm("install", "shop", str(chart), "--create-namespace")
        (chart / "templates" / "m.yaml").write_text(
            MAP.format(name="other", value="{{ .Release.Name }}")
        )
        here.helm("install", "b", str(chart))
        uids = here.uid("cm", "theirs"), here.uid("cm", "other")
        clone.push(
            {
                "a/fleet.yaml": "defaultNamespace: leave-foreign\n",
                "a/m.yaml": MAP.format(name="theirs", value=1),
                "b/fleet.yaml": "defaultNamespace: leave-foreign\nhelm: {releaseName: b}\n",
                "b/m.yaml": MAP.format(name="other", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.until(
            fleet.states, lambda s: s == {"dev.apps-a": "ErrApplied", "dev.apps-b": "ErrApplied"}
        )
        assert (
            message(fleet, "apps-a")
            == "ConfigMap leave-foreign/theirs belongs to release leave-foreign/shop already"
        )
        assert (
            message(fleet, "apps-b")
            == "release leave-foreign/b exists already and was created by another program"
        )
        assert here.get("cm", "other")["data"] == {"a": "b"}
        take = "defaultNamespace: leave-foreign\nhelm: {takeOwnership: true%s}\n"
        commit = clone.push({"a/fleet.yaml": take % "", "b/fleet.yaml": take % ", releaseName: b"})
        fleet.all_ready(commit, bundles=2)
        assert (here.uid("cm", "theirs"), here.uid("cm", "other")) == uids
        assert (
            "held by release leave-foreign/shop, objects 1, first ConfigMap leave-foreign/theirs"
            in log(fleet)
        )

    def test_two_bundles_that_claim_one_object(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """The second is refused and names the first, also with takeOwnership; so is one that claims
        the first's release.
        """
        here = on("leave-claim")
        clone.push(
            {
                "a/fleet.yaml": "defaultNamespace: leave-claim\n",
                "a/m.yaml": MAP.format(name="one", value="first"),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uid = here.uid("cm", "one")
        clone.push(
            {
                "b/fleet.yaml": "defaultNamespace: leave-claim\nhelm: {takeOwnership: true}\n",
                "b/m.yaml": MAP.format(name="one", value="second"),
                "c/fleet.yaml": (
                    "defaultNamespace: leave-claim\nhelm: {releaseName: apps-a, takeOwnership:"
                    " true}\n"
                ),
                "c/m.yaml": MAP.format(name="two", value="second"),
            }
        )
        fleet.until(
            fleet.states,
            lambda s: (
                s == {"dev.apps-a": "Ready", "dev.apps-b": "ErrApplied", "dev.apps-c": "ErrApplied"}
            ),
        )
        assert (
            message(fleet, "apps-b") == "ConfigMap leave-claim/one belongs to bundle apps-a already"
        )
        assert (
            message(fleet, "apps-c")
            == "release leave-claim/apps-a belongs to bundle apps-a already"
        )
        assert (here.uid("cm", "one"), here.get("cm", "one")["data"]) == (uid, {"a": "first"})


def confirmed(fleet: Fleet, commit: str) -> None:
    """A person says that the old bundle shall go, and does not say that it moved: what the agent
    then makes of it is looked at here.
    """
    held = fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["held"], bool
    )
    fleet.call(
        "POST",
        "gitrepos/fleet-default/apps/confirm",
        {"removals": held["removals"], "commit": commit},
    )


class TestMoving:
    """No object is deleted and made again, whatever it is called by."""

    def test_a_renamed_bundle_keeps_what_runs(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """Another name, another release: the new one takes over all, the old one goes without
        taking anything along.
        """
        here = on("leave-rename")
        files = {
            "m.yaml": MAP.format(name="one", value=1),
            "d.yaml": WEB,
            "gone.yaml": MAP.format(name="gone", value=1),
        }
        clone.push(
            {"old/fleet.yaml": "defaultNamespace: leave-rename\n"}
            | {f"old/{name}": text for name, text in files.items()}
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uids = here.uid("cm", "one"), here.uid("deploy", "web")
        spec = here.get("deploy", "web")["spec"]
        del files["gone.yaml"]
        new = {"new/fleet.yaml": "defaultNamespace: leave-rename\n"} | {
            f"new/{name}": text for name, text in files.items()
        }
        gone = {f"old/{name}": None for name in ("fleet.yaml", "m.yaml", "d.yaml", "gone.yaml")}
        confirmed(fleet, clone.push(new | gone))
        fleet.until(here.releases, lambda r: r == ["apps-new"])
        fleet.until(fleet.states, lambda s: s == {"dev.apps-new": "Ready"})
        assert (here.uid("cm", "one"), here.uid("deploy", "web")) == uids
        assert here.get("deploy", "web")["spec"] == spec
        assert (
            here.get("deploy", "web")["metadata"]["annotations"]["meta.helm.sh/release-name"]
            == "apps-new"
        )
        assert here.get("cm", "gone") == {}

    def test_a_renamed_bundle_with_the_same_release(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """The release is handed over: its history goes on, and what the new bundle states no more
        goes.
        """
        here = on("leave-heir")
        head = "defaultNamespace: leave-heir\nhelm: {releaseName: shop}\n"
        clone.push(
            {
                "old/fleet.yaml": head,
                "old/m.yaml": MAP.format(name="one", value=1),
                "old/n.yaml": MAP.format(name="two", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uid = here.uid("cm", "one")
        moved = {"new/fleet.yaml": head, "new/m.yaml": MAP.format(name="one", value=2)}
        confirmed(
            fleet,
            clone.push(moved | {"old/fleet.yaml": None, "old/m.yaml": None, "old/n.yaml": None}),
        )
        fleet.until(fleet.states, lambda s: s == {"dev.apps-new": "Ready"})
        fleet.until(lambda: "bundle apps-old: removed" in log(fleet), bool)
        assert (here.uid("cm", "one"), here.get("cm", "one")["data"], here.get("cm", "two")) == (
            uid,
            {"a": "2"},
            {},
        )
        assert [(r["name"], r["revision"]) for r in json.loads(here.helm("ls", "-o", "json"))] == [
            ("shop", "2")
        ]
        # the release's older record still names the bundle that had it
        fleet.agents["dev"].process.kill()
        fleet.agents["dev"].process.start()
        clone.push({"new/m.yaml": MAP.format(name="one", value=3)})
        fleet.until(lambda: here.get("cm", "one")["data"], lambda data: data == {"a": "3"})
        fleet.all_ready(bundles=1)

    def test_an_object_that_moves_between_bundles(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """From a bundle that goes to one that was there before."""
        here = on("leave-move")
        head = {
            "a/fleet.yaml": "defaultNamespace: leave-move\n",
            "b/fleet.yaml": "defaultNamespace: leave-move\n",
        }
        clone.push(
            head
            | {
                "a/m.yaml": MAP.format(name="one", value=1),
                "b/m.yaml": MAP.format(name="two", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=2)
        uid = here.uid("cm", "one")
        clone.push(
            {"b/n.yaml": MAP.format(name="one", value=1), "a/fleet.yaml": None, "a/m.yaml": None}
        )
        fleet.until(here.releases, lambda r: r == ["apps-b"])
        fleet.until(fleet.states, lambda s: s == {"dev.apps-b": "Ready"})
        assert here.uid("cm", "one") == uid

    def test_another_release_name_or_namespace(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """One bundle: the new release takes over what the old one holds, the rest of the old one
        goes.
        """
        here, there = on("leave-name"), on("leave-name-b")
        role = (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name:"
            " leave-name}\nrules: []\n"
        )
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: leave-name\n",
                "m.yaml": MAP.format(name="one", value=1),
                "r.yaml": role,
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uid, wide = here.uid("cm", "one"), here.uid("clusterrole", "leave-name")
        commit = clone.push(
            {"fleet.yaml": "defaultNamespace: leave-name\nhelm: {releaseName: shop}\n"}
        )
        fleet.all_ready(commit, bundles=1)
        fleet.until(here.releases, lambda r: r == ["shop"])
        assert (here.uid("cm", "one"), here.uid("clusterrole", "leave-name")) == (uid, wide)
        commit = clone.push(
            {"fleet.yaml": "defaultNamespace: leave-name-b\nhelm: {releaseName: shop}\n"}
        )
        fleet.all_ready(commit, bundles=1)
        fleet.until(here.releases, lambda r: r == [])
        assert (here.get("cm", "one"), there.releases(), here.uid("clusterrole", "leave-name")) == (
            {},
            ["shop"],
            wide,
        )

    def test_an_agent_that_is_killed_while_it_hands_over(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """At each step of another release name: the next one ends it, nothing is made again and
        nothing is left behind.
        """
        here = on("leave-kill")
        head = "defaultNamespace: leave-kill\nhelm: {releaseName: shop-%d}\n"
        clone.push({"fleet.yaml": head % 0, "m.yaml": MAP.format(name="one", value=1)})
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uid, env = here.uid("cm", "one"), agent.process.env
        for number, name in enumerate(
            ("before-taking-over", "before-old-release", "objects-deleted", "after-old-release"), 1
        ):
            agent.process.stop()
            agent.process.env = {**env, "FLEETCTL_FAILPOINTS": f"{name}=kill"}
            agent.process.start()
            clone.push({"fleet.yaml": head % number})
            fleet.until(agent.process.alive, lambda alive: not alive)
            agent.process.env = env
            agent.process.start()
            fleet.until(here.releases, lambda r, wanted=f"shop-{number}": r == [wanted])
            fleet.all_ready(bundles=1)
            assert here.uid("cm", "one") == uid, name
        assert here.kubectl("get", "secret", "-l", "owner=helm", "-o", "name").count("shop-") == 1


class TestLeaving:
    def test_a_finalizer_that_nobody_clears(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """The cluster says which object is held and by what, never that the bundle is gone; when it
        is cleared, it is.
        """
        here = on("leave-held")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: leave-held\n",
                "m.yaml": HELD.format(name="held"),
                "n.yaml": MAP.format(name="rest", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        said = (
            "removing apps: ConfigMap leave-held/held is deleted and is held by finalizer"
            " example.com/hold"
        )
        found = fleet.until(lambda: cluster(fleet), lambda c: c["display"]["message"] == said)
        assert {"type": "Removing", "status": "True", "message": said} in found["conditions"]
        assert here.get("cm", "rest") == {}
        assert "bundle apps: removed" not in log(fleet)
        fleet.agents["dev"].process.kill()
        fleet.agents["dev"].process.start()
        fleet.until(
            lambda: log(fleet).count("is held by finalizer example.com/hold"), lambda n: n >= 2
        )
        assert "bundle apps: removed" not in log(fleet)
        here.free("cm", "held")
        fleet.until(lambda: cluster(fleet)["display"]["message"], lambda m: m == "", seconds=60)
        assert "bundle apps: removed" in log(fleet)
        assert "sh.helm.release" not in here.kubectl("get", "secret")

    def test_a_bundle_that_comes_back_before_it_is_gone(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """It says what it waits for, and is applied when that is gone: nothing that was just
        applied vanishes.
        """
        here = on("leave-back")
        files = {
            "a/fleet.yaml": "defaultNamespace: leave-back\n",
            "a/m.yaml": HELD.format(name="held"),
            "b/fleet.yaml": "defaultNamespace: leave-back\n",
            "b/m.yaml": MAP.format(name="b", value=1),
        }
        clone.push(files)
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=2)
        uid = here.uid("cm", "held")
        clone.push({"a/fleet.yaml": None, "a/m.yaml": None})
        fleet.until(
            lambda: cluster(fleet)["display"]["message"], lambda m: "held by finalizer" in m
        )
        clone.push(
            {"a/fleet.yaml": files["a/fleet.yaml"], "a/m.yaml": MAP.format(name="held", value=2)}
        )
        fleet.until(
            lambda: message(fleet, "apps-a"),
            lambda m: "leave-back/held is deleted and is held by finalizer" in m,
        )
        here.free("cm", "held")
        fleet.until(
            fleet.states, lambda s: s == {"dev.apps-a": "Ready", "dev.apps-b": "Ready"}, seconds=60
        )
        assert here.get("cm", "held")["data"] == {"a": "2"}
        assert here.uid("cm", "held") != uid

    def test_a_hook_that_fails_stops_the_removal_and_is_named(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """It may protect something: nothing is deleted. Coming back finds all as it was; a person's
        `--no-hooks` ends it.
        """
        here = on("leave-hook")
        hook = (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Bad_Name\n  annotations:"
            " {helm.sh/hook: pre-delete}\n"
        )
        chart = {
            "a/fleet.yaml": "defaultNamespace: leave-hook\n",
            "a/Chart.yaml": "apiVersion: v2\nname: a\nversion: 0.1.0\n",
            "a/templates/m.yaml": MAP.format(name="one", value=1),
            "a/templates/h.yaml": hook,
        }
        clone.push(
            chart
            | {
                "b/fleet.yaml": "defaultNamespace: leave-hook\n",
                "b/m.yaml": MAP.format(name="b", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=2)
        uid = here.uid("cm", "one")
        clone.push(dict.fromkeys(chart))
        fleet.until(
            lambda: cluster(fleet)["display"]["message"],
            lambda m: "removing apps-a: " in m and "hook pre-delete (a/templates/h.yaml)" in m,
        )
        assert here.uid("cm", "one") == uid
        clone.push(chart | {"a/templates/m.yaml": MAP.format(name="one", value=2)})
        fleet.until(fleet.states, lambda s: s == {"dev.apps-a": "Ready", "dev.apps-b": "Ready"})
        assert (here.uid("cm", "one"), here.get("cm", "one")["data"]) == (uid, {"a": "2"})
        clone.push(dict.fromkeys(chart))
        fleet.until(
            lambda: cluster(fleet)["display"]["message"],
            lambda m: "hook pre-delete (a/templates/h.yaml)" in m,
        )
        here.helm("uninstall", "apps-a", "--no-hooks")
        fleet.until(lambda: cluster(fleet)["display"]["message"], lambda m: m == "", seconds=60)

    def test_only_what_is_ours_goes(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """Marks that a person changed, `resource-policy: keep`, and a Namespace where another
        bundle lives.
        """
        here = on("leave-ours")
        keep = (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: keep\n  annotations:"
            " {helm.sh/resource-policy: keep}\n"
        )
        space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: leave-ours}\n"
        clone.push(
            {
                "a/fleet.yaml": "defaultNamespace: leave-ours-a\n",
                "a/space.yaml": space,
                "a/m.yaml": "".join(
                    "---\n" + text.replace("metadata:\n", "metadata:\n  namespace: leave-ours\n")
                    for text in (
                        keep,
                        MAP.format(name="theirs", value=1),
                        MAP.format(name="mine", value=1),
                    )
                ),
                "b/fleet.yaml": "defaultNamespace: leave-ours\ndependsOn: [{name: apps-a}]\n",
                "b/m.yaml": MAP.format(name="b", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=2)
        here.kubectl(
            "annotate",
            "cm",
            "theirs",
            "meta.helm.sh/release-name-",
            "meta.helm.sh/release-namespace-",
        )
        clone.push(
            {
                "a/fleet.yaml": None,
                "a/space.yaml": None,
                "a/m.yaml": None,
                "b/fleet.yaml": "defaultNamespace: leave-ours\n",
            }
        )
        fleet.until(lambda: log(fleet), lambda text: "bundle apps-a: removed" in text)
        assert here.get("cm", "mine") == {}
        assert all(here.uid("cm", name) for name in ("keep", "theirs", "b"))
        assert "deletionTimestamp" not in here.get("namespace", "leave-ours")["metadata"]
        assert on("leave-ours-a").releases() == []

    def test_kept_resources_stay_usable_and_are_taken_up_again(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """helm's records go, its marks stay: the same release has them again, another one must
        ask.
        """
        here = on("leave-keep")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: leave-keep\nkeepResources: true\n",
                "m.yaml": MAP.format(name="one", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        uid = here.uid("cm", "one")
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        fleet.until(lambda: log(fleet), lambda text: "bundle apps: removed" in text)
        assert (here.releases(), here.uid("cm", "one")) == ([], uid)
        fleet.gitrepo(clone.url, name="other")
        fleet.until(fleet.states, lambda s: s == {"dev.other": "ErrApplied"})
        assert message(fleet, "other") == (
            "ConfigMap leave-keep/one belongs to release leave-keep/apps already, which no"
            " longer exists"
        )
        fleet.gitrepo(clone.url)
        fleet.until(fleet.states, lambda s: s == {"dev.other": "ErrApplied", "dev.apps": "Ready"})
        assert (here.releases(), here.uid("cm", "one")) == (["apps"], uid)

    def test_a_namespace_that_does_not_go(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """deleteNamespace: while another bundle is to come there it stays; else it goes, and the
        bundle is gone when it is.
        """
        here = on("leave-space")
        clone.push(
            {
                "fleet.yaml": "namespace: leave-space\ndeleteNamespace: true\n",
                "m.yaml": MAP.format(name="one", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        # Nothing finalizes namespaces here: no controller manager runs.
        fleet.until(
            lambda: cluster(fleet)["display"]["message"],
            lambda m: "removing apps: namespace leave-space is deleted and still exists" in m,
        )
        space = here.get("namespace", "leave-space")
        assert space["metadata"]["deletionTimestamp"]
        space["spec"]["finalizers"] = []
        here.kubectl(
            "replace",
            "--raw",
            "/api/v1/namespaces/leave-space/finalize",
            "-f",
            "-",
            stdin=json.dumps(space),
        )
        fleet.until(lambda: cluster(fleet)["display"]["message"], lambda m: m == "", seconds=60)
        assert "bundle apps: removed" in log(fleet)


class TestOutOfTheFleet:
    def test_a_deleted_cluster_keeps_what_runs_and_its_agent_rests(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """It says so in its status and check, asks ever more rarely, and does not fight with
        whoever works on the cluster now.
        """
        here = on("leave-out")
        head = "defaultNamespace: leave-out\ncorrectDrift: {enabled: true}\n"
        clone.push({"fleet.yaml": head, "m.yaml": MAP.format(name="one", value=1)})
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        here.kubectl("patch", "cm", "one", "-p", '{"data":{"a":"hand"}}')
        fleet.until(lambda: here.get("cm", "one")["data"], lambda data: data == {"a": "1"})
        uid = here.uid("cm", "one")
        fleet.call("DELETE", "objects/clusters/fleet-default/dev")
        fleet.until(
            lambda: log(fleet),
            lambda text: "not-enrolled: no cluster is enrolled with this key" in text,
        )
        here.kubectl("patch", "cm", "one", "-p", '{"data":{"a":"hand"}}')
        for command in ("status", "check"):
            argv = program("fleet-agent", command, "--state-dir", str(agent.state_dir))
            done = subprocess.run(
                argv, env=agent.process.env, capture_output=True, text=True, check=False
            )
            assert "no cluster is enrolled with this key" in " ".join(done.stdout.split()), (
                done.stdout + done.stderr
            )

        def seen() -> str:
            argv = program(
                "fleet-agent", "status", "--state-dir", str(agent.state_dir), "-o", "json"
            )
            done = subprocess.run(
                argv, env=agent.process.env, capture_output=True, text=True, check=False
            )
            return next((str(bundle["state"]) for bundle in json.loads(done.stdout)["bundles"]), "")

        fleet.until(seen, lambda state: state == "Modified")
        agent.process.kill()
        agent.process.start()
        fleet.until(
            lambda: log(fleet).count("no cluster is enrolled with this key"), lambda n: n > 1
        )
        fleet.until(seen, lambda state: state == "Modified")
        assert (here.get("cm", "one")["data"], here.uid("cm", "one")) == ({"a": "hand"}, uid)
        assert json.loads(here.helm("ls", "-o", "json"))[0]["revision"] == "2"

    def test_uninstalling_reaches_also_an_agent_that_was_away(
        self, clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
    ) -> None:
        """The cluster leaves the list when its agent has removed everything, whenever that is; then
        the key is worthless.
        """
        here = on("leave-all")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: leave-all\n",
                "m.yaml": MAP.format(name="one", value=1),
                "r.yaml": HELD.format(name="held"),
            }
        )
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", here.kubeconfig)
        fleet.all_ready(bundles=1)
        agent.process.stop()
        fleet.call("DELETE", "objects/clusters/fleet-default/dev?uninstall=true")
        assert cluster(fleet)["display"]["message"] == "leaving: its bundles are being removed"
        assert here.releases() == ["apps"]
        agent.process.start()
        fleet.until(
            lambda: cluster(fleet)["display"]["message"],
            lambda m: m.endswith(
                "leave-all/held is deleted and is held by finalizer example.com/hold"
            ),
        )
        here.free("cm", "held")
        fleet.until(
            lambda: fleet.call("GET", "objects/clusters")["items"],
            lambda items: items == [],
            seconds=60,
        )
        assert (here.releases(), here.get("cm", "one")) == ([], {})
        fleet.until(lambda: log(fleet), lambda text: "no cluster is enrolled with this key" in text)


def test_dependencies_without_the_manager(
    clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
) -> None:
    """What waits starts at once when what it waits for is ready, also while nobody answers; it says
    for what it waits, and why.
    """
    here = on("leave-wait")
    claim = (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes:"
        " [ReadWriteOnce]\n  storageClassName: none\n  resources: {requests: {storage: 1Gi}}\n"
    )
    clone.push(
        {
            "db/fleet.yaml": "defaultNamespace: leave-wait\nlabels: {tier: data}\n",
            "db/m.yaml": claim,
            "web/fleet.yaml": (
                "defaultNamespace: leave-wait\ndependsOn: [{selector: {matchLabels: {tier:"
                " data}}}]\n"
            ),
            "web/m.yaml": MAP.format(name="web", value=1),
        }
    )
    fleet.gitrepo(clone.url)
    fleet.agent("dev", here.kubeconfig)
    waits = {"dev.apps-db": "NotReady", "dev.apps-web": "WaitingForDependency"}
    fleet.until(fleet.states, lambda s: s == waits)
    said = "waits for bundle apps-db, which is NotReady: "
    fleet.until(lambda: message(fleet, "apps-web"), lambda m: m.startswith(said) and "Pending" in m)
    fleet.manager.process.stop()
    here.kubectl(
        "patch",
        "pvc",
        "data",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"phase":"Bound"}}',
    )
    fleet.until(lambda: here.uid("cm", "web"), bool, seconds=60)
    fleet.manager.start()
    fleet.all_ready(bundles=2, seconds=60)
