"""Group commit: runs the writes that wait together inside one transaction.

Rules:
- Writes run in their order of arrival. An ordinary write is a barrier: no other write passes it.
- Items of one BatchKind between two barriers run as one call, in their order of arrival. Items of
  different kinds may change places; none of them is acknowledged yet, so any order is valid.
- A write that fails takes no other write with it: each runs in a savepoint. When the call of a
  batch fails, the items run again one by one, so that only the wrong item gets the error.
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
    nothing. The end state must equal that of the items written one by one.
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


def run_jobs(connection: Connection, jobs: Sequence[WriteJob]) -> list[Outcome]:
    """Run the jobs in one open transaction. Raises OperationalError: then none of them counts."""
    outcomes: list[Outcome] = []
    for group in _group_jobs(jobs):
        kind = group[0].kind
        outcomes += [_run_work(connection, group[0])] if kind is None else _run(connection, group)
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


def _run(connection: Connection, jobs: Sequence[WriteJob]) -> list[Outcome]:
    """Run items of one kind as one call; if it fails, each item by itself."""
    kind = jobs[0].kind
    assert kind is not None
    point = connection.begin_nested()
    try:
        outcomes = _call(connection, kind, jobs)
    except sa.exc.OperationalError:
        raise
    except Exception as error:
        point.rollback()
        if len(jobs) == 1:
            return [(jobs[0], None, error)]
        return [outcome for job in jobs for outcome in _run(connection, [job])]
    point.commit()
    return outcomes


def _call(
    connection: Connection, kind: BatchKind[Any, Any], jobs: Sequence[WriteJob]
) -> list[Outcome]:
    results = kind.run(connection, [job.item for job in jobs])
    if len(results) != len(jobs):
        raise RuntimeError(f"{kind.name}: {len(results)} results for {len(jobs)} items")
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
