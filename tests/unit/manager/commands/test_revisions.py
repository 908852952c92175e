"""Histories and rollbacks at the manager's door."""

from __future__ import annotations

from typing import Any

import pytest

from manager.commands.rollback import ClusterSelection, RollbackRequest
from tests.support.manager.api_client import BOUND, READER, Bench, run

BUNDLE = "/api/v1/bundles/team-a/web"


def test_what_is_said_reaches_the_service_with_the_name_of_who_says_it() -> None:
    """A reader may look and not go back; a bound token stays in its workspace; DELETE releases the
    whole bundle.
    """

    async def scene(bench: Bench) -> None:
        said = {"to": 3, "reason": "x" * 300, "clusters": ["a", "b"], "dryRun": True}
        answer = (await bench.call("POST", f"{BUNDLE}/rollback", json=said)).json()
        assert (answer["pinned"], answer["names"], answer["dryRun"]) == (3, ["a", "b"], True)
        assert "touched" not in answer
        person = (await bench.call("GET", "/api/v1/whoami")).json()["name"]
        wanted = RollbackRequest(3, "x" * 200, person, ClusterSelection(("a", "b")))
        assert bench.service.calls[-1] == f"rollback team-a/web {wanted}"
        await bench.call("POST", f"{BUNDLE}/rollback", json={"release": True, "all": True})
        assert (
            bench.service.calls[-1]
            == f"release team-a/web {RollbackRequest(person=person, release=True, everyone=True)}"
        )
        assert (await bench.call("DELETE", f"{BUNDLE}/rollback")).json()["pinned"] == 0
        assert (await bench.call("POST", f"{BUNDLE}/rollback", READER, json={})).status_code == 403
        assert (
            await bench.call("POST", "/api/v1/bundles/team-b/web/rollback", BOUND, json={})
        ).status_code == 403

    run(scene)


def test_histories() -> None:
    """Of a bundle, of a bundle on a cluster, of a cluster; for readers too, and for nobody in
    another workspace.
    """

    async def scene(bench: Bench) -> None:
        for plural, name in (("clusters", "a"), ("bundles", "web")):
            kind = {"clusters": "Cluster", "bundles": "Bundle"}[plural]
            bench.service.objects[kind, "team-a", name] = {"metadata": {"name": name}}
        assert (await bench.call("GET", f"{BUNDLE}/history", READER)).json() == {
            "items": [],
            "decisions": [],
        }
        assert (await bench.call("GET", f"{BUNDLE}/history?cluster=a", READER)).json() == {
            "items": []
        }
        assert (
            await bench.call("GET", "/api/v1/clusters/team-a/a/history?bundle=web", READER)
        ).json() == {"items": []}
        assert (await bench.call("GET", "/api/v1/clusters/team-a/b/history")).status_code == 404
        assert (
            await bench.call("GET", "/api/v1/clusters/team-b/a/history", BOUND)
        ).status_code == 403
        assert (await bench.call("GET", f"{BUNDLE}/history?clusters=a")).status_code == 400

    run(scene)


@pytest.mark.parametrize(
    "said",
    [
        {"to": -1},
        {"to": True},
        {"to": "3"},
        {"to": 1, "release": True},
        {"all": True},
        {"release": "yes"},
        {"clusters": "a"},
        {"clusters": [1]},
        {"selector": None},
        {"partition": 1},
        {"dryRun": 1},
        {"dry_run": True},
    ],
)
def test_a_wrong_rollback_is_refused(said: dict[str, Any]) -> None:
    """One line, and nothing reaches the service."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", f"{BUNDLE}/rollback", json=said)
        assert (answer.status_code, answer.json()["code"]) == (400, "usage")
        assert not [call for call in bench.service.calls if "rollback" in call or "release" in call]

    run(scene)
