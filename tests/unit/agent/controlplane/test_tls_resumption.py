"""TLS sessions that an agent resumes: only with the server that it verified."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.controlplane import tls as agent_tls
from manager.security import tls

HOST = "fleet.test"


def identity(folder: Path) -> tls.TlsIdentity:
    folder.mkdir(exist_ok=True)
    return tls.ensure_identity(folder, [HOST, "other.test"], now=datetime.now(UTC))


def server(files: tls.TlsIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert_file, files.key_file)
    context.num_tickets = 1
    return context


def client(files: tls.TlsIdentity) -> ssl.SSLContext:
    context = agent_tls.context(files.ca_pem.decode())
    agent_tls.resume_sessions(context)
    return context


def connect(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, host: str = HOST
) -> bool:
    """One connection with one answer. Returns whether its session was resumed."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client_context.wrap_bio(down, up, server_hostname=host)
    far = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    near.write(b"question")
    assert far.read(100) == b"question"
    far.write(b"answer")
    assert near.read(100) == b"answer"
    return bool(near.session_reused)


def test_the_second_connection_resumes_the_first(tmp_path: Path):
    """And the third the second: a ticket is used once."""
    files = identity(tmp_path)
    near, far = client(files), server(files)
    assert [connect(near, far) for _ in range(4)] == [False, True, True, True]


def test_a_server_that_was_started_again_shows_its_certificate(tmp_path: Path):
    files = identity(tmp_path)
    near = client(files)
    connect(near, server(files))
    again = server(files)
    assert [connect(near, again) for _ in range(2)] == [False, True]


def test_a_server_with_another_ca_is_refused_after_a_session_with_the_right_one(tmp_path: Path):
    files = identity(tmp_path / "manager")
    near = client(files)
    connect(near, server(files))
    foreign = server(identity(tmp_path / "stranger"))
    for _ in range(2):
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(near, foreign)
    assert connect(near, server(files)) is False


def test_a_session_belongs_to_the_name_that_was_verified(tmp_path: Path):
    files = identity(tmp_path)
    near, far = client(files), server(files)
    connect(near, far)
    assert connect(near, far, "other.test") is False
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(near, far, "stranger.test")


def test_an_old_session_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = identity(tmp_path)
    near, far = client(files), server(files)
    connect(near, far)
    monkeypatch.setattr(agent_tls, "RESUME_SECONDS", -1)
    assert connect(near, far) is False
