"""Rollouts on three real API servers with real helm: a version that fails goes back by itself; a
site that is switched off catches up.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{a: {value}}}\n"
REFUSED = "[1, 2]"  # the API server takes text only
STRATEGY = """
rolloutStrategy:
  approval: first
  maxUnavailable: 1
  maxFailures: 0
  onFailure: rollback
  partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}]
"""


def files(space: str, value: str, strategy: str = STRATEGY) -> dict[str, str]:
    return {
        "m.yaml": MAP.format(value=value),
        "fleet.yaml": f"defaultNamespace: {space}\n{strategy}",
    }


class Sites:
    """What runs on each of the clusters, as kubectl sees it."""

    def __init__(self, kube: LocalKube, env: dict[str, str], space: str) -> None:
        self._kube, self._env, self._space = kube, env, space

    def _asked(self, program: str, name: str, *words: str) -> str:
        command = [
            program,
            "--kubeconfig",
            str(self._kube[name].kubeconfig),
            "-n",
            self._space,
            *words,
        ]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, check=False
        ).stdout

    def values(self) -> dict[str, str]:
        words = ("get", "cm", "web", "-o", "jsonpath={.data.a}", "--ignore-not-found")
        return {name: self._asked("kubectl", name, *words) for name in ("dev", "test", "prod")}

    def revisions(self, name: str) -> int:
        """How often helm has changed it there."""
        found = json.loads(
            self._asked("kubectl", name, "get", "secret", "-l", "owner=helm", "-o", "json")
        )["items"]
        return max(int(item["metadata"]["labels"]["version"]) for item in found)


def rollout(fleet: Fleet) -> dict[str, Any]:
    found: dict[str, Any] = fleet.call("GET", "rollouts")["items"][0]["status"]["display"]
    return found


def approve(fleet: Fleet) -> None:
    fleet.until(lambda: rollout(fleet)["message"], lambda text: "waits for approval" in text)
    fleet.call("POST", "rollouts/fleet-default/apps/approve", {})


def test_a_version_that_fails_on_the_canary_goes_back(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """The others are never touched by it; the canary has the old one again; commits wait until the
    pin is released.
    """
    space = "e2e-rollback"
    sites = Sites(kube, tool_env, space)
    clone.push(files(space, "'1'"))
    fleet.gitrepo(clone.url)
    fleet.agent("dev", kube["dev"].kubeconfig, canary="yes")
    for name in ("test", "prod"):
        fleet.agent(name, kube[name].kubeconfig)
    approve(fleet)
    fleet.all_ready(bundles=3, seconds=60)
    clone.push(files(space, "'2'"))
    fleet.until(sites.values, lambda found: found["dev"] == "2")
    assert sites.values() == {"dev": "2", "test": "1", "prod": "1"}
    approve(fleet)
    fleet.until(sites.values, lambda found: set(found.values()) == {"2"}, seconds=60)
    fleet.all_ready(bundles=3)
    fleet.until(lambda: rollout(fleet)["state"], lambda state: state == "Completed")
    before = {name: sites.revisions(name) for name in ("test", "prod")}

    bad = clone.push(files(space, REFUSED))
    fleet.until(
        lambda: fleet.call("GET", "objects/bundles/fleet-default/apps")["status"],
        lambda status: status["pinned"] != 0,
        seconds=60,
    )
    message = fleet.call("GET", "objects/bundles/fleet-default/apps")["status"]["display"][
        "message"
    ]
    assert "by itself: 1 clusters could not apply it, 0 may fail" in message
    fleet.until(lambda: rollout(fleet)["state"], lambda state: state == "Completed", seconds=60)
    fleet.all_ready(bundles=3)
    assert set(sites.values().values()) == {"2"}
    assert {name: sites.revisions(name) for name in ("test", "prod")} == before
    told = {i["spec"]["cluster"]: i["spec"]["commit"] for i in fleet.deployments().values()}
    assert bad not in told.values()

    mended = clone.push(files(space, "'4'"))
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["commit"],
        lambda commit: commit == mended,
    )
    fleet.call("DELETE", "bundles/fleet-default/apps/rollback")
    fleet.until(sites.values, lambda found: found["dev"] == "4", seconds=60)
    approve(fleet)
    fleet.until(sites.values, lambda found: set(found.values()) == {"4"}, seconds=60)
    fleet.all_ready(bundles=3)


@pytest.fixture
def soon(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Fleet]:
    """A fleet whose clusters are Offline after three of their polls."""
    running = Fleet(tmp_path / "fleet", tool_env, "--offline-after", "10")
    try:
        yield running
    finally:
        running.stop()


def test_a_site_that_is_switched_off_stops_nobody_and_catches_up(
    clone: Clone, soon: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """The rollout is completed without it; when its agent is back it gets the version, without a
    new commit and without anybody's help.
    """
    space, strategy = "e2e-off", "rolloutStrategy: {maxUnavailable: 1}\n"
    sites = Sites(kube, tool_env, space)
    first = clone.push(files(space, "'1'", strategy))
    soon.gitrepo(clone.url)
    for name in ("dev", "test", "prod"):
        soon.agent(name, kube[name].kubeconfig)
    soon.all_ready(first, bundles=3, seconds=60)
    soon.agents["test"].process.stop()
    soon.until(lambda: soon.states()["test.apps"], lambda state: state == "Offline", seconds=120)
    clone.push(files(space, "'2'", strategy))
    soon.until(
        lambda: rollout(soon),
        lambda shown: (shown["state"], shown["clusters"]) == ("Completed", "2/3"),
        seconds=90,
    )
    assert sites.values() == {"dev": "2", "test": "1", "prod": "2"}
    soon.agents["test"].process.start()
    soon.until(sites.values, lambda found: found["test"] == "2", seconds=90)
    soon.until(lambda: rollout(soon)["clusters"], lambda told: told == "3/3")
    soon.all_ready(bundles=3)
