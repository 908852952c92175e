"""The judge is judged: each thing that must never be is found in a history that holds it, and
nothing in one that is as it should be.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos.history import Allowed, Event, History, Told, changing_helms, violations

DIGEST = "a" * 32
_versions = iter(range(1, 100_000))


def history() -> History:
    nowhere = Path("/nonexistent")
    made = History(nowhere, ["chaos"], nowhere, dict, nowhere)
    made.signed = {("web", 1, DIGEST), ("web", 2, DIGEST)}
    return made


def record(
    generation: int,
    status: str = "deployed",
    what: str = "ADDED",
    *,
    at: float = 1.0,
    digest: str = DIGEST,
) -> Event:
    labels = {
        "fleetctl-bundle": "web",
        "fleetctl-epoch": "1",
        "fleetctl-generation": str(generation),
        "fleetctl-digest": digest,
    }
    name = f"sh.helm.release.v1.web.v{generation}"
    return event(what, "Secret", name, labels=labels | {"status": status}, at=at)


def event(
    what: str,
    kind: str,
    name: str,
    *,
    at: float = 1.0,
    uid: str = "",
    spec: Any = None,
    generation: int = 1,
    **meta: Any,
) -> Event:
    item = {
        "metadata": {"resourceVersion": str(next(_versions)), "generation": generation, **meta},
        "spec": spec,
    }
    return Event(at, what, kind, "chaos", name, uid or name, item)


def found(made: History, *deleted: str) -> list[str]:
    return [text.partition(":")[0] for text in violations(made, 0, Allowed(frozenset(deleted)))]


def test_a_life_as_it_should_be() -> None:
    """Installed, changed once, an object dropped, Ready after each."""
    made = history()
    web = {"kind": "Deployment", "name": "web", "uid": "u"}
    made.events = [
        record(1),
        event("ADDED", "ConfigMap", "old"),
        event("ADDED", **web, spec=1),
        record(2, at=5.0),
        event("MODIFIED", **web, spec=2, generation=2),
        event("DELETED", "ConfigMap", "old"),
        record(1, what="DELETED"),
    ]
    made.told = [("edge.web", Told(2.0, "Ready", 1, 1)), ("edge.web", Told(6.0, "Ready", 2, 2))]
    assert found(made, "old") == []


@pytest.mark.parametrize(
    ("rule", "events"),
    [
        ("I3", [record(3)]),
        ("I3", [record(1, digest="b" * 32)]),
        ("I4", [record(2), record(1)]),
        ("I7", [event("DELETED", "ConfigMap", "kept")]),
        (
            "I6",
            [event("ADDED", "Deployment", "web", spec=n % 2, generation=n + 1) for n in range(3)],
        ),
        ("I6", [event("ADDED", "Deployment", "web", spec=n, generation=2 * n) for n in range(2)]),
    ],
)
def test_what_must_never_be_is_found(rule: str, events: list[Event]) -> None:
    """Each by its own rule, and by no other."""
    made = history()
    made.events = events
    assert found(made, "old") == [rule]


def test_two_helms_of_one_release_are_found() -> None:
    """I5."""
    made = history()
    made.together = [(1.0, "chaos/web", (7, 8))]
    assert found(made) == ["I5"]


def test_helms_are_counted_by_their_cluster(tmp_path: Path) -> None:
    """Tests that run at the same time have the same releases on other clusters; the option counts
    before the environment.
    """
    folders = [tmp_path / name for name in ("world", "world-2")]
    pretend = [
        "sh",
        "-c",
        "read -r word",
        "helm",
        "upgrade",
        "--install",
        "web",
        "chart",
        "--namespace",
        "chaos",
    ]
    runs = [
        subprocess.Popen(
            [*pretend, *options],
            env={"KUBECONFIG": str(by_env)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for by_env, options in (
            (folders[0] / "config", []),
            (folders[1] / "config", []),
            (folders[0] / "config", ["--kubeconfig", str(folders[1] / "config")]),
        )
    ]
    first, second, third = (run.pid for run in runs)
    try:
        assert changing_helms(["chaos"], folders[0]) == {"chaos/web": {first}}
        assert changing_helms(["chaos"], folders[1]) == {"chaos/web": {second, third}}
        assert changing_helms(["other"], folders[0]) == {}
    finally:
        for run in runs:
            run.communicate()
    assert changing_helms(["chaos"], folders[1]) == {}


def test_ready_before_it_is_deployed_is_found() -> None:
    """I8: also when an older generation was deployed."""
    made = history()
    made.events = [record(1, at=1.0), record(2, at=9.0)]
    made.told = [("edge.web", Told(5.0, "Ready", 2, 2))]
    assert found(made) == ["I8"]
