"""The HTTP side in this process, over ASGI, and an agent's signature, for tests."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.session_layout import request_mac
from manager.api.agent_auth import Signatures
from manager.api.app import Parts, build
from manager.api.routes.fleet import ManagerInfo
from manager.api.routes.install import AgentFile
from manager.security.tokens import Person
from tests.support.manager.fake_service import CLUSTER, FakeService

ADMIN, READER, BOUND = "t-admin", "t-reader", "t-bound"


class Bench:
    """A fake service with three tokens and one agent, behind the real HTTP side."""

    def __init__(self) -> None:
        self.service = FakeService()
        self.service.tokens = {
            ADMIN: Person("admin", "admin", "", ""),
            READER: Person("reader", "read", "", ""),
            BOUND: Person("bound", "admin", "team-a", ""),
        }
        self.key = Ed25519PrivateKey.generate()
        self.service.agents[CLUSTER] = self.key.public_key().public_bytes_raw()
        about = ManagerInfo("0.1.0", "https://fleet.test", "ab" * 32, 0.0, lambda: 1)
        self.parts = Parts(
            self.service.collaborators,
            self.service.ready,
            self.service.signer,
            about,
            AgentFile(Path("/nonexistent/agent.pyz")),
            b"PEM",
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build(self.parts)), base_url="https://fleet.test"
        )

    def use(self, signatures: Signatures) -> None:
        """Let agents in by `signatures`, which has clocks of the test's own."""
        app = build(self.parts, signatures=signatures)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="https://fleet.test"
        )

    async def call(self, method: str, path: str, token: str = ADMIN, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers.update(more.pop("headers", {}))
        return await self.client.request(method, path, headers=headers, **more)

    async def signed(
        self, method: str, path: str, body: bytes = b"", **more: Any
    ) -> httpx.Response:
        headers = {
            **signature(self.key, method, path, body, **more.pop("sign", {})),
            **more.pop("headers", {}),
        }
        return await self.client.request(method, path, content=body, headers=headers, **more)


def signature(
    key: Ed25519PrivateKey,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    now: int | None = None,
    nonce: str = "",
    instance: str = "instance1",
    agent: str = CLUSTER,
    session: tuple[str, bytes] | None = None,
) -> dict[str, str]:
    """The headers of an agent's request. `session`: id and key; then a MAC authenticates it."""
    stamp, nonce = int(time.time()) if now is None else now, nonce or secrets.token_urlsafe(12)
    said = wire.request_bytes(
        method, path, body, agent=agent, time=stamp, nonce=nonce, instance=instance
    )
    headers = {
        wire.H_AGENT: agent,
        wire.H_TIME: str(stamp),
        wire.H_NONCE: nonce,
        wire.H_INSTANCE: instance,
    }
    if session is not None:
        return headers | {
            wire.H_SESSION: session[0],
            wire.H_SIGNATURE: request_mac(session[1], said),
        }
    return headers | {wire.H_SIGNATURE: wire.b64(key.sign(said))}


def run(scene: Callable[[Bench], Awaitable[None]]) -> None:
    """Run one scene against a fresh bench, 20 s at most."""

    async def play() -> None:
        bench = Bench()
        async with asyncio.timeout(20), bench.client:
            await scene(bench)

    asyncio.run(play())
