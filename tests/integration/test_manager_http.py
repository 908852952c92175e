"""The manager's HTTP side as it runs: uvicorn over real TLS with its own CA, one process of its
own.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleetctl.core.model.errors import Conflict, RefusedError, UnavailableError, UsageError
from manager import app
from manager.api.server import http_protocol
from manager.app import listening, lock_data_dir
from manager.config import Config, parse
from manager.security import tls
from manager.store.data_directory import prepare_data_dir
from tests.support.manager.api_client import signature
from tests.support.manager.live_manager import Live

ROOT = Path(__file__).parents[2]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    manager = Live(tmp_path)
    yield manager
    manager.stop()


def read_all(connection: ssl.SSLSocket) -> bytes:
    """Until the other side closes."""
    found = b""
    while part := connection.recv(65536):
        found += part
    connection.close()
    return found


def test_first_start_makes_a_token_that_works_over_the_pinned_ca(
    live: Live, capsys: pytest.CaptureFixture[str]
):
    """The token's file is private, its value is never printed, and the CA that it names verifies
    the server.
    """
    file = live.config.data_dir / "admin.token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert all(
        p.stat().st_mode & 0o077 == 0 for p in live.config.data_dir.rglob("*") if p.is_file()
    )
    assert live.token not in capsys.readouterr().out
    with live.client() as client:
        assert client.get("/healthz").text == "ok\n"
        who = client.get("/api/v1/whoami", headers={"authorization": f"Bearer {live.token}"}).json()
        assert (who["name"], who["role"]) == ("admin", "admin")


def test_unchanged_poll_stays_under_300_bytes_on_the_wire(live: Live):
    """Status line, headers and all; the connection stays open for the next poll."""
    etag = live.service.document.etag
    sizes = []
    connection = live.raw(b"")
    for _ in range(2):
        headers = {
            **signature(live.key, "GET", "/agent/v1/desired"),
            "if-none-match": etag,
            "host": "m",
        }
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"GET /agent/v1/desired HTTP/1.1\r\n{text}\r\n".encode())
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 304")
        sizes.append(len(answer))
    connection.close()
    assert max(sizes) < 300, sizes


def test_replayed_request_is_refused(live: Live):
    """The same signed bytes work once."""
    headers = signature(live.key, "GET", "/agent/v1/desired")
    with live.client() as client:
        assert client.get("/agent/v1/desired", headers=headers).status_code == 200
        assert client.get("/agent/v1/desired", headers=headers).status_code == 401


def test_half_sent_headers_are_cut(live: Live, monkeypatch: pytest.MonkeyPatch):
    """uvicorn would hold such a connection for ever."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.3)
    began = time.monotonic()
    assert read_all(live.raw(b"GET / HTTP/1.1\r\nhost: ")).startswith(b"HTTP/1.1 408")
    assert read_all(live.raw(b"")) == b""
    assert time.monotonic() - began < 8


def test_large_headers_and_garbage_are_answered_with_problems(live: Live):
    """431 and 400, both as JSON, both with the connection closed."""
    endless = read_all(live.raw(b"GET / HTTP/1.1\r\nhost: " + b"a" * 40_000))
    assert endless.startswith(b"HTTP/1.1 431")
    assert b'"nextStep"' in endless
    smuggled = (
        b"POST / HTTP/1.1\r\nhost: m\r\ncontent-length: 3\r\ntransfer-encoding:"
        b" chunked\r\n\r\n0\r\n\r\n"
    )
    assert read_all(live.raw(smuggled)).startswith(b"HTTP/1.1 400")
    assert read_all(live.raw(b"\x16\x03nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")


def test_stop_answers_long_polls_at_once(tmp_path: Path):
    """A waiting agent gets its 304 and the manager is gone within seconds."""
    live = Live(tmp_path)
    held = {
        **signature(live.key, "GET", "/agent/v1/desired"),
        "if-none-match": live.service.document.etag,
        "prefer": "wait=200",
    }
    found: list[int] = []

    def poll() -> None:
        with live.client() as client:
            found.append(client.get("/agent/v1/desired", headers=held).status_code)

    waiting = threading.Thread(target=poll)
    waiting.start()
    limit = time.monotonic() + 10
    while "wait" not in live.service.calls and time.monotonic() < limit:
        threading.Event().wait(0.02)
    live.loop.call_soon_threadsafe(live.closing.set)
    waiting.join(5)
    assert found == [304]
    live.stop()


def test_too_many_connections_are_shed_with_a_time_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The one too many gets a 503 with Retry-After before it has said anything."""
    monkeypatch.setattr(app, "_most_connections", lambda: 2)
    live = Live(tmp_path)
    kept = [live.raw(b""), live.raw(b"")]
    answer = read_all(live.raw(b""))
    for connection in kept:
        connection.close()
    live.stop()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 15" in answer


def test_signal_stops_the_process_in_order(tmp_path: Path):
    """SIGTERM: the service is stopped, systemd is told, the exit status is 0, and all within 5
    s.
    """
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(tmp_path / "notify"))
    systemd.settimeout(5)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "2000000",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (
        "import asyncio, sys; from manager import app, config, log;"
        " from tests.support.manager.fake_service import FakeService;"
        " log.set_up();sys.exit(asyncio.run(app.serve(config.parse(sys.argv[1:]), lambda config,"
        " signer: FakeService(signer))))"
    )
    words = [
        sys.executable,
        "-c",
        script,
        "serve",
        "--data-dir",
        str(tmp_path),
        "--listen",
        f"127.0.0.1:{port}",
    ]
    with subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "event=listening" in line)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(10) == 0, rest
    assert "event=listening" in first
    assert "event=stopped" in rest
    words = []
    while not words or words[-1] != b"STOPPING=1":
        words.append(systemd.recv(100))
    assert {b"READY=1", b"WATCHDOG=1"} <= set(words)
    systemd.close()
    assert time.monotonic() - began < 5


def test_own_certificate_has_what_strict_clients_demand(tmp_path: Path):
    """Key identifiers, purpose and names are there; the CA stays when the certificate is
    renewed.
    """
    first = tls.ensure_identity(tmp_path, ["127.0.0.1", "fleet.example.com"], now=tls.today())
    cert = x509.load_pem_x509_certificate(first.cert_file.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "fleet.example.com" in names.get_values_for_type(x509.DNSName)
    for kind in (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier, x509.ExtendedKeyUsage):
        assert cert.extensions.get_extension_for_class(kind)
    same = tls.ensure_identity(tmp_path, ["127.0.0.1"], now=tls.today() + timedelta(days=59))
    assert x509.load_pem_x509_certificate(same.cert_file.read_bytes()) == cert
    later = tls.ensure_identity(tmp_path, ["127.0.0.1"], now=tls.today() + timedelta(days=61))
    assert later.ca_pin == first.ca_pin
    assert x509.load_pem_x509_certificate(later.cert_file.read_bytes()) != cert


def test_second_manager_taken_port_and_network_disk_say_so(tmp_path: Path):
    """Each is one error with its own exit status."""
    with (
        lock_data_dir(tmp_path),
        pytest.raises(Conflict, match="another manager runs"),
        lock_data_dir(tmp_path),
    ):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(UnavailableError, match="cannot listen on"),
            listening(Config(tmp_path, port=taken.getsockname()[1])),
        ):
            pass
    with pytest.raises(RefusedError, match="network file system"):
        prepare_data_dir(tmp_path, mounts=f"1 2 0:1 / {tmp_path} rw - nfs4 server:/x rw")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="cannot be created"):
        prepare_data_dir(file / "inside")


def test_command_line_is_checked():
    """A wrong value is one line; `single` means a local agent."""
    assert parse(["single", "--data-dir", "d"]).local_agent
    assert parse(["serve", "--data-dir", "d", "--listen", "[::1]:8443"]).url == "https://[::1]:8443"
    for wrong in (
        ["--listen", "8443"],
        ["--public-url", "http://x"],
        ["--mirror", "x"],
        ["--tls-cert", "f"],
        ["--poll-seconds", "0"],
    ):
        with pytest.raises(UsageError):
            parse(["serve", "--data-dir", "d", *wrong])
