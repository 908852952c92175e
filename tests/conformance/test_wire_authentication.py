"""Frozen requests of agents: what the version before sends still authenticates, and what this
version sends has not changed by accident.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.session_layout import offer_bytes, request_mac, seal_context
from manager.api.agent_auth import Signatures
from tests.support.manager.api_client import Bench, run
from tests.support.manager.fake_service import CLUSTER

_SEED = bytes(range(32))
_TIME, _NONCE = 1_800_000_000, "frozen-nonce-1"
_MESSAGE = (
    b"fleet-request-v1\nGET\n/agent/v1/desired\n"
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
    b"c-11111111111111111111\n1800000000\nfrozen-nonce-1\ninstance1"
)
# The headers of an agent from before sessions.
_HEADERS = {
    "fleet-agent": "c-11111111111111111111",
    "fleet-time": "1800000000",
    "fleet-nonce": "frozen-nonce-1",
    "fleet-instance": "instance1",
    "fleet-signature": (
        "U6to8ZBo2alqDLMHLvh_oRo0I7RwSffv87nTA3GZO-5Yrql_1bRrWl3CqwFkQXSs2XGCrCBSig3M1aUMxvR_Bg"
    ),
}
_KEY = bytes(range(32, 64))
_MAC = "YaFIbMRIhpN-jf7ziLnWWFPPQkwlShmLLnhrLFzmn-8"


def test_the_bytes_that_are_signed_are_frozen():
    message = wire.request_bytes(
        "GET",
        "/agent/v1/desired",
        b"",
        agent=CLUSTER,
        time=_TIME,
        nonce=_NONCE,
        instance="instance1",
    )
    assert message == _MESSAGE
    key = Ed25519PrivateKey.from_private_bytes(_SEED)
    assert wire.b64(key.sign(message)) == _HEADERS["fleet-signature"]


def test_the_bytes_of_a_session_are_frozen():
    assert request_mac(_KEY, _MESSAGE) == _MAC
    cluster = ClusterId("c-11111111111111111111")
    assert seal_context(cluster, "0123abcd-3600") == (
        b"fleet-session-v1\nc-11111111111111111111\n0123abcd-3600"
    )
    assert offer_bytes(cluster, "0123abcd-3600", "AAAA") == (
        b"fleet-session-v1\nc-11111111111111111111\n0123abcd-3600\nAAAA"
    )


def test_an_agent_from_before_sessions_is_answered_as_before():
    """The answer has no header that it does not know."""

    async def scene(bench: Bench) -> None:
        key = Ed25519PrivateKey.from_private_bytes(_SEED)
        bench.service.agents[CLUSTER] = key.public_key().public_bytes_raw()
        bench.use(
            Signatures(
                bench.service.collaborators.agents,
                bench.service.signer,
                lambda: float(_TIME),
                lambda: 0.0,
            )
        )
        held = {"if-none-match": bench.service.document.etag}
        answer = await bench.client.get("/agent/v1/desired", headers=_HEADERS | held)
        assert answer.status_code == 304
        assert sorted(answer.headers) == ["etag", "fleet-next-poll"]

    run(scene)
