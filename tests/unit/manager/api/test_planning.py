"""Plans at the manager's door: who may ask for what, and what is no request for one."""

from __future__ import annotations

import pytest

from tests.support.manager.api_client import ADMIN, BOUND, READER, Bench, run

PLAN = "/api/v1/plan"
ASK = {"workspace": "team-a", "gitrepo": "shop"}
SPEC = {"workspace": "x", "name": "shop-web", "archive": "0" * 64}


@pytest.mark.parametrize(
    ("token", "more", "status"),
    [
        (ADMIN, {}, 200),
        (READER, {"branch": "next"}, 200),
        (BOUND, {"commit": "a" * 40}, 200),
        (BOUND, {"workspace": "team-b"}, 403),
        ("", {}, 401),
        (ADMIN, {"document": {"kind": "GitRepo"}}, 200),
        (READER, {"document": {"kind": "GitRepo"}}, 403),
        (READER, {"document": {"kind": "GitRepo"}, "bundles": [SPEC]}, 200),
        (
            READER,
            {
                "bundles": [],
                "problems": [{"path": "web", "code": "invalid-file", "summary": "wrong"}],
            },
            200,
        ),
        (ADMIN, {"branch": "a", "commit": "b"}, 400),
        (ADMIN, {"gitrepo": "../x"}, 400),
        (ADMIN, {"workspace": ""}, 400),
        (ADMIN, {"bundles": [{"name": 1}]}, 400),
        (ADMIN, {"bundlse": []}, 400),
    ],
)
def test_who_may_ask_for_what(token: str, more: dict[str, object], status: int) -> None:
    """Reading is enough, within the workspace; a GitRepo in the request, which the manager would
    log in to, is an administrator's word.
    """

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", PLAN, token, json={**ASK, **more})
        assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.json()["gitrepo"] == "shop"

    run(scene)


def test_archives_are_named_by_their_digest() -> None:
    """Whole, never in a cache; a reader gets them, a stranger does not."""

    async def scene(bench: Bench) -> None:
        digest = bench.service.keep(b"an archive")
        for token in (ADMIN, READER, BOUND):
            answer = await bench.call("GET", f"/api/v1/archives/{digest}", token)
            assert (answer.status_code, answer.content) == (200, b"an archive")
            assert answer.headers["cache-control"] == "no-store"
        assert (await bench.call("GET", f"/api/v1/archives/{digest}", "")).status_code == 401
        for other in ("0" * 64, "nothing", digest[:12]):
            assert (await bench.call("GET", f"/api/v1/archives/{other}")).status_code == 404

    run(scene)


def test_a_request_that_is_too_large_is_refused() -> None:
    """8 MiB."""

    async def scene(bench: Bench) -> None:
        answer = await bench.call("POST", PLAN, json={**ASK, "commit": "x" * (8 * 1024 * 1024)})
        assert answer.status_code == 413

    run(scene)
