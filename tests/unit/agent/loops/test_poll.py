"""The agent never asks without a pause, whatever is answered, and writes nothing for a document
that it has already.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from agent.loops.poll import Poller, repeat_seconds
from agent.loops.state import LoopState
from fleetctl.core.model.errors import TryLater
from fleetctl.core.model.ids import ClusterId, ClusterName, Epoch, Workspace
from fleetctl.core.model.wire import Desired, Envelope


def envelope(issued: str = "2026-01-01T00:00:00Z") -> Envelope:
    document = Desired(
        workspace=Workspace("w"),
        cluster=ClusterName("c"),
        cluster_id=ClusterId("id"),
        epoch=Epoch(1),
        issued=issued,
        expires="2099-01-01T00:00:00Z",
    )
    return Envelope(key_id="k", payload=msgspec.json.encode(document).decode(), signature="s")


class Asking:
    """A Poller on a manager that answers at once; time passes only in pauses."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
        self.polls, self.pauses, self.seconds, self.answer = 0, [0.0], 0.0, answer
        self.uplink = SimpleNamespace(
            verify=lambda found: msgspec.json.decode(found.payload, type=Desired),
            now=lambda: 0.0,
            instance="i",
            cluster_id="id",
            next_poll=1.0,
            longest_pause=60.0,
            fetch_desired=self._desired,
            url="https://m",
        )
        journal = SimpleNamespace(entries={}, floor=lambda name: (0, 0))
        kube = SimpleNamespace(is_there=False, namespace="default")
        context = SimpleNamespace(state_dir=folder, uplink=self.uplink, journal=journal, kube=kube)
        (folder / "archives").mkdir()
        self.at = LoopState(cast("Any", context), None)
        self.poller = Poller(self.at, cast("Any", SimpleNamespace(refresh=lambda: None)))
        monkeypatch.setattr("agent.loops.clock_skew.judge", lambda at: None)

    async def _desired(self, etag: str, wait: int) -> Any:
        self.polls += 1
        return self.answer(self.polls)

    def run(self, monkeypatch: pytest.MonkeyPatch, polls: int) -> None:
        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            if len(self.pauses) > polls:
                raise asyncio.CancelledError

        monkeypatch.setattr("agent.loops.poll.asyncio.sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(self.poller.poll())


def refuse(_: int) -> None:
    raise TryLater("no sense", subject="m", next_step="n")


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: ('"e"', envelope()),
        lambda n: (f'W/"{n}"', envelope()),
        lambda n: (f'"{n}"', envelope(f"2026-01-01T00:00:{n % 60:02d}Z")),
        lambda n: None,
        refuse,
    ],
    ids=["the same", "weak tags", "always another", "304", "no sense"],
)
def test_there_is_a_pause_after_each_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    asking = Asking(tmp_path, monkeypatch, answer)
    asking.run(monkeypatch, 50)
    assert min(asking.pauses[1:]) > 0.8


def test_a_document_that_is_repeated_is_not_written_and_asked_for_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking(tmp_path, monkeypatch, lambda n: (f'W/"{n}"', envelope()))
    written: list[Path] = []
    real = asking.at.document_store.keep
    monkeypatch.setattr(
        asking.at.document_store,
        "keep",
        lambda tag, found: (written.append(tmp_path), real(tag, found)),
    )
    asking.run(monkeypatch, 12)
    assert len(written) == 1
    assert sum(asking.pauses) > 120
    assert asking.at.etag == 'W/"12"'


@pytest.mark.parametrize("step", ["keep", "sweep", "refresh"])
def test_a_document_is_obeyed_although_an_error_came_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The document is on the disk by then; only one that every loop knows is passed over."""
    new = envelope("2026-01-01T00:00:01Z")
    asking = Asking(
        tmp_path, monkeypatch, lambda n: ('"old"', envelope()) if n == 1 else ('"e"', new)
    )
    asyncio.run(asking.poller._once())
    holder = asking.poller._teller if step == "refresh" else asking.at.document_store
    real = getattr(holder, step)

    def fail_once(*values: Any) -> None:
        real(*values)
        monkeypatch.setattr(holder, step, real)
        raise RuntimeError(step)

    monkeypatch.setattr(holder, step, fail_once)
    with pytest.raises(RuntimeError, match=step):
        asyncio.run(asking.poller._once())
    assert asking.at.etag == '"old"'
    asking.at.work.clear()
    asyncio.run(asking.poller._once())
    assert asking.at.work.is_set()
    assert asking.at.document == msgspec.json.decode(new.payload, type=Desired)
    assert asking.at.etag == '"e"'


def test_a_repeat_after_a_restart_is_not_written_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking(tmp_path, monkeypatch, lambda n: ('"e"', envelope()))
    asking.at.document_store.keep('"old"', envelope())
    asking.poller.load()
    before = (tmp_path / "desired.json").stat().st_mtime_ns
    asking.run(monkeypatch, 3)
    assert (tmp_path / "desired.json").stat().st_mtime_ns == before


def test_the_waits_for_repeats_are_spread_and_bounded() -> None:
    assert [repeat_seconds(n, 1.0) for n in (1, 2, 3, 6, 30)] == [2, 4, 8, 60, 60]
    assert repeat_seconds(1, 0.0) == 1.0
    assert repeat_seconds(5, 0.0) == 16.0
