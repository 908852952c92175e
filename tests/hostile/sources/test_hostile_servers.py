"""Git servers and chart repositories that attack: each is refused with one line, in time, and no
login leaves its origin.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    LoginError,
    RefusedError,
    SourceError,
)
from fleetctl.sources.charts.complete import Login
from fleetctl.sources.charts.remote import ChartLimits, EgressPolicy, fetch_chart
from fleetctl.sources.git import repository
from tests.servers.chartserver import ChartServer
from tests.support.charts import package, write
from tests.support.cli.person import reaches

HERE = EgressPolicy(allow=("127.0.0.0/8",))
LOGIN = repository.Credential("ada", "open-sesame")
ADVERTISED = "application/x-git-upload-pack-advertisement"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Enemy(ThreadingHTTPServer):
    """Answers as it is told, and remembers who logged in where."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str]] = []
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that gave up are what is wanted."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Enemy

    def log_message(self, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization", "")))
        self.close_connection = True
        self.server.answer(self)

    do_POST = do_GET


@pytest.fixture
def enemy() -> Iterator[Callable[[Answer], Enemy]]:
    running: list[Enemy] = []

    def start(answer: Answer) -> Enemy:
        server = Enemy(answer)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    yield start
    for server in running:
        server.closing.set()
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for ever: no timeout of a single read ever fires."""
    handler.send_response(200)
    handler.send_header("Content-Type", ADVERTISED)
    handler.end_headers()
    while not handler.server.closing.wait(0.1):  # type: ignore[attr-defined]
        handler.wfile.write(b"f")
        handler.wfile.flush()


def silence(handler: BaseHTTPRequestHandler) -> None:
    handler.server.closing.wait(60)  # type: ignore[attr-defined]


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", ADVERTISED)
    handler.end_headers()
    while not handler.server.closing.is_set():  # type: ignore[attr-defined]
        handler.wfile.write(b"003f" + b"0" * 40 + b" refs/heads/x" * 1 + b"\n" + b"x" * 4096)


def fetch(url: str, tmp_path: Path, **more: Any) -> str:
    return asyncio.run(repository.fetch(url + "/x.git", store=tmp_path / "store", **more))


def chart(request: ChartRequest, **more: Any) -> Any:
    return asyncio.run(fetch_chart(request, **({"egress": HERE} | more)))


def git_jobs() -> list[int]:
    """The forks of the server for Git jobs that still run."""
    servers = [
        pid
        for pid in children(os.getpid())
        if b"fleetctl.sources.git.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(servers) == 1, servers
    return children(servers[0])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class TestGit:
    @pytest.mark.parametrize("answer", [drip, silence])
    def test_a_server_that_never_ends_is_ended_at_the_deadline(
        self, tmp_path: Path, enemy: Callable[[Answer], Enemy], answer: Answer
    ) -> None:
        """However it spends the time, and the child is gone with it."""
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"did not answer within 1.5 s"):
            fetch(enemy(answer).url, tmp_path, limits=repository.GitLimits(seconds=1.5))
        assert time.monotonic() - began < 5
        reaches(git_jobs, lambda jobs: not jobs)

    def test_a_server_that_floods_is_cut_off(
        self, tmp_path: Path, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """At the number of bytes that a fetch may bring."""
        with pytest.raises(SourceError):
            fetch(
                enemy(flood).url,
                tmp_path,
                limits=repository.GitLimits(seconds=20, pack=1024 * 1024),
            )

    def test_a_login_does_not_follow_a_redirect(
        self, tmp_path: Path, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """The other origin is not even asked; the new address is named."""
        other = enemy(lambda handler: send(handler, 200))
        first = enemy(lambda handler: send(handler, 302, Location=other.url + handler.path))
        with pytest.raises(RefusedError, match="redirects to") as caught:
            fetch(first.url, tmp_path, credential=LOGIN)
        assert other.url in caught.value.summary
        assert other.seen == []

    def test_a_redirect_inside_the_origin_ends_too(
        self, tmp_path: Path, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """A circle is one line."""
        circle = enemy(lambda handler: send(handler, 301, Location=handler.path))
        with pytest.raises(SourceError, match="redirects too often"):
            fetch(circle.url, tmp_path)
        assert len(circle.seen) == 5

    @pytest.mark.parametrize(
        ("status", "kind", "body", "words"),
        [
            (200, "text/html", b"<html>", "it answers with text/html"),
            (200, ADVERTISED, b"zzzz", "cannot be read"),
            (200, ADVERTISED, b"", "cannot be read"),
            (
                200,
                ADVERTISED,
                b"001e# service=git-upload-pack\n0000" + b"ffff" * 9,
                "cannot be read",
            ),
            (403, "text/html", b"", "forbids"),
            (500, "text/html", b"", "answered 500"),
            (200, "text/plain\r\n\r\nevil", b"", "it answers with"),
        ],
    )
    def test_nonsense_is_one_line(
        self,
        tmp_path: Path,
        enemy: Callable[[Answer], Enemy],
        status: int,
        kind: str,
        body: bytes,
        words: str,
    ) -> None:
        """With the address, what was wrong, and what to do."""
        server = enemy(lambda handler: send(handler, status, body, Content_Type=kind))
        with pytest.raises(FleetError, match=words) as caught:
            fetch(server.url, tmp_path)
        assert server.url in caught.value.summary
        assert "\n" not in caught.value.summary
        assert len(caught.value.summary) < 400
        assert caught.value.next_step

    def test_a_cancelled_fetch_leaves_no_child(
        self, tmp_path: Path, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """A manager that stops takes its children along."""
        server = enemy(silence)

        async def cancelled() -> None:
            task = asyncio.create_task(
                repository.fetch(server.url + "/x.git", store=tmp_path / "store")
            )
            end = time.monotonic() + 20
            while not server.seen:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            assert git_jobs()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        reaches(git_jobs, lambda jobs: not jobs)


class TestCharts:
    @pytest.mark.parametrize("answer", [drip, silence])
    def test_a_server_that_never_ends_is_ended_at_the_deadline(
        self, enemy: Callable[[Answer], Enemy], answer: Answer
    ) -> None:
        """The total counts, not the single read."""
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"could not be fetched within 1 s"):
            chart(ChartRequest("web", enemy(answer).url), limits=ChartLimits(seconds=1))
        assert time.monotonic() - began < 4

    def test_a_server_that_floods_is_cut_off(self, enemy: Callable[[Answer], Enemy]) -> None:
        """At the size of an index."""
        with pytest.raises(SourceError, match="is larger than 65536 bytes"):
            chart(ChartRequest("web", enemy(flood).url), limits=ChartLimits(index=65536))

    @pytest.mark.parametrize(
        "place",
        [
            "http://169.254.169.254/latest",
            "http://127.0.0.2:1/x",
            "http://[::1]:1/x",
            "file:///etc/passwd",
        ],
    )
    def test_a_redirect_into_the_machine_is_refused(
        self, enemy: Callable[[Answer], Enemy], place: str
    ) -> None:
        """The policy is asked at each step, by address."""
        server = enemy(lambda handler: send(handler, 302, Location=place))
        with pytest.raises(RefusedError):
            chart(
                ChartRequest(f"{server.url}/web.tgz"), egress=EgressPolicy(allow=("127.0.0.1/32",))
            )
        assert len(server.seen) == 1

    def test_without_leave_the_machine_itself_is_not_asked(
        self, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """Nothing is sent; the line says how to allow it."""
        server = enemy(lambda handler: send(handler, 200))
        with pytest.raises(RefusedError, match="may not be read from") as caught:
            chart(ChartRequest("web", server.url), egress=EgressPolicy())
        assert "--allow-egress 127.0.0.1" in caught.value.next_step
        assert server.seen == []

    def test_a_mirror_cannot_lead_elsewhere_unseen(self, enemy: Callable[[Answer], Enemy]) -> None:
        """An administrator vouches for the mirror, not for where it redirects to."""
        other = enemy(lambda handler: send(handler, 200))
        mirror = enemy(lambda handler: send(handler, 302, Location=other.url))
        with pytest.raises(RefusedError):
            chart(
                ChartRequest("web", "https://charts.example"),
                egress=EgressPolicy(),
                mirrors={"https://charts.example": mirror.url},
            )
        assert other.seen == []

    def test_a_login_stays_with_its_origin(
        self, enemy: Callable[[Answer], Enemy], tmp_path: Path
    ) -> None:
        """Neither a redirect nor an address in the index nor a dependency takes it along; the
        repository itself gets it.
        """
        tarball = package(write(tmp_path, "web", "1.0.0"), tmp_path).read_bytes()
        other = enemy(lambda handler: send(handler, 200, tarball))

        def index(handler: BaseHTTPRequestHandler) -> None:
            if handler.path == "/moved/index.yaml":
                send(handler, 302, Location=f"{other.url}/index.yaml")
            else:
                send(
                    handler,
                    200,
                    f"entries: {{web: [{{version: 1.0.0, urls: ['{other.url}/web.tgz']}}]}}".encode(),  # noqa: E501
                )

        home = enemy(index)
        assert chart(ChartRequest("web", home.url), credential=LOGIN).version == "1.0.0"
        with pytest.raises(FleetError):
            chart(ChartRequest("web", home.url + "/moved"), credential=LOGIN)
        assert [login.split()[0] for _, login in home.seen] == ["Basic", "Basic"]
        assert [login for _, login in other.seen] == ["", ""]

    def test_a_login_goes_to_no_address_that_only_contains_the_pattern(
        self, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """In a query, a path, a fragment, a user, or the chart beside an allowed repository."""
        server = enemy(lambda handler: send(handler, 404))
        allowed, there = "http://charts.example:8080/team", server.url.removeprefix("http://")
        login = Login(r"http://charts\.example:8080/team", LOGIN)
        for request in (
            ChartRequest("web", repo=f"http://{there}/?{allowed}"),
            ChartRequest("web", repo=f"http://{there}/{allowed}"),
            ChartRequest("web", repo=f"http://{there}/#{allowed}"),
            ChartRequest("web", repo=f"http://{there}?x={allowed}/"),
            ChartRequest(f"http://{there}/{allowed}/web-1.0.0.tgz"),
            ChartRequest(f"oci://{there}/{allowed}", repo=allowed),
            ChartRequest(f"oci://{there}/web", repo=allowed),
        ):
            assert login.credential_for(request) is None
            mirrors = {f"oci://{there}/": f"http://{there}/"}
            with pytest.raises(FleetError):
                chart(request, credential=login.credential_for(request), mirrors=mirrors)
        assert server.seen
        assert not any(authorization for _, authorization in server.seen)
        assert login.credential_for(ChartRequest("web", repo=allowed)) is LOGIN

    @pytest.mark.parametrize(
        "place", ["http://[", "https:\\\\x", "//", "http://a b/", "http://a:99999999/"]
    )
    def test_a_redirect_to_nonsense_is_one_line(
        self, enemy: Callable[[Answer], Enemy], place: str
    ) -> None:
        server = enemy(lambda handler: send(handler, 302, Location=place))
        with pytest.raises(FleetError) as caught:
            chart(ChartRequest(server.url + "/web-1.0.0.tgz"))
        assert "\n" not in caught.value.summary

    def test_a_challenge_takes_linear_time(self, enemy: Callable[[Answer], Enemy]) -> None:
        challenge = "Bearer " + "a" * 60_000
        server = enemy(lambda handler: send(handler, 401, WWW_Authenticate=challenge))
        began = time.monotonic()
        with pytest.raises(FleetError):
            chart(ChartRequest(server.url + "/web-1.0.0.tgz"))
        assert time.monotonic() - began < 10

    def test_a_redirect_there_and_back_has_lost_the_login(
        self, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """Who was away could have been sent anywhere."""
        places: dict[str, str] = {}
        other = enemy(
            lambda handler: send(handler, 302, Location=places["home"] + "/back/index.yaml")
        )

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if handler.path.startswith("/back"):
                send(handler, 401, WWW_Authenticate="Basic")
            else:
                send(handler, 302, Location=other.url)

        home = enemy(answer)
        places["home"] = home.url
        with pytest.raises(LoginError):
            chart(ChartRequest("web", home.url), credential=LOGIN)
        assert [bool(login) for _, login in home.seen] == [True, False]

    def test_a_registry_cannot_have_the_login_sent_to_another_host(
        self, enemy: Callable[[Answer], Enemy]
    ) -> None:
        """A token is asked for where the registry says, without the login when that is not the
        registry's own.
        """
        other = enemy(lambda handler: send(handler, 200, b'{"token": "t"}'))
        challenge = f'Bearer realm="{other.url}/token",service="r",scope="repository:web:pull"'
        home = enemy(lambda handler: send(handler, 401, WWW_Authenticate=challenge))
        with pytest.raises(LoginError) as caught:
            chart(
                ChartRequest("oci://r.example/web", version="1.0.0"),
                credential=LOGIN,
                mirrors={"oci://r.example/": home.url + "/"},
            )
        assert [login for _, login in other.seen] == [""]
        assert "open-sesame" not in str(caught.value)

    def test_what_is_not_what_the_index_says_is_refused(self, tmp_path: Path) -> None:
        """One byte more."""
        data = package(write(tmp_path, "web", "1.0.0"), tmp_path).read_bytes()

        class Liar(ChartServer):
            def answer(self, path: str) -> tuple[int, str, bytes]:
                status, kind, body = super().answer(path)
                return status, kind, body + b"x" if body == data else body

        with Liar(tmp_path) as server:
            with pytest.raises(SourceError, match="its digest is another"):
                chart(ChartRequest("web", server.url))
            with pytest.raises(SourceError, match="is not what its manifest says"):
                chart(
                    ChartRequest("oci://r.example/web"),
                    mirrors={"oci://r.example/": server.url + "/"},
                )
