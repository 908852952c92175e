"""A directory is renamed in Git, with a real helm and a real API server: what runs goes on under the bundle's new name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_leaving import Cluster, clone, fleet, log, on
from tests.support.cli import Person
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

__all__ = ["clone", "fleet", "on"]
pytestmark = pytest.mark.cluster
NAMES = {"Deployment": "web", "PersistentVolumeClaim": "data", "ConfigMap": "web"}
WEB = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{a: web}}}}
  template:
    metadata: {{labels: {{a: web}}}}
    spec: {{containers: [{{name: a, image: example.com/a}}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data: {{a: '{value}'}}
"""


def files(place: str, namespace: str, value: int, more: str = "") -> dict[str, str | None]:
    return {f"{place}/fleet.yaml": f"defaultNamespace: {namespace}\n{more}", f"{place}/m.yaml": WEB.format(value=value)}


def gone(place: str) -> dict[str, str | None]:
    return {f"{place}/fleet.yaml": None, f"{place}/m.yaml": None}


def identities(here: Cluster) -> dict[str, Any]:
    """uid of each object, and how often the Deployment's spec was changed."""
    found: dict[str, Any] = {kind: here.uid(kind, name) for kind, name in NAMES.items()}
    return found | {"generation": here.get("Deployment", "web").get("metadata", {}).get("generation")}


def history(here: Cluster, release: str) -> list[int]:
    return [r["revision"] for r in json.loads(here.helm("history", release, "-o", "json"))]


def login(fleet: Fleet, folder: Path) -> Person:
    person = Person(folder)
    pin, token = fleet.manager.ca_pin, str(fleet.manager.data_dir / "admin.token")
    person.good("login", fleet.manager.url, "--ca-pin", pin, "--token-file", token)
    return person


def test_said_by_a_person(clone: Clone, fleet: Fleet, on: Callable[[str], Cluster], tmp_path: Path) -> None:
    """Held first, with the words; then one release all the time, its next revision, every object with its uid. The way back too."""
    here = on("move-said")
    clone.push(files("apps/web", "move-said", 1))
    fleet.gitrepo(clone.url)
    fleet.agent("dev", here.kubeconfig)
    fleet.until(fleet.states, lambda s: "dev.apps-apps-web" in s)
    person = login(fleet, tmp_path)
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "1"})
    before, had = identities(here), history(here, "apps-apps-web")
    clone.push(gone("apps/web") | files("platform/web", "move-said", 1))
    fleet.until(lambda: person.run("held", "list"), lambda done: "fleetctl bundle moved apps-apps-web apps-platform-web" in done.err)
    shown = person.good("gitrepo", "get", "apps")
    assert "apps/web → platform/web looks like a move (the same files)" in shown
    assert identities(here) == before
    assert "becomes bundle/apps-platform-web" in person.good("bundle", "moved", "apps-apps-web", "apps-platform-web")
    fleet.until(fleet.states, lambda s: "dev.apps-platform-web" in s and "dev.apps-apps-web" not in s)
    fleet.until(lambda: history(here, "apps-apps-web"), lambda found: max(found) == max(had) + 1)
    fleet.until(lambda: log(fleet), lambda text: "bundle apps-apps-web: the release stays" in text)
    assert here.releases() == ["apps-apps-web"]
    assert identities(here) == before
    clone.push(files("platform/web", "move-said", 2))
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "2"})
    assert identities(here) == before
    clone.push(gone("platform/web") | files("apps/web", "move-said", 3))
    fleet.until(lambda: person.run("held", "list"), lambda done: "bundle moved apps-platform-web apps-apps-web" in done.err)
    person.good("bundle", "moved", "apps-platform-web", "apps-apps-web")
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "3"})
    assert identities(here) == before
    assert here.releases() == ["apps-apps-web"]


def test_said_in_git_while_the_agent_is_away(clone: Clone, fleet: Fleet, on: Callable[[str], Cluster], tmp_path: Path) -> None:
    """movedFrom, two moves and a change, while the agent is stopped and its disk is lost: it comes back to the last name, and nothing is
    another object.
    """
    here = on("move-away")
    clone.push(files("apps/web", "move-away", 1))
    fleet.gitrepo(clone.url)
    agent = fleet.agent("dev", here.kubeconfig)
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "1"})
    fleet.until(fleet.states, lambda s: s.get("dev.apps-apps-web") not in {None, "WaitApplied"})
    before = identities(here)
    agent.process.stop()
    first = clone.push(gone("apps/web") | files("b/web", "move-away", 1, "movedFrom: apps-apps-web\n"))
    fleet.until(lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["commit"], lambda commit: commit == first)
    second = clone.push(gone("b/web") | files("c/web", "move-away", 2, "movedFrom: apps-b-web\n"))
    fleet.until(lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["commit"], lambda commit: commit == second)
    for path in agent.state_dir.glob("journal*"):
        path.unlink()
    agent.process.start()
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "2"})
    fleet.until(fleet.states, lambda s: s.get("dev.apps-c-web") not in {None, "WaitApplied"})
    assert identities(here) == before
    assert here.releases() == ["apps-apps-web"]
