"""Wire v1 at the manager's door: signatures, clocks, nonces, polls and archives."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from manager.security.signing import verify
from tests.support.manager.api_client import Bench, run
from tests.support.manager.fake_service import CLUSTER

DESIRED, STATUS = "/agent/v1/desired", "/agent/v1/status"


def test_poll_gives_the_document_and_then_304():
    """The same ETag is answered with 304 and the next poll."""

    async def scene(bench: Bench) -> None:
        first = await bench.signed("GET", DESIRED)
        assert (first.status_code, first.content) == (200, bench.service.document.body)
        again = await bench.signed("GET", DESIRED, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers[wire.H_NEXT_POLL]) == (
            304,
            b"",
            "900",
        )

    run(scene)


def test_long_poll_answers_when_the_document_changes_and_when_the_manager_stops():
    """A waiting agent gets the new document at once, and a 304 when the manager closes."""

    async def scene(bench: Bench) -> None:
        held = {"if-none-match": bench.service.document.etag, "prefer": "wait=200"}
        waiting = asyncio.ensure_future(bench.signed("GET", DESIRED, headers=held))
        while not bench.service.changed.is_set() and not waiting.done():
            await asyncio.sleep(0)
            bench.service.change("two")
        assert (await waiting).status_code == 200
        held["if-none-match"] = bench.service.document.etag
        waiting = asyncio.ensure_future(bench.signed("GET", DESIRED, headers=held))
        bench.parts.closing.set()
        assert (await waiting).status_code == 304

    run(scene)


@pytest.mark.parametrize(
    "broken", [wire.H_AGENT, wire.H_NONCE, wire.H_TIME, wire.H_INSTANCE, wire.H_SIGNATURE]
)
def test_request_without_one_of_its_headers_is_refused(broken):
    """Every part of the signature is needed."""

    async def scene(bench: Bench) -> None:
        answer = await bench.signed("GET", DESIRED, headers={broken: ""})
        assert (answer.status_code, answer.json()["code"]) == (401, "login")

    run(scene)


def test_wrong_clock_gets_the_signed_time_once_the_signature_is_right():
    """The manager's time is bound to the nonce; a stranger gets none."""

    async def scene(bench: Bench) -> None:
        answer = await bench.signed(
            "GET", DESIRED, sign={"now": int(time.time()) - 301, "nonce": "nonce-nonce"}
        )
        stamp = int(answer.headers[wire.H_MANAGER_TIME])
        signature = wire.unb64(answer.headers[wire.H_MANAGER_TIME_SIGNATURE])
        assert answer.status_code == 401
        assert verify(
            bench.parts.signer.public_key, signature, wire.time_bytes(stamp, "nonce-nonce")
        )
        bench.key = Ed25519PrivateKey.generate()
        stranger = await bench.signed("GET", DESIRED, sign={"now": 5})
        assert stranger.status_code == 401
        assert wire.H_MANAGER_TIME not in stranger.headers

    run(scene)


def test_status_is_handed_on_and_must_name_the_instance_that_signed():
    """204 after the report; another instance in the body is refused."""

    async def scene(bench: Bench) -> None:
        good = msgspec.json.encode(wire.StatusRequest(instance="instance1", seq=1))
        assert (await bench.signed("POST", STATUS, good)).status_code == 204
        bad = msgspec.json.encode(wire.StatusRequest(instance="instance2", seq=2))
        assert (await bench.signed("POST", STATUS, bad)).status_code == 400
        assert [r.seq for r in bench.service.reports] == [1]

    run(scene)


def test_two_agents_with_one_key_are_both_told():
    """The service's word becomes a 409."""

    async def scene(bench: Bench) -> None:
        bench.service.twin = "two agents take turns: 10.0.0.1 and 10.0.0.2"
        answer = await bench.signed("GET", DESIRED)
        assert (answer.status_code, answer.json()["code"]) == (409, "duplicate-agent")

    run(scene)


def test_archive_resumes_from_an_offset():
    """A range gives 206 and the rest; one past the end gives 416; a foreign digest 404."""

    async def scene(bench: Bench) -> None:
        path = f"/agent/v1/archives/{bench.service.digest}"
        whole = await bench.signed("GET", path)
        assert whole.content == bench.service.archive
        rest = await bench.signed("GET", path, headers={"range": "bytes=100000-"})
        assert (rest.status_code, rest.content) == (206, bench.service.archive[100_000:])
        assert rest.headers["content-range"] == "bytes 100000-149999/150000"
        assert (
            await bench.signed("GET", path, headers={"range": "bytes=150000-"})
        ).status_code == 416
        assert (await bench.signed("GET", "/agent/v1/archives/" + "0" * 64)).status_code == 404

    run(scene)


def test_enrolment_answers_with_the_keys_to_pin():
    """A token works once; failures from one address end in 429."""

    async def scene(bench: Bench) -> None:
        bench.service.enrol_tokens = {"secret"}
        public = wire.b64(bench.key.public_key().public_bytes_raw())
        proof = wire.b64(bench.key.sign(wire.enrol_bytes("secret", public)))
        message = msgspec.json.encode(
            wire.EnrolRequest(token="secret", public_key=public, proof=proof)
        )
        good = await bench.client.post("/agent/v1/enrol", content=message)
        assert good.json()["clusterId"] == CLUSTER
        codes = [
            (await bench.client.post("/agent/v1/enrol", content=message)).status_code
            for _ in range(21)
        ]
        assert codes == [401] * 20 + [429]

    run(scene)


@pytest.mark.parametrize("form", ["{0}", "W/{0}", '"x", W/"y" ,{0}', 'W/"x",W/{0}', "*"])
def test_every_form_of_if_none_match_is_understood(form):
    """A proxy may weaken a tag or send a list: the agent must not get its whole document again at
    each poll.
    """

    async def scene(bench: Bench) -> None:
        tag = bench.service.document.etag
        answer = await bench.signed(
            "GET", "/agent/v1/desired", headers={"if-none-match": form.format(tag)}
        )
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        bench.service.change("two")
        changed = await bench.signed(
            "GET", "/agent/v1/desired", headers={"if-none-match": form.format(tag)}
        )
        assert changed.status_code == (304 if form == "*" else 200)

    run(scene)
