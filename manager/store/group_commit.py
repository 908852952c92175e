"""Group commit: runs the writes that wait together inside one transaction.

Rules:
- Writes run in their order of arrival. An ordinary write is a barrier: no other write passes it.
- Items of one BatchKind between two barriers run as one call, in their order of arrival. Items of
  different kinds may change places; none of them is acknowledged yet, so any order is valid.
- A write that fails takes no other write with it. Each ordinary write runs in a savepoint. When the
  call of a batch fails, its items run again one by one, so that only the wrong item gets the error.
- A savepoint costs as much as an UPDATE of each row, so a batch has none before the first ordinary
  write. When such a batch fails, the whole transaction is rolled back and runs again, with a
  savepoint for each batch; no ordinary write has run then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import FleetError

Item = TypeVar("Item")
Result = TypeVar("Result")
Outcome: TypeAlias = "tuple[WriteJob, Any, BaseException | None]"


@dataclass(frozen=True, eq=False)
class BatchKind(Generic[Item, Result]):
    """A kind of write whose input is data. `run` gets the items that wait together and returns, in
    the same order, the result of each item or the error that refuses it. A refused item must change
    nothing. The end state must equal that of the items written one by one. `run` changes nothing
    but the database, because it is called again after a rollback.
    """

    name: str
    run: Callable[[Connection, Sequence[Item]], Sequence[Result | FleetError]]


@dataclass(frozen=True, eq=False)
class WriteJob:
    """A write and who waits for it: `work` for an ordinary write, else `item` of `kind`."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    work: Callable[[Connection], Any] | None = None
    kind: BatchKind[Any, Any] | None = None
    item: Any = None


class BrokenBatch(Exception):
    """A batch without a savepoint failed; its transaction must be rolled back."""


def run_jobs(
    connection: Connection, jobs: Sequence[WriteJob], *, with_savepoints: bool = False
) -> list[Outcome]:
    """Run the jobs in one open transaction, each batch in a savepoint if `with_savepoints`. Raises
    BrokenBatch: the transaction must be rolled back, and the jobs run again `with_savepoints`.
    Raises OperationalError: none of the jobs counts.
    """
    outcomes: list[Outcome] = []
    for group in _group_jobs(jobs):
        kind = group[0].kind
        if kind is None:
            with_savepoints = True
            outcomes.append(_run_work(connection, group[0]))
        elif with_savepoints:
            outcomes += _run_isolated(connection, kind, group)
        else:
            outcomes += _run_batch(connection, kind, group)
    return outcomes


def answer_jobs(outcomes: Iterable[Outcome]) -> None:
    """Hand each outcome to the event loop that waits for it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, loop_outcomes in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set_futures, loop_outcomes)


def _group_jobs(jobs: Sequence[WriteJob]) -> Iterator[list[WriteJob]]:
    """The jobs that run as one call, in order."""
    batches: dict[BatchKind[Any, Any], list[WriteJob]] = {}
    for job in jobs:
        if job.kind is None:
            yield from batches.values()
            batches = {}
            yield [job]
        else:
            batches.setdefault(job.kind, []).append(job)
    yield from batches.values()


def _run_isolated(
    connection: Connection, kind: BatchKind[Any, Any], jobs: Sequence[WriteJob]
) -> list[Outcome]:
    """Run items of one kind as one call; if it fails, each item by itself."""
    point = connection.begin_nested()
    try:
        outcomes = _run_batch(connection, kind, jobs)
    except BrokenBatch as failure:
        point.rollback()
        if len(jobs) == 1:
            return [(jobs[0], None, failure.__cause__)]
        return [outcome for job in jobs for outcome in _run_isolated(connection, kind, [job])]
    point.commit()
    return outcomes


def _run_batch(
    connection: Connection, kind: BatchKind[Any, Any], jobs: Sequence[WriteJob]
) -> list[Outcome]:
    try:
        results = kind.run(connection, [job.item for job in jobs])
    except sa.exc.OperationalError:
        raise
    except Exception as error:
        raise BrokenBatch(kind.name) from error
    return [
        (job, None, result) if isinstance(result, FleetError) else (job, result, None)
        for job, result in zip(jobs, results, strict=True)
    ]


def _run_work(connection: Connection, job: WriteJob) -> Outcome:
    assert job.work is not None
    point = connection.begin_nested()
    try:
        result = job.work(connection)
    except sa.exc.OperationalError:
        raise
    except Exception as error:
        point.rollback()
        return job, None, error
    point.commit()
    return job, result, None


def _set_futures(outcomes: Iterable[Outcome]) -> None:
    for job, result, error in outcomes:
        if job.future.done():  # the caller was cancelled
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
