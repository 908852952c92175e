"""Writes that wait together: their order, which run as one call, and whose error is whose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import Conflict, FleetError
from manager.store.group_commit import (
    BatchKind,
    BrokenBatch,
    Outcome,
    WriteJob,
    answer_jobs,
    run_jobs,
)

Calls = list[list[str]]


def insert_names(connection: Connection, names: Sequence[str]) -> list[str | FleetError]:
    """Refuses "refused"; fails when a name is inserted twice."""
    valid_names = [name for name in names if name != "refused"]
    for name in valid_names:
        connection.execute(sa.text("INSERT INTO names VALUES (:name)"), {"name": name})
    refusal = Conflict("no", subject=names[0], next_step="Stop.")
    return [refusal if name == "refused" else name.upper() for name in names]


def recording_kind(calls: Calls) -> BatchKind[str, str]:
    def run(connection: Connection, names: Sequence[str]) -> list[str | FleetError]:
        calls.append(list(names))
        return insert_names(connection, names)

    return BatchKind("names", run)


def run_all(build: Callable[[asyncio.AbstractEventLoop], list[WriteJob]]) -> tuple[Any, list[str]]:
    """The results or errors of the jobs, and the rows that they leave."""

    async def run() -> tuple[Any, list[str]]:
        jobs = build(asyncio.get_running_loop())
        engine = sa.create_engine("sqlite://")
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE names (name TEXT PRIMARY KEY)"))
            answer_jobs(_run_as_the_store_does(connection, jobs))
            names = list(connection.execute(sa.text("SELECT name FROM names")).scalars())
        engine.dispose()
        futures = [job.future for job in jobs]
        return await asyncio.gather(*futures, return_exceptions=True), sorted(names)

    return asyncio.run(run())


def _run_as_the_store_does(connection: Connection, jobs: list[WriteJob]) -> list[Outcome]:
    point = connection.begin_nested()  # stands for the transaction
    try:
        return run_jobs(connection, jobs)
    except BrokenBatch:
        point.rollback()
        return run_jobs(connection, jobs, with_savepoints=True)


def item(kind: BatchKind[str, str], name: str) -> Callable[[asyncio.AbstractEventLoop], WriteJob]:
    return lambda loop: WriteJob(loop, loop.create_future(), kind=kind, item=name)


def work(name: str) -> Callable[[asyncio.AbstractEventLoop], WriteJob]:
    def insert(connection: Connection) -> str:
        connection.execute(sa.text("INSERT INTO names VALUES (:name)"), {"name": name})
        return name

    return lambda loop: WriteJob(loop, loop.create_future(), work=insert)


def test_items_between_two_ordinary_writes_are_one_call() -> None:
    """An ordinary write is a barrier; items of another kind are none."""
    calls: Calls = []
    first, second = recording_kind(calls), recording_kind(calls)
    makers = [
        *(item(first, "a"), item(second, "b"), item(first, "c")),
        *(work("d"), item(first, "e"), item(second, "f")),
    ]
    results, names = run_all(lambda loop: [make(loop) for make in makers])
    assert calls == [["a", "c"], ["b"], ["e"], ["f"]]
    assert results == ["A", "B", "C", "d", "E", "F"]
    assert names == ["a", "b", "c", "d", "e", "f"]


def test_a_refused_item_takes_no_other_with_it() -> None:
    kind = recording_kind([])
    makers = [item(kind, "a"), item(kind, "refused"), item(kind, "b")]
    results, names = run_all(lambda loop: [make(loop) for make in makers])
    assert (results[0], results[2], names) == ("A", "B", ["a", "b"])
    assert isinstance(results[1], Conflict)


def test_a_batch_that_fails_runs_again_item_by_item() -> None:
    """Only the item that is wrong gets the error, and nothing of the failed call stays."""
    calls: Calls = []
    kind = recording_kind(calls)
    makers = [item(kind, name) for name in ("a", "b", "a", "c")]
    results, names = run_all(lambda loop: [make(loop) for make in makers])
    assert calls == [["a", "b", "a", "c"]] * 2 + [["a"], ["b"], ["a"], ["c"]]
    assert (results[:2], results[3], names) == (["A", "B"], "C", ["a", "b", "c"])
    assert isinstance(results[2], sa.exc.IntegrityError)


def test_a_batch_that_fails_after_an_ordinary_write_leaves_that_write() -> None:
    """The ordinary write does not run again."""
    calls: Calls = []
    kind = recording_kind(calls)
    makers = [item(kind, "a"), work("b"), item(kind, "c"), item(kind, "c")]
    results, names = run_all(lambda loop: [make(loop) for make in makers])
    assert calls == [["a"], ["c", "c"], ["c"], ["c"]]
    assert (results[:3], names) == (["A", "b", "C"], ["a", "b", "c"])
    assert isinstance(results[3], sa.exc.IntegrityError)


def test_a_caller_that_was_cancelled_gets_no_answer() -> None:
    """Its write is stored all the same."""
    kind = recording_kind([])

    def build(loop: asyncio.AbstractEventLoop) -> list[WriteJob]:
        jobs = [item(kind, "a")(loop), item(kind, "b")(loop)]
        jobs[0].future.cancel()
        return jobs

    results, names = run_all(build)
    assert isinstance(results[0], asyncio.CancelledError)
    assert (results[1], names) == ("B", ["a", "b"])


def test_a_broken_disk_fails_every_write() -> None:
    """The transaction is lost, so no write may count as stored."""
    kind: BatchKind[str, str] = BatchKind("broken", _raise_disk_error)
    with pytest.raises(sa.exc.OperationalError):
        run_all(lambda loop: [work("a")(loop), item(kind, "b")(loop)])


def _raise_disk_error(_connection: Connection, _names: Sequence[str]) -> list[str | FleetError]:
    raise sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))
