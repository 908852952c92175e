"""Held removals and labels of many clusters at the manager's door."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.manager.api_client import ADMIN, BOUND, READER, Bench, run

LABELS, HELD = "/api/v1/clusters/team-a/labels", "/api/v1/held"
HOLD = {"workspace": "team-a", "bundle": "web", "removals": 12}


def test_what_is_held_is_listed_and_confirmed_by_its_number() -> None:
    """A bound token sees its workspace's; a reader may look and not confirm."""

    async def scene(bench: Bench) -> None:
        bench.service.held = [HOLD, HOLD | {"workspace": "team-b"}]
        assert len((await bench.call("GET", HELD)).json()["items"]) == 2
        assert (await bench.call("GET", HELD, BOUND)).json()["items"] == [HOLD]
        confirm = f"{HELD}/team-a/web/confirm"
        assert (await bench.call("POST", confirm, READER, json={"removals": 12})).status_code == 403
        assert (await bench.call("POST", confirm, json={"removals": 11})).status_code == 409
        assert (
            await bench.call("POST", f"{HELD}/team-b/web/confirm", BOUND, json={"removals": 12})
        ).status_code == 403
        assert (await bench.call("POST", confirm, json={"removals": 12})).json() == {
            "confirmed": 12
        }

    run(scene)


def test_labels_of_many_clusters() -> None:
    """What is sent reaches the service as it was said."""

    async def scene(bench: Bench) -> None:
        for name in ("a", "b"):
            await bench.call(
                "PUT", f"/api/v1/objects/clusters/team-a/{name}", json={"metadata": {"name": name}}
            )
        said = {"labels": {"env": None}, "names": ["a", "b"], "dryRun": True, "removals": 3}
        answer = (await bench.call("POST", LABELS, json=said)).json()
        assert (answer["clusters"], answer["dryRun"]) == (2, True)
        assert bench.service.calls[-1] == "label ['a', 'b']  {'env': None} True 3"
        assert (await bench.call("POST", LABELS, READER, json=said)).status_code == 403
        assert (
            await bench.call("POST", "/api/v1/clusters/team-b/labels", BOUND, json=said)
        ).status_code == 403

    run(scene)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"labels": []},
        {"labels": {"a": 1}},
        {"labels": {"a": "b"}, "names": "x"},
        {"labels": {"a": "b"}, "names": [1]},
        {"labels": {"a": "b"}, "selector": 1},
        {"labels": {"a": "b"}, "names": ["x"], "removals": True},
        {"labels": {"a": "b"}, "names": ["x"], "removals": -1},
        {"labels": {"a": "b"}, "names": ["x"], "dryRun": "yes"},
        {"labels": {"a": "b"}, "names": ["x"], "force": True},
        {"labels": {"a": "b"}, "names": ["x"] * 10_001},
    ],
)
def test_wrong_label_requests_are_refused(said: dict[str, Any]) -> None:
    """With 400 and a next step, before the service is asked."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", LABELS, ADMIN, json=said)
        assert (
            answer.status_code,
            answer.json()["exitStatus"],
            bool(answer.json()["nextStep"]),
        ) == (400, 2, True)

    run(scene)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"removals": "12"},
        {"removals": True},
        {"removals": 1, "digest": 5},
        {"removals": 1, "all": True},
    ],
)
def test_wrong_confirmations_are_refused(said: dict[str, Any]) -> None:
    """With 400 and a next step."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", f"{HELD}/team-a/web/confirm", ADMIN, json=said)
        assert (answer.status_code, bool(answer.json()["nextStep"])) == (400, True)

    run(scene)
