"""Fleet's own examples through the whole product: one path after another as a GitRepo, deployed by
three agents into real API servers.

What helm holds on each cluster is compared with what Rancher Fleet applies there. Charts that live
on the internet come from a local server.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from fleetctl.core.formats.yaml import load_all
from tests.conformance.test_golden_objects import DATA, golden
from tests.localkube.kubeapi import LocalKube
from tests.servers.chartserver import ChartServer
from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.shared,
    pytest.mark.skipif(
        not DATA.exists(),
        reason=(
            "Fleet's own output does not lie beside the checkout; examples/apps is compared always"
        ),
    ),
]
CLUSTERS = ("dev", "test", "prod")
PATHS = sorted(
    {f.name.split(".")[0].replace("__", "/") for f in (DATA / "golden").glob("*.dev.yaml")}
)
FROM_THE_NET = (
    "multi-cluster/helm-external",
    "multi-cluster/helm-kustomize",
    "single-cluster/helm-kustomize",
)
DEFINITION = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gitrepos.fleet.cattle.io}
spec:
  group: fleet.cattle.io
  scope: Namespaced
  names: {kind: GitRepo, listKind: GitRepoList, plural: gitrepos, singular: gitrepo}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, tool_env: dict[str, str], kube: LocalKube
) -> Iterator[tuple[Fleet, str]]:
    """(fleet with three agents, URL of the examples' repository)."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "git").mkdir()
    (folder / "charts").mkdir()
    for chart in (DATA / "charts").iterdir():
        version = next(
            line.split()[1]
            for line in (chart / "Chart.yaml").read_text().splitlines()
            if line.startswith("version:")
        )
        with tarfile.open(folder / "charts" / f"{chart.name}-{version}.tgz", "w:gz") as tar:
            tar.add(chart, chart.name)
    with GitServer(folder / "git") as git, ChartServer(folder / "charts") as charts:
        releases = "https://github.com/rancher/fleet-examples/releases/download/example"
        mirrors = (
            f"--mirror={releases}={charts.url}",
            f"--mirror=https://charts.rancher.io={charts.url}",
        )
        clone = Clone(git, "examples", folder / "clone")
        shutil.copytree(DATA / "fleet-examples", clone.folder, dirs_exist_ok=True)
        clone.push({})
        running = Fleet(folder / "fleet", tool_env, *mirrors)
        try:
            for name in CLUSTERS:
                kubectl(tool_env, kube, name, "apply", "-f", "-", stdin=DEFINITION)
                kubectl(tool_env, kube, name, "create", "namespace", "fleet-local")
                running.agent(name, kube[name].kubeconfig, env=name)
            yield running, clone.url
        finally:
            running.stop()


def kubectl(env: dict[str, str], kube: LocalKube, name: str, *words: str, stdin: str = "") -> str:
    command = ["kubectl", "--kubeconfig", str(kube[name].kubeconfig), *words]
    return subprocess.run(
        command, env=env, input=stdin, capture_output=True, text=True, check=False
    ).stdout


def deploy(fleet: Fleet, url: str, path: str) -> dict[str, Any]:
    """The deployments of the path, applied on every cluster; before, nothing is left of another
    one.
    """
    fleet.gitrepo(url, "repo", paths=[path])
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/repo")["status"],
        lambda s: s["commit"] != "",
    )

    def applied(found: dict[str, Any]) -> bool:
        states = [i["status"]["display"]["state"] for i in found.values()]
        return bool(states) and not {"WaitApplied", "Pending"} & set(states)

    found: dict[str, Any] = fleet.until(fleet.deployments, applied, seconds=60)
    return found


def clean(fleet: Fleet) -> None:
    fleet.call("DELETE", "objects/gitrepos/fleet-default/repo")
    held = [a.state_dir for a in fleet.agents.values()]
    fleet.until(
        lambda: [list((state / "objects").iterdir()) for state in held],
        lambda left: not any(left),
        seconds=60,
    )


def manifests(env: dict[str, str], kube: LocalKube, name: str, found: dict[str, Any]) -> list[Any]:
    """What helm holds of every bundle on the cluster."""
    objects: list[Any] = []
    for item in found.values():
        if item["spec"]["cluster"] == name:
            release = item["status"]["release"]
            command = [
                "helm",
                "get",
                "manifest",
                release["name"],
                "-n",
                release["namespace"],
                "--kubeconfig",
                str(kube[name].kubeconfig),
            ]
            objects += load_all(
                subprocess.run(command, env=env, capture_output=True, check=True).stdout
            )
    return objects


@pytest.mark.parametrize("path", PATHS)
def test_what_reaches_the_clusters_is_what_fleet_applies(
    path: str, fleet: tuple[Fleet, str], kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """On each of the three clusters, with no bundle in error."""
    running, url = fleet
    found = deploy(running, url, path)
    try:
        assert [
            i["status"]["message"]
            for i in found.values()
            if i["status"]["display"]["state"] == "ErrApplied"
        ] == []
        tool = golden()
        for name in CLUSTERS:
            want = load_all(
                (DATA / "golden" / f"{path.replace('/', '__')}.{name}.yaml").read_bytes()
            )
            wanted = tool.objects([o for w in want if w for o in w.get("objects") or []])
            assert (
                tool.same_objects(wanted, tool.objects(manifests(tool_env, kube, name, found)))
                == []
            ), name
    finally:
        clean(running)


@pytest.mark.parametrize("path", FROM_THE_NET)
def test_charts_from_the_internet_come_through_the_mirror(
    path: str, fleet: tuple[Fleet, str]
) -> None:
    """Fetched at the scan, deployed everywhere."""
    running, url = fleet
    found = deploy(running, url, path)
    try:
        assert {i["status"]["display"]["state"] for i in found.values()} <= {
            "Ready",
            "NotReady",
        }, found
        assert len(found) == 3
    finally:
        clean(running)


def test_a_chart_that_is_not_to_be_had_is_one_error_beside_its_siblings(
    fleet: tuple[Fleet, str],
) -> None:
    """rancher-monitoring is named with its address; the guestbook beside it is deployed."""
    running, url = fleet
    found = deploy(running, url, "single-cluster/helm-multi-chart")
    try:
        problems = running.call("GET", "objects/gitrepos/fleet-default/repo")["status"]["problems"]
        assert ["rancher-monitoring" in p["summary"] for p in problems] == [True]
        assert any(
            "guestbook" in name and i["status"]["display"]["state"] in {"Ready", "NotReady"}
            for name, i in found.items()
        )
    finally:
        clean(running)
