"""A canary through the real manager, real agents and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.cli.person import Person
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  a: '{value}'\n"
STRATEGY = (
    "rolloutStrategy:\n  approval: first\n  maxUnavailable: 1\n"
    "  partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}]\n"
)


def one_goes_back(fleet: Fleet, person: Person, held: Callable[[], dict[str, str]]) -> None:
    """`rollback --cluster` changes one cluster and says so; its history tells it; `--release` ends
    it.
    """
    seen = person.good("rollback", "apps", "--cluster", "c", "--dry-run")
    assert "would be pinned to revision 1: 1 cluster as the rollout allows" in seen
    assert "'2'" in held()["c"]
    said = person.good("rollback", "apps", "--cluster", "c", "--reason", "it leaks")
    assert "bundle/apps on 1 cluster (c) is pinned to revision 1" in said
    assert "fleetctl rollback apps --release --cluster c" in said
    fleet.until(held, lambda files: "'1'" in files["c"])
    fleet.all_ready(bundles=3)
    assert {name for name, text in held().items() if "'2'" in text} == {"a", "b"}
    rows = [
        line.split()
        for line in person.good(
            "bundle", "history", "apps", "--cluster", "c", "--no-headers"
        ).splitlines()
    ]
    assert [row[0] for row in rows] == ["1", "2", "1"]
    assert "rollback by admin (it leaks)" in person.good("cluster", "history", "c")
    assert "pinned to revision 1 by admin (it leaks)" in person.good(
        "bundle", "status", "apps", "--cluster", "c"
    )
    assert "1 cluster pinned to revision 1" in person.good("bundle", "list")
    person.good("rollback", "apps", "--release", "--cluster", "c")
    fleet.until(held, lambda files: "'2'" in files["c"])
    fleet.all_ready(bundles=3)
    refused = person.run("rollback", "apps", "-l", "no=where")
    assert (refused.status, "selects none of the 3 clusters" in refused.err) == (1, True)


def explained(person: Person) -> None:
    """`why` names who has paused it and why, and the way on; the screen has the rollout; a wait
    goes on until its deadline.
    """
    done = person.run("why", "a", "apps")
    assert done.status == 1
    assert "Paused       rollout apps by admin" in done.out
    assert "freeze" in done.out
    assert "fleetctl rollout resume apps" in done.out.splitlines()[-1] + done.out.splitlines()[-2]
    assert "fleetctl rollout resume apps" in person.good("status")
    late = person.run("wait", "rollout/apps", "--for", "completed", "--timeout", "1")
    assert (late.status, "is Paused" in late.err) == (6, True)


def test_a_canary_then_a_yes_then_one_by_one(
    clone: Clone, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """The canary alone gets the commit until a person approves; then the others, and the command
    line says so at each step.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env)
    try:
        clone.push({"m.yaml": MAP.format(value=1), "fleet.yaml": STRATEGY})
        fleet.gitrepo(clone.url)
        places = {name: tmp_path / name for name in ("a", "b", "c")}
        for name, place in places.items():
            fleet.agent(name, None, target_dir=place, **({"canary": "yes"} if name == "b" else {}))
        person = Person(tmp_path)
        pin, token = fleet.manager.ca_pin, str(fleet.manager.data_dir / "admin.token")
        person.good("login", fleet.manager.url, "--ca-pin", pin, "--token-file", token)

        def held() -> dict[str, str]:
            return {
                name: next((p.read_text() for p in place.glob("*.yaml")), "")
                for name, place in places.items()
            }

        fleet.until(held, lambda files: "'1'" in files["b"])
        fleet.until(
            lambda: person.good("rollout", "status", "apps"),
            lambda text: "fleetctl rollout approve" in text,
        )
        assert held()["a"] == held()["c"] == ""
        assert "approved" in person.good("rollout", "approve", "apps")
        fleet.all_ready(bundles=3)
        assert "Completed" in person.good("rollout", "status", "apps")

        clone.push({"m.yaml": MAP.format(value=2)})
        fleet.until(held, lambda files: "'2'" in files["b"])
        assert "'1'" in held()["a"]
        fleet.until(lambda: fleet.states()["a.apps"], lambda state: state == "OutOfSync")
        assert "paused" in person.good("rollout", "pause", "apps", "--reason", "freeze")
        explained(person)
        person.good("rollout", "resume", "apps")
        fleet.until(
            lambda: person.run("rollout", "approve", "apps").status, lambda status: status == 0
        )
        fleet.until(held, lambda files: all("'2'" in text for text in files.values()))
        fleet.all_ready(bundles=3)
        person.good("wait", "rollout/apps", "bundle/apps", "--for", "synced", "--timeout", "40")
        person.good("wait", "rollout/apps", "--for", "completed", "--timeout", "40")
        assert "Next: nothing: it is Ready" in person.good("why", "a", "apps")
        refused = person.run("rollout", "approve", "apps")
        assert (refused.status, "waits for no approval" in refused.err) == (3, True)
        assert person.run("rollout", "status", "nothing").status == 1
        one_goes_back(fleet, person, held)
    finally:
        fleet.stop()
