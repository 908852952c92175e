"""The manager's HTTP side as it runs, for tests: uvicorn over real TLS with the manager's own
CA.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from manager.app import Running, _first_start, _identity, _listen, _parts, listening
from manager.config import Config
from manager.security.signing import Signer
from tests.support.manager.fake_service import CLUSTER, FakeService


class Live:
    """One HTTP side over real TLS in its own thread, with a fake service; stopped by closing its
    server.
    """

    def __init__(self, folder: Path, **config: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = Config(folder, port=self.port, **config)
        self.key = Ed25519PrivateKey.generate()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.thread.start()
        assert self.ready.wait(15)
        self.context = ssl.create_default_context(cafile=str(folder / "tls" / "ca.pem"))
        self.token = (folder / "admin.token").read_text().strip()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        signer = Signer.load_or_create(self.config.data_dir)
        self.service = FakeService(signer)
        self.service.agents[CLUSTER] = self.key.public_key().public_bytes_raw()
        identity = _identity(self.config)
        with listening(self.config) as listener:
            running = Running(
                self.config,
                self.service,
                identity,
                _parts(self.config, self.service, signer, identity),
            )
            await _first_start(running)
            self.ready.set()
            self.task = asyncio.ensure_future(_listen(running, listener))
            self.parts, self.closing = running.parts, running.parts.closing
            await asyncio.gather(self.task, return_exceptions=True)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.config.url, verify=self.context, timeout=10)

    def plain(self) -> socket.socket:
        """A TCP connection without a TLS handshake."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data: bytes) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        secure = self.context.wrap_socket(plain, server_hostname="127.0.0.1")
        secure.sendall(data)
        return secure

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(10)
        assert not self.thread.is_alive()
