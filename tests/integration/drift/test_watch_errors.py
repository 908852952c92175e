"""Watching an API server that is overloaded, silent, forgetful, flooded or not an API server at
all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.drift.watch import WatchedObject, Watches, WatchScope
from agent.kube.client import Kube
from tests.support.agent.observer import Looking
from tests.support.network.fake_kube import Answer, Asked, FakeKube

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1'}\n"
MAPS = WatchScope("", "v1", "ConfigMap")


class Notes:
    """Whoever listens to the watches; `wish` of this test is one kind with one object."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bool]] = []
        self.lists: list[list[str]] = []
        self.pauses: list[float] = []
        self.refusals = 0
        self.said: list[str] = []

    def on_change(self, scope: WatchScope, item: WatchedObject, *, exists: bool) -> None:
        self.changes.append((item.name, exists))

    def on_list(self, scope: WatchScope, objects: list[WatchedObject]) -> None:
        self.lists.append([item.name for item in objects])

    def on_throttle(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def on_refusal(self) -> None:
        self.refusals += 1

    def on_contact(self, why: str) -> None:
        if (self.said or [""])[-1] != why:
            self.said.append(why)


def watching(
    folder: Path,
    work: Callable[[FakeKube, Watches, Notes], Awaitable[None]],
    *,
    silent: float = 60.0,
    most: int = 24,
) -> None:
    """`work` with watches that run against a server of ours."""

    async def all_of_it() -> None:
        async with FakeKube() as server:
            server.put("configmaps", "n", "m", {"a": "1"})
            kube, notes = Kube(server.kubeconfig(folder)), Notes()
            watches = Watches(kube, notes, limit=most, silent=silent)
            try:
                await work(server, watches, notes)
            finally:
                await watches.close()
                await kube.close()

    asyncio.run(all_of_it())


async def reach(good: Callable[[], bool], seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not good():
            await asyncio.sleep(0.02)


def is_watch(asked: Asked) -> bool:
    return asked.is_watch


def is_list(asked: Asked) -> bool:
    return asked.is_list


def test_list_then_watch_with_bookmarks(tmp_path: Path) -> None:
    """From the API server's cache, names only; then on from that version, and after a break from
    the last bookmark.
    """

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) == 1)
        assert notes.lists == [["m"]]
        first, second = [one for one in server.asked if one.path.endswith("configmaps")]
        assert (first.query["resourceVersion"], second.query["resourceVersion"]) == (
            "0",
            str(server.version),
        )
        assert second.query["allowWatchBookmarks"] == "true"
        assert 300 <= int(second.query["timeoutSeconds"]) <= 600
        server.put("configmaps", "n", "m", {"a": "2"})
        server.delete("configmaps", "n", "m")
        await reach(lambda: notes.changes == [("m", True), ("m", False)])
        server.bookmark()
        await asyncio.sleep(0.1)
        server.break_off()
        await reach(lambda: server.count(is_watch) == 2)
        assert server.asked[-1].query["resourceVersion"] == str(server.version)
        assert server.count(is_list) == 1

    watching(tmp_path, work)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(410, body=b'{"message":"too old resource version"}'),
        Answer(
            lines=[b'{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}']
        ),
    ],
)
def test_a_version_that_is_no_longer_known(tmp_path: Path, answer: Answer) -> None:
    """410, as an answer or as an event: listed again, and what has changed since is noticed by the
    list.
    """

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        server.says = lambda asked: (
            answer if asked.is_watch and server.count(is_watch) == 1 else None
        )
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) == 2)
        assert len(notes.lists) == 2

    watching(tmp_path, work)


def test_a_silent_connection_is_a_dead_one(tmp_path: Path) -> None:
    """It stays open and says nothing, as after a router that forgot it: given up, and begun
    again.
    """

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        server.says = lambda asked: (
            Answer(lines=[], hangs=True) if asked.is_watch and server.count(is_watch) == 1 else None
        )
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) == 2)
        server.put("configmaps", "n", "m", {"a": "2"})
        await reach(lambda: ("m", True) in notes.changes)

    watching(tmp_path, work, silent=0.5)


def test_too_many_requests(tmp_path: Path) -> None:
    """429 with Retry-After: nothing is asked before that, and who looks is told to wait too."""

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        busy = Answer(429, {"retry-after": "2"}, b'{"message":"too many requests"}')
        server.says = lambda asked: busy if asked.is_list and server.count(is_list) == 1 else None
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) == 1)
        lists = [one.at for one in server.asked if one.is_list]
        assert lists[1] - lists[0] >= 2
        assert notes.pauses == [2.0]

    watching(tmp_path, work)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(lines=[]),
        Answer(500, body=b"{}"),
        Answer(200, {"content-type": "text/html"}, b"<html>log in here</html>"),
        Answer(lines=[b'{"type":"ADDED","object":{"metadata":{"name":7}}}']),
        Answer(lines=[b"x" * (5 * 1024 * 1024)]),
    ],
)
def test_what_fails_at_once_is_not_tried_without_end(tmp_path: Path, answer: Answer) -> None:
    """A watch that ends at once, an error, a captive portal, nonsense, a line without end: growing
    pauses, and alive afterwards.
    """

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        server.says = lambda asked: answer if asked.is_watch else None
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) >= 3)
        await asyncio.sleep(1)
        assert server.count(is_watch) < 20
        server.says = lambda _: None
        await reach(lambda: server.watched == 1)
        server.put("configmaps", "n", "m", {"a": "2"})
        await reach(lambda: ("m", True) in notes.changes)

    watching(tmp_path, work)


def test_what_is_forbidden_is_watched_by_namespace_or_polled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """403 for all namespaces: each of ours by itself; 403 there too: polled. Said once each."""

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        no = Answer(403, body=b'{"message":"configmaps is forbidden"}')
        server.says = lambda asked: (
            no
            if asked.path in {"/api/v1/configmaps", "/api/v1/namespaces/closed/configmaps"}
            else None
        )
        watches.set_targets({MAPS: {"n": 1, "closed": 2}})
        await reach(
            lambda: (
                watches.unwatched_scopes == {MAPS._replace(namespace="closed")}
                and server.watched == 1
            )
        )
        assert watches.running() == {MAPS._replace(namespace="n")}
        watches.set_targets({MAPS: {"n": 2, "closed": 2}})
        await asyncio.sleep(0.2)
        assert server.count(lambda asked: asked.path == "/api/v1/configmaps") == 1
        assert notes.refusals == 2

    watching(tmp_path, work)
    assert capfd.readouterr().err.count("polled") == 2


def test_the_number_of_watches_is_bounded(tmp_path: Path) -> None:
    """The kinds with most objects of ours are watched, the others polled."""

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        secrets = WatchScope("", "v1", "Secret")
        watches.set_targets({MAPS: {"n": 1}, secrets: {"n": 3}})
        assert (watches.running(), watches.unwatched_scopes) == ({secrets}, {MAPS})
        watches.set_targets({MAPS: {"n": 1}})
        assert (watches.running(), watches.unwatched_scopes) == ({MAPS}, set())

    watching(tmp_path, work, most=1)


def looking(folder: Path, work: Callable[[FakeKube, Looking], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with FakeKube() as server:
            server.put("configmaps", "n", "m", {"a": "1"})
            async with Looking(folder / "agent", Kube(server.kubeconfig(folder))) as one:
                one.know("m", MAP, namespace="n")
                await work(server, one)

    asyncio.run(all_of_it())


def is_get(asked: Asked) -> bool:
    return asked.method == "GET" and asked.path.endswith("/m")


def test_an_object_that_changes_all_the_time(tmp_path: Path) -> None:
    """A hundred changes a second cost a few requests, and the last state is what is told in the
    end.
    """

    async def work(server: FakeKube, one: Looking) -> None:
        await one.until("m", {"ConfigMap/m": "Ready"})
        await reach(lambda: server.watched == 1)
        before = server.count(is_get)
        for number in range(200):
            server.put("configmaps", "n", "m", {"a": "1", "other": str(number)})
            await asyncio.sleep(0.01)
        assert server.count(is_get) - before <= 7
        server.put("configmaps", "n", "m", {"a": "hand"})
        await one.until("m", {"ConfigMap/m": "Modified"})

    looking(tmp_path, work)


def test_a_dry_run_is_asked_once_for_the_same_drift(tmp_path: Path) -> None:
    """However often the object changes elsewhere meanwhile."""

    async def work(server: FakeKube, one: Looking) -> None:
        await one.until("m", {"ConfigMap/m": "Ready"})
        for number in range(3):
            server.put("configmaps", "n", "m", {"a": "hand", "other": str(number)})
            await one.until("m", {"ConfigMap/m": "Modified"})
            await asyncio.sleep(0.3)
        assert server.count(lambda asked: asked.method == "PATCH") == 1

    looking(tmp_path, work)


def test_a_webhook_without_dry_run(tmp_path: Path) -> None:
    """Refused: compared by itself, and the kind is not asked again for a while."""

    async def work(server: FakeKube, one: Looking) -> None:
        no = Answer(400, body=b'{"message":"admission webhook \\"a.b\\" does not support dry run"}')
        server.says = lambda asked: no if asked.method == "PATCH" else None
        await one.until("m", {"ConfigMap/m": "Ready"})
        for value in ("hand", "other"):
            server.put("configmaps", "n", "m", {"a": value})
            await one.reach(
                lambda: (
                    [d.live for d in one.objects("m")["ConfigMap/m"].differences] == [f'"{value}"']  # noqa: B023
                )
            )
        assert server.count(lambda asked: asked.method == "PATCH") == 1

    looking(tmp_path, work)


def test_an_api_server_that_is_away(tmp_path: Path) -> None:
    """What was seen last stands, looks are tried again with pauses, and it is noticed when it is
    back.
    """

    async def work(server: FakeKube, one: Looking) -> None:
        await one.until("m", {"ConfigMap/m": "Ready"})
        await reach(lambda: server.watched == 1)
        server.says = lambda _: Answer(503, body=b'{"message":"no"}')
        server.break_off()
        server.put("configmaps", "n", "m", {"a": "hand"})
        before = len(server.asked)
        await asyncio.sleep(3)
        assert one.states("m") == {"ConfigMap/m": "Ready"}
        assert len(server.asked) - before < 20
        server.says = lambda _: None
        await one.until("m", {"ConfigMap/m": "Modified"})

    looking(tmp_path, work)


def test_an_api_server_that_goes_away_is_said(tmp_path: Path) -> None:
    """Not for one cut connection, but from the second failure on; and that it is over, as soon as
    it answers again.
    """

    async def work(server: FakeKube, watches: Watches, notes: Notes) -> None:
        watches.set_targets({MAPS: {"n": 1}})
        await reach(lambda: server.count(is_watch) == 1)
        server.says = lambda asked: Answer(503, body=b'{"message":"etcd is away"}')
        await reach(lambda: server.count(is_watch) >= 4)
        assert notes.said[-1] == "the API server reports: etcd is away"
        server.says = lambda _: None
        server.put("configmaps", "n", "m", {"a": "2"})
        await reach(lambda: notes.said[-1] == "")

    watching(tmp_path, work, silent=0.5)
