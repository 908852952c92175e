"""`helm.timeoutSeconds`, `waitForJobs` and `atomic`, by a real helm on a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetctl.core.model.errors import ToolFailed
from fleetctl.tools.helm import HelmCli, Release, UpgradeFlags
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools
from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{a: '{value}'}}\n"
NEVER = """\
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {localkube.example/play: hold}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: 'x:1'}]}
"""
JOB = """\
---
apiVersion: batch/v1
kind: Job
metadata: {name: job, annotations: {localkube.example/play: hold}}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: app, image: 'x:1'}]}
"""


class Upgrades:
    """One release of a chart whose only template is given each time."""

    def __init__(self, kube: LocalKube, folder: Path, namespace: str) -> None:
        self._helm = HelmCli(
            list(tools.find("helm").argv), kubeconfig=kube["dev"].kubeconfig, home=folder / "helm"
        )
        self._chart, self._release = folder / "chart", Release("web", namespace)
        (self._chart / "templates").mkdir(parents=True)
        (self._chart / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 0.0.1\n")

    def run(self, text: str, **flags: bool | int) -> str:
        """Empty, or helm's complaint."""
        (self._chart / "templates" / "m.yaml").write_text(text)
        made = UpgradeFlags(create_namespace=True, **flags)  # type: ignore[arg-type]
        try:
            asyncio.run(
                self._helm.upgrade(
                    self._release, self._chart, b"{}", made, deadline=60 + made.longest
                )
            )
        except ToolFailed as why:
            return why.summary
        return ""

    def history(self) -> list[str]:
        return [
            revision.status
            for revision in asyncio.run(self._helm.history(self._release, deadline=60))
        ]

    def manifest(self) -> str:
        return asyncio.run(self._helm.manifest(self._release, deadline=60)).decode()


def test_a_timeout_names_what_never_became_ready(kube: LocalKube, tmp_path: Path) -> None:
    """Without one nothing is waited for; with one the release fails, its objects stay, and the next
    run goes over it.
    """
    web = Upgrades(kube, tmp_path, "waits-timeout")
    assert web.run(MAP.format(value=1) + NEVER) == ""
    said = web.run(MAP.format(value=2) + NEVER, timeout=2)
    assert "Deployment/waits-timeout/web not ready" in said
    assert web.history() == ["deployed", "failed"]
    assert web.run(MAP.format(value=3), timeout=20) == ""


def test_jobs_are_waited_for_when_told_so(kube: LocalKube, tmp_path: Path) -> None:
    """A Job that has begun is ready, unless waitForJobs wants it done."""
    web = Upgrades(kube, tmp_path, "waits-jobs")
    assert web.run(MAP.format(value=1) + JOB, timeout=20) == ""
    assert "Job/waits-jobs/job not ready" in web.run(
        MAP.format(value=2) + JOB, timeout=2, wait_for_jobs=True
    )


def test_atomic_brings_back_what_was(kube: LocalKube, tmp_path: Path) -> None:
    """An upgrade that does not become ready is rolled back, and says why; a first installation is
    taken away again.
    """
    web = Upgrades(kube, tmp_path, "waits-atomic")
    said = web.run(MAP.format(value=1) + NEVER, timeout=2, atomic=True)
    assert "has been uninstalled" in said
    assert web.history() == []
    assert web.run(MAP.format(value=1), timeout=20, atomic=True) == ""
    said = web.run(MAP.format(value=2) + NEVER, timeout=2, atomic=True)
    assert "has been rolled back" in said
    assert "Deployment/waits-atomic/web not ready" in said
    assert web.history()[-1] == "deployed"
    assert "a: '1'" in web.manifest()
    assert "Deployment" not in web.manifest()


def test_a_bundle_that_never_becomes_ready_in_time(
    fleet: Fleet, kube: LocalKube, tmp_path: Path
) -> None:
    """ErrApplied, and its message names the object; the commit that puts it right ends it."""
    (tmp_path / "git").mkdir()
    with GitServer(tmp_path / "git") as server:
        clone = Clone(server, "apps", tmp_path / "clone")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: waits-fleet\nhelm: {timeoutSeconds: 2}\n",
                "m.yaml": NEVER,
            }
        )
        fleet.gitrepo(clone.url)
        fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.until(fleet.states, lambda states: states == {"dev.apps": "ErrApplied"})
        assert (
            "Deployment/waits-fleet/web not ready"
            in fleet.deployments()["dev.apps"]["status"]["message"]
        )
        commit = clone.push({"m.yaml": NEVER.replace("hold", "ready")})
        fleet.all_ready(commit, bundles=1)
