"""Requests that are authenticated by a session: what does not count, and that the agent's key stays
the root.
"""

from __future__ import annotations

import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.controlplane.sealed import open_sealed
from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.session_layout import (
    NEW_SESSION,
    SESSION_SECONDS,
    parse_offer,
    seal_context,
)
from manager.api import agent_auth
from tests.support.manager.api_client import Bench, run, signature
from tests.support.manager.fake_service import CLUSTER

DESIRED, STATUS = "/agent/v1/desired", "/agent/v1/status"
NEIGHBOUR = ClusterId("c-" + "2" * 20)


class Clocks:
    def __init__(self) -> None:
        self.wall, self.uptime = time.time(), 5.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds


def start(bench: Bench, clocks: Clocks) -> None:
    """A manager that starts now: it knows no session of an earlier run."""
    bench.use(
        agent_auth.Signatures(
            bench.service.collaborators.agents,
            bench.service.signer,
            lambda: clocks.wall,
            lambda: clocks.uptime,
        )
    )


async def new_session(
    bench: Bench, clocks: Clocks, cluster: ClusterId = CLUSTER
) -> tuple[str, bytes]:
    """(id, key) of the session that a signed request got."""
    sign = {"now": int(clocks.wall), "agent": cluster}
    answer = await bench.signed("GET", DESIRED, sign=sign, headers={wire.H_SESSION: NEW_SESSION})
    assert answer.status_code == 200
    offer = parse_offer(answer.headers[wire.H_SESSION_OFFER])
    assert offer is not None
    context = seal_context(cluster, offer.session)
    return offer.session, open_sealed(bench.key, context, wire.unb64(offer.sealed_key))


async def status_of(
    bench: Bench, clocks: Clocks, session: tuple[str, bytes], **sign: object
) -> tuple[int, str]:
    """(status, code) of a request with the session."""
    sign = {"now": int(clocks.wall), "session": session} | sign
    answer = await bench.signed("GET", DESIRED, sign=sign)
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else ""


REFUSED = (401, "session-ended")


def test_a_session_authenticates_polls_reports_and_archives():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        sign = {"now": int(clocks.wall), "session": await new_session(bench, clocks)}
        assert (await bench.signed("GET", DESIRED, sign=sign)).status_code == 200
        body = msgspec.json.encode(wire.StatusRequest(instance="instance1", seq=1))
        assert (await bench.signed("POST", STATUS, body, sign=sign)).status_code == 204
        archive = await bench.signed("GET", f"/agent/v1/archives/{bench.service.digest}", sign=sign)
        assert archive.status_code == 200

    run(scene)


def test_a_session_is_offered_only_to_a_signature_that_asks_for_it():
    """An older agent's answers stay as small as they were; a session cannot renew itself."""

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session = await new_session(bench, clocks)
        now = {"now": int(clocks.wall)}
        for sign, headers in (
            (now, {}),
            (now | {"session": session}, {}),
        ):
            answer = await bench.signed("GET", DESIRED, sign=sign, headers=headers)
            assert answer.status_code == 200
            assert wire.H_SESSION_OFFER not in answer.headers
        forged = {wire.H_SESSION: NEW_SESSION}
        answer = await bench.signed("GET", DESIRED, sign=now | {"session": session}, headers=forged)
        assert (answer.status_code, answer.json()["code"]) == (401, "not-enrolled")
        assert wire.H_SESSION_OFFER not in answer.headers

    run(scene)


def test_a_wrong_mac_is_refused():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session, key = await new_session(bench, clocks)
        assert await status_of(bench, clocks, (session, bytes(32))) == REFUSED
        assert await status_of(bench, clocks, (session, key[:-1] + b"x")) == REFUSED
        for mac in ("A", "A" * 43, "\xe9", "A" * 127):
            answer = await bench.signed(
                "GET",
                DESIRED,
                sign={"now": int(clocks.wall), "session": (session, key)},
                headers={wire.H_SIGNATURE: mac.encode("latin-1")},
            )
            assert (answer.status_code, answer.json()["code"]) == REFUSED

    run(scene)


@pytest.mark.parametrize(
    "session",
    ["x", "new ", "0" * 8, "0" * 8 + "-9999999999", "0" * 8 + "-" + "9" * 11, "-", "é", "0-1"],
)
def test_an_id_that_this_manager_did_not_give_is_refused(session: str):
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        _, key = await new_session(bench, clocks)
        sign = {"now": int(clocks.wall), "session": (session, key)}
        headers = {wire.H_SESSION: session.encode("latin-1")}
        answer = await bench.signed("GET", DESIRED, sign=sign, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == REFUSED

    run(scene)


def test_an_id_that_is_too_long_is_refused_without_a_look():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        assert await status_of(bench, clocks, ("0" * 64, bytes(32))) == (401, "login")

    run(scene)


def test_a_session_cannot_be_made_longer():
    """Its end is part of what its key is derived from."""

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session, key = await new_session(bench, clocks)
        number, _, end = session.partition("-")
        assert await status_of(bench, clocks, (f"{number}-{int(end) + 3600}", key)) == REFUSED

    run(scene)


def test_a_session_ends_after_an_hour_by_the_managers_uptime():
    """Also when somebody sets the wall clock."""

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session = await new_session(bench, clocks)
        clocks.wall += 1_000_000
        clocks.pass_time(SESSION_SECONDS - 1)
        assert (await status_of(bench, clocks, session))[0] == 200
        clocks.pass_time(2)
        assert await status_of(bench, clocks, session) == REFUSED

    run(scene)


def test_a_session_ends_with_the_run_of_the_manager():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session = await new_session(bench, clocks)
        clocks.pass_time(1)
        start(bench, clocks)
        assert await status_of(bench, clocks, session) == REFUSED

    run(scene)


def test_a_session_of_another_cluster_is_refused():
    """Also when both clusters have the same key."""

    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        bench.service.agents[NEIGHBOUR] = bench.key.public_key().public_bytes_raw()
        session = await new_session(bench, clocks)
        assert await status_of(bench, clocks, session, agent=NEIGHBOUR) == REFUSED
        own = await new_session(bench, clocks, NEIGHBOUR)
        assert (await status_of(bench, clocks, own, agent=NEIGHBOUR))[0] == 200

    run(scene)


def test_a_session_ends_when_the_cluster_is_enrolled_again_or_deleted():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session = await new_session(bench, clocks)
        bench.service.agents[CLUSTER] = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        assert await status_of(bench, clocks, session) == REFUSED
        del bench.service.agents[CLUSTER]
        assert await status_of(bench, clocks, session) == (401, "not-enrolled")

    run(scene)


def test_a_replay_and_a_wrong_clock_are_refused_as_with_a_signature():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        session = await new_session(bench, clocks)
        assert (await status_of(bench, clocks, session, nonce="nonce-nonce"))[0] == 200
        assert await status_of(bench, clocks, session, nonce="nonce-nonce") == (401, "login")
        clocks.pass_time(1000)
        late = int(clocks.wall) - 301
        assert await status_of(bench, clocks, session, now=late) == (401, "wrong-clock")

    run(scene)


def test_the_mac_covers_method_path_body_and_instance():
    async def scene(bench: Bench) -> None:
        clocks = Clocks()
        start(bench, clocks)
        sign = {"now": int(clocks.wall), "session": await new_session(bench, clocks)}
        good = signature(bench.key, "GET", DESIRED, **sign)
        for method, path, body, changes in (
            ("POST", STATUS, b"{}", {}),
            ("GET", f"{DESIRED}?a=b", b"", {}),
            ("GET", DESIRED, b"", {wire.H_INSTANCE: "instance2"}),
            ("GET", DESIRED, b"", {wire.H_NONCE: "another-nonce"}),
            ("GET", DESIRED, b"", {wire.H_TIME: str(sign["now"] + 1)}),
        ):
            answer = await bench.client.request(method, path, content=body, headers=good | changes)
            assert (answer.status_code, answer.json()["code"]) == REFUSED

    run(scene)
