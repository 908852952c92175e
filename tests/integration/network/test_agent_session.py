"""An agent and its session: it is used as long as it counts, and its end costs one more request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.controlplane import client
from agent.controlplane.client import Uplink
from agent.controlplane.identity import Identity
from agent.controlplane.session import ManagerSession
from fleetctl.core.model import wire
from fleetctl.core.model.errors import NotEnrolled
from fleetctl.core.model.ids import ClusterId, ClusterName, Workspace
from fleetctl.core.model.session_layout import SESSION_SECONDS, format_offer, parse_offer
from manager.api import agent_auth
from manager.api.server import http_protocol
from manager.security.agent_sessions import AgentSessions
from manager.security.signing import Signer
from tests.support.manager.fake_service import CLUSTER
from tests.support.manager.live_manager import Live


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    manager = Live(tmp_path_factory.mktemp("live"))
    yield manager
    manager.stop()


class CountingKey:
    """A private key that counts its signatures."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key, self.signatures = key, 0

    def sign(self, data: bytes) -> bytes:
        self.signatures += 1
        return self._key.sign(data)

    def private_bytes_raw(self) -> bytes:
        return self._key.private_bytes_raw()


def identity_of(signer: Signer, **fields: str) -> Identity:
    return Identity(
        url=fields.get("url", ""),
        ca_pem=fields.get("ca_pem", ""),
        cluster_id=ClusterId(fields.get("cluster", CLUSTER)),
        cluster=ClusterName("paris"),
        workspace=Workspace("fleet-default"),
        keys={signer.key_id: wire.b64(signer.public_key)},
    )


def play(live: Live, scene: Callable[[Uplink, CountingKey], Awaitable[None]]) -> None:
    """One agent whose manager says that it polls often: only then is a session worth it."""
    key = CountingKey(live.key)
    ca_pem = (live.config.data_dir / "tls" / "ca.pem").read_text()
    identity = identity_of(live.service.signer, url=live.config.url, ca_pem=ca_pem)

    async def run() -> None:
        uplink = Uplink(identity, key, time.time)
        try:
            async with asyncio.timeout(30):
                await scene(uplink, key)
        finally:
            await uplink.close()

    asyncio.run(run())


async def poll(uplink: Uplink, etag: str = "") -> Any:
    uplink.next_poll = 60.0
    return await uplink.fetch_desired(etag, 0)


def test_one_signature_serves_many_requests(live: Live):
    """Polls, whichever way they are answered, and reports."""

    async def scene(uplink: Uplink, key: CountingKey) -> None:
        etag, _ = await poll(uplink)
        for _ in range(3):
            assert await poll(uplink, etag) is None
        assert (await poll(uplink))[0] == etag
        await uplink.report(wire.StatusRequest(instance=uplink.instance, seq=1))
        assert key.signatures == 1

    play(live, scene)


def test_an_early_answer_offers_a_session_too(live: Live):
    async def scene(uplink: Uplink, key: CountingKey) -> None:
        for _ in range(3):
            assert await poll(uplink, live.service.document.etag) is None
        assert key.signatures == 1

    play(live, scene)


def test_an_agent_that_polls_seldom_asks_for_no_session(live: Live):
    async def scene(uplink: Uplink, key: CountingKey) -> None:
        for _ in range(3):
            uplink.next_poll = 900.0
            await uplink.fetch_desired(live.service.document.etag, 0)
        assert key.signatures == 3

    play(live, scene)


def test_an_unknown_session_is_followed_by_a_signature_at_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
):
    """The manager was started again: no request fails, and the next session is used."""

    async def scene(uplink: Uplink, key: CountingKey) -> None:
        etag, _ = await poll(uplink)
        with monkeypatch.context() as patch:
            patch.setattr(AgentSessions, "is_authentic", lambda *_: False)
            assert await poll(uplink, etag) is None
            assert key.signatures == 2
        assert await poll(uplink, etag) is None
        assert key.signatures == 2

    play(live, scene)


def test_a_manager_of_the_version_before_is_sent_signatures(
    live: Live, monkeypatch: pytest.MonkeyPatch
):
    """It offers no session; and one that took the place of a newer manager, and so takes the MAC
    for a wrong signature, does not make the agent believe that it is not enrolled.
    """

    async def scene(uplink: Uplink, key: CountingKey) -> None:
        etag, _ = await poll(uplink)
        monkeypatch.setattr(agent_auth, "_has_session", lambda _: False)
        monkeypatch.setattr(agent_auth.Signatures, "session_offer", lambda *_: "")
        for number in (2, 3, 4):
            assert await poll(uplink, etag) is None
            assert key.signatures == number

    play(live, scene)


def test_a_cluster_that_is_gone_is_told_so_by_a_signed_request(live: Live):
    """The refusal of a MAC proves nothing to the agent."""

    async def scene(uplink: Uplink, key: CountingKey) -> None:
        await poll(uplink)
        public_key = live.service.agents.pop(CLUSTER)
        try:
            with pytest.raises(NotEnrolled):
                await poll(uplink)
        finally:
            live.service.agents[CLUSTER] = public_key
        assert key.signatures == 2

    play(live, scene)


def test_a_new_connection_resumes_the_tls_session_of_the_last_one(
    live: Live, monkeypatch: pytest.MonkeyPatch
):
    resumed: list[bool] = []
    real = http_protocol.GuardedProtocol.connection_made

    def connect(self: http_protocol.GuardedProtocol, transport: Any) -> None:
        resumed.append(transport.get_extra_info("ssl_object").session_reused)
        real(self, transport)

    monkeypatch.setattr(http_protocol.GuardedProtocol, "connection_made", connect)
    monkeypatch.setattr(client, "_KEPT_SECONDS", 0.0)

    async def scene(uplink: Uplink, key: CountingKey) -> None:
        for _ in range(4):
            await poll(uplink)

    play(live, scene)
    assert resumed == [False, True, True, True]


class TestManagerSession:
    """The agent's side alone."""

    def offer(self, signer: Signer, key: Ed25519PrivateKey, cluster: str = CLUSTER) -> str:
        sessions = AgentSessions(signer)
        return sessions.offer(ClusterId(cluster), key.public_key().public_bytes_raw())

    def test_it_ends_before_the_managers(self):
        now = [0.0]
        signer, key = Signer.generate(), Ed25519PrivateKey.generate()
        session = ManagerSession(identity_of(signer), key, lambda: now[0])
        session.accept(self.offer(signer, key))
        now[0] = SESSION_SECONDS / 2
        assert session.id
        now[0] = SESSION_SECONDS - 100.0
        assert not session.id

    @pytest.mark.parametrize("change", ["signer", "key", "cluster", "session", "sealed", "text"])
    def test_an_offer_that_is_not_the_managers_for_this_agent_is_ignored(self, change: str):
        signer, key = Signer.generate(), Ed25519PrivateKey.generate()
        session = ManagerSession(identity_of(signer), key)
        sender = Signer.generate() if change == "signer" else signer
        recipient = Ed25519PrivateKey.generate() if change == "key" else key
        cluster = "c-" + "2" * 20 if change == "cluster" else CLUSTER
        text = self.offer(sender, recipient, cluster)
        offer = parse_offer(text)
        assert offer is not None
        if change == "session":
            text = format_offer(offer._replace(session=offer.session + "0"))
        elif change == "sealed":
            text = format_offer(offer._replace(sealed_key=wire.b64(bytes(80))))
        elif change == "text":
            text = "a.b.c.d"
        session.accept(text)
        assert not session.id

    def test_no_offer_leaves_the_session_as_it_is(self):
        signer, key = Signer.generate(), Ed25519PrivateKey.generate()
        session = ManagerSession(identity_of(signer), key)
        session.accept(self.offer(signer, key))
        before = session.id
        session.accept("")
        assert session.id == before
