"""A bundle during whose work the agent died is tried later, alone, and reported; all others are not
held up.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.loops.apply import Worker
from agent.loops.state import LoopState
from agent.state import attempts
from agent.state.attempts import Attempts
from agent.state.journal import Entry
from fleetctl.core.model.errors import UsageError, WorkLimit
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import Options
from fleetctl.core.model.wire import Desired, DesiredBundle


def bundle(name: str, generation: int = 1) -> DesiredBundle:
    return DesiredBundle(
        name=BundleName(name),
        generation=Generation(generation),
        archive=Digest(f"{name}{generation}"),
        size=1,
        options=Options(),
        options_digest=Digest("o"),
    )


def document(*bundles: DesiredBundle) -> Desired:
    return Desired(
        workspace=Workspace("w"),
        cluster=ClusterName("c"),
        cluster_id=ClusterId("id"),
        epoch=Epoch(1),
        issued="2026-01-01T00:00:00Z",
        expires="2027-01-01T00:00:00Z",
        bundles=list(bundles),
    )


A, B = bundle("a"), bundle("b")
BOTH = document(A, B)


def started(folder: Path) -> Attempts:
    marks = Attempts(folder)
    marks.load()
    return marks


class TestMarks:
    def test_each_start_that_finds_a_mark_counts_a_death(self, tmp_path: Path) -> None:
        for deaths in range(4):
            marks = started(tmp_path)
            assert (marks.deaths(BOTH, A), marks.deaths(BOTH, B)) == (deaths, 0)
            marks.begin(BOTH, A)
            marks.begin(BOTH, B)
            marks.end(B.name)

    def test_a_start_without_work_counts_nothing(self, tmp_path: Path) -> None:
        started(tmp_path).begin(BOTH, A)
        for _ in range(5):
            assert started(tmp_path).deaths(BOTH, A) == 1

    def test_work_that_ends_forgets_the_deaths(self, tmp_path: Path) -> None:
        started(tmp_path).begin(BOTH, A)
        marks = started(tmp_path)
        marks.begin(BOTH, A)
        marks.end(A.name)
        assert started(tmp_path).deaths(BOTH, A) == 0

    def test_other_inputs_are_tried_as_usual(self, tmp_path: Path) -> None:
        started(tmp_path).begin(BOTH, A)
        new = document(bundle("a", 2))
        marks = started(tmp_path)
        assert marks.deaths(new, new.bundles[0]) == 0
        marks.begin(new, new.bundles[0])
        assert started(tmp_path).deaths(new, new.bundles[0]) == 1

    @pytest.mark.parametrize(
        "data", [b"", b"{", b'{"bundle": "../x", "inputs": ""}', b"[" * 10_000]
    )
    def test_a_damaged_mark_is_no_mark(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "attempts").mkdir()
        (tmp_path / "attempts" / "a.json").write_bytes(data)
        assert started(tmp_path).deaths(BOTH, A) == 0

    def test_the_waits_grow(self) -> None:
        waits = [attempts.wait_seconds(deaths, is_confirmed=True) for deaths in range(1, 12)]
        assert waits == sorted(waits)
        assert (waits[0], waits[1], waits[-1]) == (10.0, 60.0, 3600.0)
        assert attempts.wait_seconds(1, is_confirmed=False) == 60.0


class Doing:
    """A Worker whose work is a record of what it was asked to do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.running: set[str] = set()
        self.together: list[set[str]] = []
        self.error: Exception | None = None
        self.now = 1000.0
        journal = SimpleNamespace(entries={}, floors=dict, floor=lambda name: (0, 0))
        uplink = SimpleNamespace(verify=None, now=lambda: 0.0, instance="i", cluster_id="id")
        context = SimpleNamespace(
            state_dir=folder,
            uplink=uplink,
            journal=journal,
            kube=SimpleNamespace(is_there=False, namespace="default"),
        )
        self.at = LoopState(cast("Any", context), None)
        self.at.attempts.load()
        self.at.document = BOTH
        monkeypatch.setattr(
            self.at, "lease", SimpleNamespace(hold=_free, take=_nothing, give_back=_nothing)
        )
        self.teller = SimpleNamespace(refresh=lambda names=None: None)
        self.worker = Worker(
            self.at, cast("Any", self.teller), 4, lambda: self.now, manager_seconds=0.2
        )
        monkeypatch.setattr(self.worker, "_rebuilt", _yes)
        monkeypatch.setattr("agent.deploy.install.archive", _nothing)
        monkeypatch.setattr("agent.deploy.install.install", self._install)

    async def _install(self, context: Any, document: Desired, bundle: DesiredBundle) -> None:
        self.running.add(bundle.name)
        self.together.append(set(self.running))
        await asyncio.sleep(0.01)
        self.running.discard(bundle.name)
        self.done.append(bundle.name)
        if self.error:
            raise self.error
        entry = {
            "bundle": bundle.name,
            "generation": bundle.generation,
            "applied": bundle.generation,
            "epoch": document.epoch,
        }
        self.at.context.journal.entries[bundle.name] = Entry(
            **entry, archive=bundle.archive, options_digest=bundle.options_digest
        )

    async def work(self) -> list[str]:
        """What is done until the loop has nothing more to do."""
        self.done.clear()
        self.at.work.set()
        task = asyncio.create_task(self.worker.act())
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 5:
                await asyncio.sleep(0.02)
                is_idle = (
                    self.worker._manager_seconds == 0.0
                    and not self.at.busy
                    and not self.at.work.is_set()
                )
                quiet = quiet + 1 if is_idle else 0
        task.cancel()
        await asyncio.gather(task, *self.at.busy.values(), return_exceptions=True)
        return sorted(set(self.done))


class _free:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


async def _nothing(*_: object) -> None: ...


async def _yes(*_: object) -> bool:
    return True


def deaths(folder: Path, count: int, *bundles: DesiredBundle) -> None:
    for _ in range(count):
        marks = started(folder)
        for one in bundles:
            marks.begin(BOTH, one)


class TestWorker:
    def test_one_death_waits_and_is_no_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            deaths(tmp_path, 1, A)
            doing = Doing(tmp_path, monkeypatch)
            doing.at.poll_answered.set()
            assert await doing.work() == ["b"]
            assert doing.at.errors == {}
            doing.now += 10.1
            assert "a" in await doing.work()
            assert not list((tmp_path / "attempts").iterdir())

        asyncio.run(run())

    def test_two_deaths_are_reported_and_the_others_deployed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            deaths(tmp_path, 2, A)
            doing = Doing(tmp_path, monkeypatch)
            doing.at.poll_answered.set()
            assert await doing.work() == ["b"]
            error = doing.at.errors[A.name]
            assert (error.code, error.object) == ("set-aside", "bundle a")
            assert "died 2 times" in error.message
            doing.now += 59
            assert "a" not in await doing.work()
            doing.now += 2
            assert "a" in await doing.work()
            assert A.name not in doing.at.failures

        asyncio.run(run())

    def test_suspects_are_tried_one_after_the_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of two that were being worked on only one is to blame, and the next death tells which."""

        async def run() -> None:
            deaths(tmp_path, 1, A, B)
            doing = Doing(tmp_path, monkeypatch)
            doing.at.poll_answered.set()
            assert await doing.work() == []
            doing.now += 61
            assert await doing.work() == ["a", "b"]
            assert all(len(names) == 1 for names in doing.together)

        asyncio.run(run())

    def test_the_manager_is_asked_before_the_work_begins(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            doing = Doing(tmp_path, monkeypatch)
            doing.worker._manager_seconds = 30.0
            task = asyncio.create_task(doing.work())
            await asyncio.sleep(0.5)
            assert doing.done == []
            doing.at.document = document(B)  # what has come says that `a` is gone
            doing.at.poll_answered.set()
            assert await task == ["b"]

        asyncio.run(run())

    def test_a_manager_that_is_away_does_not_stop_the_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert asyncio.run(Doing(tmp_path, monkeypatch).work()) == ["a", "b"]

    def test_an_ordinary_error_leaves_no_mark(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            doing = Doing(tmp_path, monkeypatch)
            doing.error = UsageError("no", subject="x", next_step="y")
            await doing.work()
            assert not list((tmp_path / "attempts").iterdir())
            assert doing.at.retry_at[A.name] <= doing.now + 5
            doing.error = WorkLimit("too much", subject="bundle a", next_step="y")
            doing.at.retry_at.clear()
            doing.at.failures.clear()
            await doing.work()
            assert doing.at.retry_at[A.name] >= doing.now + 30
            assert doing.at.is_expensive(BOTH, A)
            assert not doing.at.is_expensive(document(bundle("a", 2)), bundle("a", 2))

        asyncio.run(run())


def test_check_shows_what_is_set_aside(tmp_path: Path) -> None:
    from agent.diagnostics.check_host import attempts_here

    deaths(tmp_path, 1, B)
    deaths(tmp_path, 2, A)
    (finding,) = [one for one in attempts_here(tmp_path) if "bundle a" in one.text]
    assert finding.ok is None
