"""The people's API at the manager's door: rights, strictness, logins and problems."""

from __future__ import annotations

import pytest

from manager.api.auth import COOKIE, Sessions
from manager.api.routes import objects
from tests.support.manager.api_client import ADMIN, BOUND, READER, Bench, run

REPO = "/api/v1/objects/gitrepos/team-a/shop"


def test_object_lives_through_put_get_patch_and_delete():
    """Each call reaches the service and answers as docs/api.md says."""

    async def scene(bench: Bench) -> None:
        doc = {"kind": "GitRepo", "metadata": {"name": "shop"}, "spec": {"repo": "https://x"}}
        assert (await bench.call("PUT", REPO, json=doc)).json()["result"] == "created"
        assert (await bench.call("GET", REPO)).json()["spec"] == doc["spec"]
        labelled = await bench.call("PATCH", REPO + "/labels", json={"env": "prod", "old": None})
        assert labelled.json()["metadata"]["labels"]["env"] == "prod"
        listed = (
            await bench.call(
                "GET", "/api/v1/objects/gitrepos?workspace=team-a&state=Ready,NotReady"
            )
        ).json()
        assert (listed["kind"], len(listed["items"])) == ("List", 1)
        assert (await bench.call("POST", "/api/v1/gitrepos/team-a/shop/sync")).status_code == 202
        assert (await bench.call("GET", REPO + "/removal")).json()["deployments"] == 0
        assert (await bench.call("DELETE", REPO + "?uninstall=true")).json()["result"] == "deleted"
        gone = await bench.call("GET", REPO)
        assert (gone.status_code, gone.json()["exitStatus"]) == (404, 1)

    run(scene)


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "code"),
    [
        ("GET", REPO, "", 401, "login"),
        ("GET", REPO, "wrong", 401, "login"),
        ("PUT", REPO, READER, 403, "refused"),
        ("DELETE", REPO, READER, 403, "refused"),
        ("GET", REPO.replace("team-a", "team-b"), BOUND, 403, "refused"),
        ("GET", "/api/v1/objects/bundles?workspace=team-b", BOUND, 403, "refused"),
        ("GET", "/api/v1/tokens", BOUND, 403, "refused"),
        ("GET", "/api/v1/tokens", READER, 403, "refused"),
        ("POST", "/api/v1/tokens", BOUND, 403, "refused"),
        ("GET", "/metrics", BOUND, 403, "refused"),
        ("GET", "/metrics", "", 401, "login"),
    ],
)
def test_rights_are_enforced(method, path, token, status, code):
    """Reader tokens change nothing, bound tokens see their workspace, nobody sees without a
    token.
    """

    async def scene(bench: Bench) -> None:
        answer = await bench.call(
            method, path, token, json={} if method in {"PUT", "POST"} else None
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["nextStep"]

    run(scene)


def test_bound_token_lists_only_its_own_workspace():
    """Without a workspace in the query its own is meant, not all."""

    async def scene(bench: Bench) -> None:
        await bench.call("GET", "/api/v1/objects/clusters", BOUND)
        assert bench.service.calls[-1].startswith("list Cluster team-a")

    run(scene)


def fill(bench: Bench, count: int) -> None:
    for number in range(count):
        name = f"n-{number:04}"
        document = {"kind": "Cluster", "metadata": {"name": name, "namespace": "team-a"}}
        bench.service.objects["Cluster", "team-a", name] = document


def test_client_without_limit_gets_the_whole_list_as_before():
    """Clients that know no pages see no key that they do not know, however many objects exist."""

    async def scene(bench: Bench) -> None:
        fill(bench, 1201)
        answer = (await bench.call("GET", "/api/v1/objects/clusters")).json()
        assert list(answer) == ["kind", "apiVersion", "items"]
        assert (answer["kind"], answer["apiVersion"]) == ("List", "v1")
        names = [item["metadata"]["name"] for item in answer["items"]]
        assert names == [f"n-{number:04}" for number in range(1201)]

    run(scene)


def test_list_that_is_too_large_without_limit_is_refused(monkeypatch):
    """The error names the parameter that helps."""

    async def scene(bench: Bench) -> None:
        fill(bench, 600)
        answer = await bench.call("GET", "/api/v1/objects/clusters")
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert "`limit`" in answer.json()["nextStep"]
        assert (await bench.call("GET", "/api/v1/objects/clusters?limit=5")).status_code == 200

    monkeypatch.setattr(objects, "MAX_LIST_BYTES", 1000)
    run(scene)


def test_list_with_limit_is_a_page_as_in_kubernetes():
    """`metadata.continue` requests the next page, and is empty at the end."""

    async def scene(bench: Bench) -> None:
        fill(bench, 5)
        path = "/api/v1/objects/clusters?notReady=true&limit=2"
        first = (await bench.call("GET", path)).json()
        assert first["metadata"] == {"continue": "2", "remainingItemCount": 3}
        last = (await bench.call("GET", f"{path}&continue=4")).json()
        assert last["metadata"] == {"continue": ""}
        assert [item["metadata"]["name"] for item in last["items"]] == ["n-0004"]
        wrong = await bench.call("GET", "/api/v1/objects/clusters?limit=-1")
        assert wrong.status_code == 400

    run(scene)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/v1/objects/gitrepos?selektor=a", "Did you mean selector?"),
        ("/api/v1/objects/gitrepo", "Did you mean gitrepos?"),
        ("/api/v1/statuss", "Did you mean /api/v1/status?"),
        ("/api/v1/changes?wait=x", "Write wait=0."),
        ("/api/v1/status?workspace=a&workspace=b", "Give it once."),
    ],
)
def test_mistakes_name_the_nearest(path, hint):
    """An unknown word is an error with the word that was probably meant."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("GET", path)
        assert answer.status_code in {400, 404}
        assert answer.json()["nextStep"] == hint

    run(scene)


def test_wrong_method_says_which_is_right():
    """405 is a problem too."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", "/api/v1/status")
        assert (answer.status_code, answer.json()["nextStep"]) == (405, "Use GET, HEAD.")

    run(scene)


def test_bug_is_logged_and_shows_no_trace(caplog):
    """An error of ours is 500, exit 70, and nothing of it travels."""

    async def scene(bench: Bench) -> None:
        bench.service.broken = RuntimeError("secret detail")
        answer = await bench.call("GET", "/api/v1/objects/gitrepos")
        assert (answer.status_code, answer.json()["code"], answer.json()["exitStatus"]) == (
            500,
            "bug",
            70,
        )
        assert "secret detail" not in answer.text

    run(scene)
    assert "secret detail" in caplog.text


def test_page_login_works_once_and_changes_nothing_without_the_page():
    """A code gives a cookie once; the cookie reads; it changes things only with the page's
    header.
    """

    async def scene(bench: Bench) -> None:
        code = (await bench.call("POST", "/api/v1/ui-code", READER)).json()["code"]
        assert (await bench.client.get("/")).headers["location"] == "/login"
        login = await bench.client.post("/login", json={"code": code})
        cookie = login.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "secure", "samesite=strict", COOKIE))
        assert (await bench.client.post("/login", json={"code": code})).status_code == 401
        assert (await bench.client.get("/api/v1/whoami")).json()["name"] == "reader"
        page = await bench.client.get("/")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await bench.client.put(REPO, json={})).json()[
            "summary"
        ] == "a cookie alone changes nothing"
        await bench.service.revoke_token("reader")
        assert (await bench.client.get("/api/v1/whoami")).status_code == 401

    run(scene)


def test_codes_and_sessions_end():
    """A code is good for 60 s, a cookie for 12 h."""
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    cookie = sessions.redeem(sessions.code("t"))
    late = sessions.code("t")
    now[0] = 61
    with pytest.raises(Exception, match="older than a minute"):
        sessions.redeem(late)
    assert sessions.token(cookie) == "t"
    now[0] = 12 * 3600 + 1
    assert sessions.token(cookie) is None


def test_registration_says_what_to_paste():
    """Token, pin, address and the agent's digest, empty while there is no agent file."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call(
            "POST",
            "/api/v1/clusters/team-a/paris/register",
            ADMIN,
            json={"labels": {"env": "prod"}},
        )
        found = answer.json()
        assert answer.status_code == 201
        assert {"token", "expires", "caPin", "url", "agentSha256", "agentPath"} == set(found)
        assert (
            (await bench.client.get("/install/fleet-agent.pyz"))
            .json()["nextStep"]
            .startswith("Put the file")
        )
        assert (await bench.client.get("/install/ca.pem")).content == b"PEM"

    run(scene)


def test_tokens_and_metrics_answer():
    """A token's value is shown once; metrics are Prometheus text."""

    async def scene(bench: Bench) -> None:
        made = await bench.call(
            "POST", "/api/v1/tokens", json={"name": "ci", "role": "read", "ttlSeconds": 60}
        )
        assert made.status_code == 201
        listed = (await bench.call("GET", "/api/v1/tokens")).text
        assert "ci" in listed
        assert made.json()["token"] not in listed
        assert 'fleet_clusters{state="Ready"} 1' in (await bench.call("GET", "/metrics")).text
        assert (await bench.client.get("/readyz")).text == "ready\n"

    run(scene)


def test_schemas_need_no_login():
    """Editors fetch them."""

    async def scene(bench: Bench) -> None:
        found = await bench.call("GET", "/schemas/fleet.yaml.json", token="")
        assert found.status_code == 200
        assert found.json()["properties"]["helm"]
        assert (await bench.call("GET", "/schemas/gone.json", token="")).status_code == 404

    run(scene)
