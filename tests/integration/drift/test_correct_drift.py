"""correctDrift, through the whole: a manager, an agent that watches, and somebody who changes
things.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"


class Cluster:
    def __init__(self, env: dict[str, str], kubeconfig: Path, space: str) -> None:
        self._env, self._head = env, ["kubectl", "--kubeconfig", str(kubeconfig), "-n", space]

    def run(self, *words: str) -> str:
        return subprocess.run(
            [*self._head, *words], env=self._env, capture_output=True, text=True, check=False
        ).stdout

    def value(self, name: str) -> str:
        return self.run("get", "cm", name, "-o", "jsonpath={.data.a}", "--ignore-not-found")

    def change(self, name: str, value: str) -> None:
        self.run("patch", "cm", name, "-p", json.dumps({"data": {"a": value}}))

    def _records(self) -> list[dict[str, str]]:
        found: list[Any] = json.loads(self.run("get", "secret", "-l", "owner=helm", "-o", "json"))[
            "items"
        ]
        return [item["metadata"]["labels"] for item in found]

    def revision(self) -> int:
        """The release's latest."""
        return max(int(labels["version"]) for labels in self._records())

    def generations(self) -> set[str]:
        return {labels["fleetctl-generation"] for labels in self._records()}


def test_drift_is_put_right_and_a_fight_costs_few_runs(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """A hand edit goes and a deleted object comes back, each with one revision of the same
    generation; what changes it back again and again is answered after growing pauses, which the
    report says.
    """
    cluster = Cluster(tool_env, kube["dev"].kubeconfig, "e2e-correct")
    options = (
        "defaultNamespace: e2e-correct\ncorrectDrift: {enabled: true}\nhelm: {maxHistory: 10}\n"
    )
    commit = clone.push(
        {
            "fleet.yaml": options,
            "m.yaml": MAP.format(name="kept", value=1),
            "n.yaml": MAP.format(name="gone", value=1),
        }
    )
    fleet.gitrepo(clone.url)
    fleet.agent("dev", kube["dev"].kubeconfig)
    fleet.all_ready(commit, bundles=1)
    cluster.change("kept", "hand")
    fleet.until(lambda: cluster.value("kept"), lambda v: v == "1")
    fleet.all_ready(bundles=1)
    assert cluster.revision() == 2
    cluster.run("delete", "cm", "gone")
    fleet.until(lambda: cluster.value("gone"), lambda v: v == "1")
    fleet.all_ready(bundles=1)
    assert cluster.revision() == 3
    assert len(cluster.generations()) == 1

    begun, changes = time.monotonic(), 0
    while time.monotonic() < begun + 12:
        if cluster.value("kept") == "1":
            cluster.change("kept", "fight")
            changes += 1
        time.sleep(0.2)
    assert cluster.revision() <= 6, "pauses of 5, 10, 20 s: at most three corrections in 12 s"
    found = fleet.until(
        fleet.deployments,
        lambda d: "changed again each time" in d["dev.apps"]["status"].get("message", ""),
    )
    assert found["dev.apps"]["status"]["display"]["state"] == "Modified"
    fleet.until(lambda: cluster.value("kept"), lambda v: v == "1", seconds=60)
    fleet.all_ready(bundles=1)
