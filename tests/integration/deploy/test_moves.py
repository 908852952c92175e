"""A directory is renamed in Git, with a real helm and a real API server: running releases continue
under the bundle's new name.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deploy.test_remove import Cluster, log, on
from tests.support.cli.person import Person
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

__all__ = ["on"]
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
    return {
        f"{place}/fleet.yaml": f"defaultNamespace: {namespace}\n{more}",
        f"{place}/m.yaml": WEB.format(value=value),
    }


def gone(place: str) -> dict[str, str | None]:
    return {f"{place}/fleet.yaml": None, f"{place}/m.yaml": None}


def identities(here: Cluster) -> dict[str, Any]:
    """uid of each object, and how often the Deployment's spec was changed."""
    found: dict[str, Any] = {kind: here.uid(kind, name) for kind, name in NAMES.items()}
    return found | {
        "generation": here.get("Deployment", "web").get("metadata", {}).get("generation")
    }


def history(here: Cluster, release: str) -> list[int]:
    return [r["revision"] for r in json.loads(here.helm("history", release, "-o", "json"))]


def login(fleet: Fleet, folder: Path) -> Person:
    person = Person(folder)
    pin, token = fleet.manager.ca_pin, str(fleet.manager.data_dir / "admin.token")
    person.good("login", fleet.manager.url, "--ca-pin", pin, "--token-file", token)
    return person


def test_said_by_a_person(
    clone: Clone, fleet: Fleet, on: Callable[[str], Cluster], tmp_path: Path
) -> None:
    """Held first, with the words; then one release all the time, its next revision, every object
    with its uid. The way back too.
    """
    here = on("move-said")
    clone.push(files("apps/web", "move-said", 1))
    fleet.gitrepo(clone.url)
    fleet.agent("dev", here.kubeconfig)
    fleet.until(fleet.states, lambda s: "dev.apps-apps-web" in s)
    person = login(fleet, tmp_path)
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "1"})
    before, had = identities(here), history(here, "apps-apps-web")
    clone.push(gone("apps/web") | files("platform/web", "move-said", 1))
    fleet.until(
        lambda: person.run("held", "list"),
        lambda done: "fleetctl bundle moved apps-apps-web apps-platform-web" in done.err,
    )
    shown = person.good("gitrepo", "get", "apps")
    assert "apps/web → platform/web looks like a move (the same files)" in shown
    assert identities(here) == before
    assert "becomes bundle/apps-platform-web" in person.good(
        "bundle", "moved", "apps-apps-web", "apps-platform-web"
    )
    fleet.until(
        fleet.states, lambda s: "dev.apps-platform-web" in s and "dev.apps-apps-web" not in s
    )
    fleet.until(lambda: history(here, "apps-apps-web"), lambda found: max(found) == max(had) + 1)
    fleet.until(lambda: log(fleet), lambda text: "bundle apps-apps-web: the release stays" in text)
    assert here.releases() == ["apps-apps-web"]
    assert identities(here) == before
    clone.push(files("platform/web", "move-said", 2))
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "2"})
    assert identities(here) == before
    clone.push(gone("platform/web") | files("apps/web", "move-said", 3))
    fleet.until(
        lambda: person.run("held", "list"),
        lambda done: "bundle moved apps-platform-web apps-apps-web" in done.err,
    )
    person.good("bundle", "moved", "apps-platform-web", "apps-apps-web")
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "3"})
    assert identities(here) == before
    assert here.releases() == ["apps-apps-web"]


def test_said_in_git_while_the_agent_is_away(
    clone: Clone, fleet: Fleet, on: Callable[[str], Cluster], tmp_path: Path
) -> None:
    """movedFrom, two moves and a change, while the agent is stopped and its disk is lost: it comes
    back to the last name, and nothing is another object.
    """
    here = on("move-away")
    clone.push(files("apps/web", "move-away", 1))
    fleet.gitrepo(clone.url)
    agent = fleet.agent("dev", here.kubeconfig)
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "1"})
    fleet.until(fleet.states, lambda s: s.get("dev.apps-apps-web") not in {None, "WaitApplied"})
    before = identities(here)
    agent.process.stop()
    first = clone.push(
        gone("apps/web") | files("b/web", "move-away", 1, "movedFrom: apps-apps-web\n")
    )
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["commit"],
        lambda commit: commit == first,
    )
    second = clone.push(gone("b/web") | files("c/web", "move-away", 2, "movedFrom: apps-b-web\n"))
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps")["status"]["commit"],
        lambda commit: commit == second,
    )
    for path in agent.state_dir.glob("journal*"):
        path.unlink()
    agent.process.start()
    fleet.until(lambda: here.get("cm", "web").get("data"), lambda data: data == {"a": "2"})
    fleet.until(fleet.states, lambda s: s.get("dev.apps-c-web") not in {None, "WaitApplied"})
    assert identities(here) == before
    assert here.releases() == ["apps-apps-web"]


def test_one_that_several_releases_hold(
    clone: Clone, fleet: Fleet, on: Callable[[str], Cluster]
) -> None:
    """More than one record can hold: each object keeps its part and its uid, though one in the
    middle is taken out with the move.
    """
    here = on("move-parts")
    noise = random.Random(7)
    maps = {
        f"m{n}.yaml": (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big-{n}}}\ndata: {{a:"
            f" '{noise.randbytes(150_000).hex()}'}}\n"
        )
        for n in range(12)
    }
    fleet_file = "defaultNamespace: move-parts\n"
    clone.push(
        {f"apps/web/{name}": text for name, text in maps.items()}
        | {"apps/web/fleet.yaml": fleet_file}
    )
    fleet.gitrepo(clone.url)
    fleet.agent("dev", here.kubeconfig)
    fleet.all_ready(bundles=1, seconds=60)
    assert len(here.releases()) > 1
    before = {n: here.uid("cm", f"big-{n}") for n in range(12)}
    left = {name: text for name, text in maps.items() if name != "m1.yaml"}
    gone = dict.fromkeys(f"apps/web/{name}" for name in (*maps, "fleet.yaml"))
    moved = fleet_file + "movedFrom: apps-apps-web\n"
    clone.push(
        {
            **gone,
            **{f"b/web/{name}": text for name, text in left.items()},
            "b/web/fleet.yaml": moved,
        }
    )
    fleet.until(lambda: here.uid("cm", "big-1"), lambda uid: not uid, seconds=60)
    fleet.until(fleet.states, lambda s: s == {"dev.apps-b-web": "Ready"}, seconds=60)
    assert {n: here.uid("cm", f"big-{n}") for n in range(12)} == before | {1: ""}
    assert {name.partition(".")[0] for name in here.releases()} == {"apps-apps-web"}
