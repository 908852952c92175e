"""API bodies, headers and signatures that attack: each refused with one line, nothing handed on."""

from __future__ import annotations

import time

import msgspec
import pytest

from fleetctl.core.model import wire
from manager.api import agent_auth
from tests.support.manager.api_client import ADMIN, Bench, run, signature
from tests.support.manager.fake_service import CLUSTER

REPO = "/api/v1/objects/gitrepos/team-a/shop"
STATUS = "/agent/v1/status"


@pytest.mark.parametrize(
    "body",
    [
        b'{"spec": {}, "spec": {}}',
        b'{"a": ' * 100 + b"1" + b"}" * 100,
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"[]",
        b"{",
        b"x" * (256 * 1024 + 1),
    ],
    ids=[
        "duplicate",
        "deep",
        "bottomless",
        "nan",
        "giant-number",
        "surrogate",
        "not-utf8",
        "utf16",
        "list",
        "half",
        "large",
    ],
)
def test_hostile_json_is_refused_with_one_line(body):
    """Nothing reaches the service, the answer is a problem of one line with exit status 2."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("PUT", REPO, content=body)
        found = answer.json()
        assert answer.status_code in {400, 413}
        assert found["exitStatus"] == 2
        assert "\n" not in found["summary"]
        assert bench.service.objects == {}

    run(scene)


@pytest.mark.parametrize(
    "plural", ["gitreporestrictions", "policies", "policys", "bundlenamespacemappings"]
)
def test_kinds_that_nobody_would_enforce_are_refused(plural):
    """They narrow rights in Fleet; stored without effect they would be an empty promise."""

    async def scene(bench: Bench) -> None:
        for method in ("PUT", "GET", "DELETE"):
            answer = await bench.call(
                method,
                f"/api/v1/objects/{plural}/team-a/x",
                **({"json": {}} if method == "PUT" else {}),
            )
            assert (answer.json()["code"], answer.json()["summary"]) == (
                "not-enforced",
                "refused: not enforced in this version",
            )
        assert bench.service.objects == {}

    run(scene)


def test_hostile_reports_are_refused():
    """Oversized, duplicate-keyed and mistyped reports never reach the service, though rightly
    signed.
    """

    async def scene(bench: Bench) -> None:
        large = b" " * (wire.MAX_STATUS_BYTES + 1)
        assert (await bench.signed("POST", STATUS, large)).status_code == 413
        for body in (
            b'{"instance":"instance1","seq":1,"seq":2}',
            b'{"instance":"instance1","seq":"1"}',
            b'{"instance":[]}',
        ):
            assert (await bench.signed("POST", STATUS, body)).status_code == 400
        assert bench.service.reports == []

    run(scene)


def test_signature_holds_for_one_method_path_and_body_only():
    """Bytes signed for one request are worth nothing for another, nor a second time."""

    async def scene(bench: Bench) -> None:
        good = msgspec.json.encode(wire.StatusRequest(instance="instance1", seq=1))
        headers = signature(bench.key, "POST", STATUS, good)
        changed = msgspec.json.encode(wire.StatusRequest(instance="instance1", seq=9))
        assert (
            await bench.client.post(STATUS, content=changed, headers=headers)
        ).status_code == 401
        assert (
            await bench.client.post(STATUS + "?x=1", content=good, headers=headers)
        ).status_code == 401
        assert (await bench.client.post(STATUS, content=good, headers=headers)).status_code == 204
        assert (await bench.client.post(STATUS, content=good, headers=headers)).status_code == 401
        assert len(bench.service.reports) == 1

    run(scene)


def test_another_clusters_name_with_the_own_key_is_refused():
    """The key decides, not the header; the answer does not tell which clusters exist."""

    async def scene(bench: Bench) -> None:
        known = await bench.signed("GET", "/agent/v1/desired", headers={wire.H_SIGNATURE: "A" * 86})
        unknown = await bench.signed(
            "GET", "/agent/v1/desired", headers={wire.H_AGENT: "c-" + "2" * 20}
        )
        assert known.json() == unknown.json()
        assert known.status_code == 401

    run(scene)


def test_nonces_are_bounded_per_agent(monkeypatch: pytest.MonkeyPatch):
    """An agent that floods is told to wait; its own old nonces stay refused."""
    monkeypatch.setattr(agent_auth, "_NONCES_PER_AGENT", 5)

    async def scene(bench: Bench) -> None:
        codes = [
            (
                await bench.signed("GET", "/agent/v1/desired", sign={"nonce": f"nonce-{n:03}"})
            ).status_code
            for n in range(7)
        ]
        assert codes == [200] * 5 + [429, 429]
        assert (
            await bench.signed("GET", "/agent/v1/desired", sign={"nonce": "nonce-000"})
        ).status_code == 401

    run(scene)


@pytest.mark.parametrize(
    "path",
    [
        "/install/../admin.token",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2fui.py",
        "/install/%00",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out(path):
    """Only known names are served."""

    async def scene(bench: Bench) -> None:
        answer = await bench.client.get(path)
        assert answer.status_code in {400, 404}
        assert answer.json()["code"] in {"usage", "not-found"}

    run(scene)


@pytest.mark.parametrize("name", ["%0a", "a%1b[31m", "a%20b", "%00"])
def test_names_with_control_characters_go_nowhere(name):
    """They are refused before the service sees them."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("PUT", f"/api/v1/objects/gitrepos/team-a/{name}", json={})
        assert (answer.status_code, answer.json()["exitStatus"]) == (400, 2)
        assert bench.service.objects == {}

    run(scene)


def test_another_site_cannot_log_a_browser_in_or_change_things():
    """A foreign origin and a plain form are refused."""

    async def scene(bench: Bench) -> None:
        code = (await bench.call("POST", "/api/v1/ui-code", ADMIN)).json()["code"]
        foreign = await bench.client.post(
            "/login", json={"code": code}, headers={"origin": "https://evil.test"}
        )
        form = await bench.client.post(
            "/login", content=b'{"code":"x"}', headers={"content-type": "text/plain"}
        )
        assert (foreign.status_code, form.status_code) == (403, 400)
        assert (await bench.client.post("/logout")).status_code == 403

    run(scene)


def test_clock_far_away_and_odd_numbers_are_refused():
    """Giant, negative and non-ASCII times end in 401, not in an error of ours."""

    async def scene(bench: Bench) -> None:
        for stamp in ("9" * 40, "-1", "1e9", str(int(time.time())) + " x"):
            answer = await bench.signed("GET", "/agent/v1/desired", headers={wire.H_TIME: stamp})
            assert answer.status_code == 401
        assert CLUSTER in bench.service.agents

    run(scene)
