"""Each TLS connection of the manager reads into a small buffer: there are very many of them."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import constants, sslproto

import pytest

from manager.app import TLS_BUFFER_BYTES, _bound_tls


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", sslproto.SSLProtocol.max_size)
    monkeypatch.setattr(constants, "SSL_HANDSHAKE_TIMEOUT", constants.SSL_HANDSHAKE_TIMEOUT)


def test_a_tls_connection_reads_into_one_record() -> None:
    """asyncio has no public name for this size: a Python that changes it fails here."""
    _bound_tls()

    async def buffer_size() -> int:
        protocol = sslproto.SSLProtocol(
            asyncio.get_running_loop(),
            asyncio.Protocol(),
            ssl.create_default_context(),
            None,
            server_hostname="manager.example.com",
        )
        size = len(protocol.get_buffer(256 * 1024))
        transport = protocol._app_transport
        assert transport is not None
        transport.abort()
        return size

    assert asyncio.run(buffer_size()) == TLS_BUFFER_BYTES
