"""From a commit to Helm releases in real clusters, through the real manager and agents."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.cli.person import Person
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[3]
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"


@pytest.fixture
def fleet(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Fleet]:
    """Started by the commands themselves."""
    running = Fleet(tmp_path / "fleet", tool_env, real=True)
    try:
        yield running
    finally:
        running.stop()


def helm(env: dict[str, str], kubeconfig: str, *words: str) -> list[dict[str, str]]:
    done = subprocess.run(
        ["helm", *words, "-o", "json", "--kubeconfig", kubeconfig],
        env=env,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def kubectl(env: dict[str, str], kubeconfig: str, *words: str) -> str:
    done = subprocess.run(
        ["kubectl", "--kubeconfig", kubeconfig, *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


class TestOneCluster:
    def test_the_life_of_a_bundle(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """Committed, deployed as a Helm release, changed, drifted, put right by the next commit,
        and removed with its repository.
        """
        config = str(kube["dev"].kubeconfig)
        commit = clone.push(
            {
                "fleet.yaml": "defaultNamespace: e2e-life\n",
                "m.yaml": MAP.format(name="life", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig, env="dev")
        fleet.all_ready(commit, bundles=1)
        assert [
            (r["name"], r["revision"]) for r in helm(tool_env, config, "ls", "-n", "e2e-life")
        ] == [("apps", "1")]

        clone.push({"m.yaml": MAP.format(name="life", value=2)})
        fleet.until(
            lambda: kubectl(
                tool_env, config, "get", "cm", "life", "-n", "e2e-life", "-o", "jsonpath={.data.a}"
            ),
            lambda v: v == "2",
        )
        fleet.all_ready(bundles=1)

        kubectl(
            tool_env, config, "patch", "cm", "life", "-n", "e2e-life", "-p", '{"data":{"a":"hand"}}'
        )
        found = fleet.until(
            fleet.deployments, lambda d: d["dev.apps"]["status"]["display"]["state"] == "Modified"
        )
        status = found["dev.apps"]["status"]
        assert (
            status["message"]
            == 'configmap.v1 e2e-life/life modified: data.a is "hand", Git has "2"'
        )
        assert status["modifiedStatus"][0]["differences"] == [
            {"pointer": "/data/a", "wanted": '"2"', "live": '"hand"'}
        ]

        before = found["dev.apps"]["metadata"]["generation"]
        correct = ("POST", "bundles/fleet-default/apps/correct", {"selector": "env=dev"})
        assert fleet.call(*correct) == {"clusters": 1, "names": ["dev"]}
        fleet.until(
            lambda: kubectl(
                tool_env, config, "get", "cm", "life", "-n", "e2e-life", "-o", "jsonpath={.data.a}"
            ),
            lambda v: v == "2",
        )
        fleet.all_ready(bundles=1)
        assert fleet.deployments()["dev.apps"]["metadata"]["generation"] == before
        assert fleet.call(*correct) == {"clusters": 0, "names": []}

        clone.push({"m.yaml": MAP.format(name="life", value=3)})
        fleet.until(
            lambda: kubectl(
                tool_env, config, "get", "cm", "life", "-n", "e2e-life", "-o", "jsonpath={.data.a}"
            ),
            lambda v: v == "3",
        )
        fleet.all_ready(bundles=1)

        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        fleet.until(lambda: helm(tool_env, config, "ls", "-n", "e2e-life"), lambda r: r == [])
        assert "not found" in kubectl(tool_env, config, "get", "cm", "life", "-n", "e2e-life")

    def test_a_chart_that_fails_on_one_cluster_stops_no_other(
        self, clone: Clone, fleet: Fleet, kube: LocalKube
    ) -> None:
        """The cluster where a value is missing says why; the other one, and the sibling bundle, are
        deployed.
        """
        chart = {
            "web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
            "web/templates/m.yaml": MAP.format(
                name="web", value='{{ required "give it a size" .Values.size }}'
            ),
            "web/fleet.yaml": (
                "defaultNamespace: e2e-fail\ntargetCustomizations:\n- name: test\n "
                " clusterSelector: {matchLabels: {env: test}}\n  helm: {values: {size: big}}\n"
            ),
            "ok/fleet.yaml": "defaultNamespace: e2e-fail\n",
            "ok/m.yaml": MAP.format(name="ok", value=1),
        }
        clone.push(chart)
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig, env="dev")
        fleet.agent("test", kube["test"].kubeconfig, env="test")
        wanted = {
            "dev.apps-web": "ErrApplied",
            "dev.apps-ok": "Ready",
            "test.apps-web": "Ready",
            "test.apps-ok": "Ready",
        }
        fleet.until(fleet.states, lambda s: s == wanted)
        assert "give it a size" in fleet.deployments()["dev.apps-web"]["status"]["message"]

    def test_rules_of_diff_end_drift_without_a_new_release(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """A hand edit is drift; a rule for the field makes it none, and deploys nothing anew."""
        config = str(kube["dev"].kubeconfig)
        commit = clone.push(
            {
                "fleet.yaml": "defaultNamespace: e2e-diff\n",
                "m.yaml": MAP.format(name="diff", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.all_ready(commit, bundles=1)
        kubectl(
            tool_env, config, "patch", "cm", "diff", "-n", "e2e-diff", "-p", '{"data":{"a":"hand"}}'
        )
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "Modified"})
        person = Person(tmp_path)
        person.good(
            "login",
            fleet.manager.url,
            "--ca-pin",
            fleet.manager.ca_pin,
            "--token-file",
            str(fleet.manager.data_dir / "admin.token"),
        )
        assert (
            '/data/a: Git says "1", the cluster has "hand"'
            in person.run("bundle", "diff", "apps", "--cluster", "dev").out
        )
        shown = person.good("bundle", "diff", "apps", "--ignore-rule")
        assert "jsonPointers:\n    - /data/a\n" in shown
        file = tmp_path / "fleet.yaml"
        file.write_text("defaultNamespace: e2e-diff # of the test\n")
        person.good("bundle", "diff", "apps", "--ignore-rule", "--write", str(file))
        assert file.read_text().startswith("defaultNamespace: e2e-diff # of the test\ndiff:\n")
        assert "jsonPointers:\n        - /data/a\n" in file.read_text()
        rule = "{apiVersion: v1, kind: ConfigMap, name: ^di, jsonPointers: [/data/a]}"
        commit = clone.push(
            {"fleet.yaml": f"defaultNamespace: e2e-diff\ndiff: {{comparePatches: [{rule}]}}\n"}
        )
        fleet.all_ready(commit, bundles=1)
        assert (
            kubectl(
                tool_env, config, "get", "cm", "diff", "-n", "e2e-diff", "-o", "jsonpath={.data.a}"
            )
            == "hand"
        )
        assert helm(tool_env, config, "ls", "-n", "e2e-diff")[0]["revision"] == "1"

    def test_values_on_the_cluster_reach_the_chart_and_are_read_again(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """valuesFrom: missing is one clear error, then deployed; a change of the ConfigMap alone
        reaches the release.
        """
        config = str(kube["dev"].kubeconfig)
        fleet.env = {**fleet.env, "FLEET_AGENT_VALUES_SECONDS": "1"}
        chart = {
            "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
            "templates/m.yaml": MAP.format(name="values", value="{{ .Values.size }}"),
            "fleet.yaml": (
                "defaultNamespace: e2e-values\nhelm: {valuesFrom: [{configMapKeyRef: {name: sizes,"
                " namespace: default}}]}\n"
            ),
        }
        clone.push(chart)
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "ErrApplied"})
        said = fleet.deployments()["dev.apps"]["status"]
        assert "ConfigMap default/sizes does not exist" in said["message"]
        assert (said["reason"]["code"], said["reason"]["cause"]) == ("usage", said["message"])
        assert said["reason"]["hint"]
        bundle = fleet.call("GET", "objects/bundles/fleet-default/apps")["status"]
        assert bundle["reasons"][0] | {"state": "", "count": 0, "example": ""} == said["reason"] | {
            "state": "",
            "count": 0,
            "example": "",
        }
        value = ("get", "cm", "values", "-n", "e2e-values", "-o", "jsonpath={.data.a}")
        kubectl(tool_env, config, "create", "cm", "sizes", "--from-literal=values.yaml=size: big")
        fleet.until(lambda: kubectl(tool_env, config, *value), lambda v: v == "big")
        kubectl(
            tool_env, config, "patch", "cm", "sizes", "-p", '{"data":{"values.yaml":"size: huge"}}'
        )
        fleet.until(lambda: kubectl(tool_env, config, *value), lambda v: v == "huge")
        fleet.all_ready(bundles=1)
        assert helm(tool_env, config, "ls", "-n", "e2e-values")[0]["revision"] == "2"


class TestCrashes:
    def test_kill_dash_nine_of_everyone_ends_in_the_same_state(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """Manager and agent are killed while a commit is on its way; started again they finish
        it.
        """
        clone.push({f"b{i}/m.yaml": MAP.format(name=f"crash{i}", value=1) for i in range(6)})
        fleet.gitrepo(clone.url, paths=[f"b{i}" for i in range(6)])
        agent = fleet.agent("prod", kube["prod"].kubeconfig, env="prod")
        fleet.all_ready(bundles=6)
        for round_ in range(2, 5):
            clone.push(
                {f"b{i}/m.yaml": MAP.format(name=f"crash{i}", value=round_) for i in range(6)}
            )
            fleet.until(fleet.states, lambda s: "WaitApplied" in s.values())
            agent.process.kill()
            fleet.manager.process.kill()
            fleet.manager.start()
            agent.process.start()
        commit = clone.push({"b0/m.yaml": MAP.format(name="crash0", value=9)})
        fleet.all_ready(commit, bundles=6)
        config = str(kube["prod"].kubeconfig)
        found = [
            kubectl(tool_env, config, "get", "cm", f"crash{i}", "-o", "jsonpath={.data.a}")
            for i in range(6)
        ]
        assert found == ["9", "4", "4", "4", "4", "4"]

    def test_a_lost_journal_is_rebuilt_before_anything_is_removed(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """An agent that comes back without its journal still finds the release that a tombstone
        names.
        """
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: e2e-lost\n",
                "m.yaml": MAP.format(name="lost", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.all_ready(bundles=1)
        agent.process.kill()
        for name in ("journal", "desired.json", "objects/apps.json"):
            (agent.state_dir / name).unlink()
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        agent.process.start()
        config = str(kube["dev"].kubeconfig)
        fleet.until(lambda: helm(tool_env, config, "ls", "-n", "e2e-lost"), lambda r: r == [])


def test_a_directory_instead_of_a_cluster(clone: Clone, fleet: Fleet, tmp_path: Path) -> None:
    """--target-dir: manifests as files, with their namespaces, replaced by the next commit and
    removed with the bundle.
    """
    target = tmp_path / "manifests"
    clone.push({"fleet.yaml": "defaultNamespace: edge\n", "m.yaml": MAP.format(name="a", value=1)})
    fleet.gitrepo(clone.url)
    fleet.agent("edge", None, target_dir=target)
    fleet.all_ready(bundles=1)
    path = target / "edge--apps.yaml"
    assert "namespace: edge" in path.read_text()
    clone.push({"m.yaml": MAP.format(name="a", value=2)})
    fleet.until(path.read_text, lambda text: "'2'" in text)
    fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
    fleet.until(path.exists, lambda there: not there)


def test_one_command_for_one_cluster(
    clone: Clone, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """`--with-local-agent`: a manager with an agent beside it, for the workspace fleet-local and
    its group default.
    """
    clone.push(
        {
            "fleet.yaml": "defaultNamespace: e2e-single\n",
            "m.yaml": MAP.format(name="single", value=1),
        }
    )
    fleet = Fleet(
        tmp_path / "single",
        tool_env,
        "--with-local-agent",
        "--kubeconfig",
        str(kube["test"].kubeconfig),
    )
    try:
        meta = {"name": "apps", "namespace": "fleet-local"}
        doc = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "GitRepo",
            "metadata": meta,
            "spec": {"repo": clone.url},
        }
        fleet.call("PUT", "objects/gitrepos/fleet-local/apps", doc)
        fleet.all_ready(bundles=1)
        assert fleet.states() == {"local.apps": "Ready"}
    finally:
        fleet.stop()
