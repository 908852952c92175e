"""A store of one connection: writes run in the transactions that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from manager.store.group_commit import BatchKind, BrokenBatch, Outcome, WriteJob, run_jobs
from manager.store.schema import metadata
from manager.store.triggers import counts as count_triggers
from manager.store.triggers import documents as document_triggers

_TABLES = tuple(metadata.tables.values())


def memory_engine() -> Engine:
    """An empty database in memory with the tables and triggers of the store."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 would begin transactions too late
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    with engine.begin() as connection:
        metadata.create_all(connection)
        count_triggers.ensure(connection)
        document_triggers.ensure(connection)
    return engine


@dataclass
class WriteLog:
    """Collects the writes of one transaction, then runs them as the store does."""

    connection: Connection
    loop: asyncio.AbstractEventLoop
    jobs: list[WriteJob] = field(default_factory=list)

    def add_item(self, kind: BatchKind[Any, Any], item: Any) -> None:
        self.jobs.append(WriteJob(self.loop, self.loop.create_future(), kind=kind, item=item))

    def add_work(self, work: Any) -> None:
        self.jobs.append(WriteJob(self.loop, self.loop.create_future(), work=work))

    def run(self) -> list[Any]:
        """The results of the writes, or the types of their errors, in their order."""
        outcomes = {id(outcome[0]): outcome for outcome in self._run()}
        jobs, self.jobs = self.jobs, []
        return [_summary(outcomes[id(job)]) for job in jobs]

    def _run(self) -> list[Outcome]:
        point = self.connection.begin_nested()  # stands for the transaction
        try:
            return run_jobs(self.connection, self.jobs)
        except BrokenBatch:
            point.rollback()
            return run_jobs(self.connection, self.jobs, with_savepoints=True)


def _summary(outcome: Outcome) -> Any:
    _, result, error = outcome
    return result if error is None else type(error)


@contextmanager
def open_log(connection: Connection) -> Iterator[WriteLog]:
    loop = asyncio.new_event_loop()
    try:
        yield WriteLog(connection, loop)
    finally:
        loop.close()


def read_tables(connection: Connection) -> dict[str, list[Any]]:
    """All rows of all tables, sorted, without counts of 0 and without the revisions of documents,
    which hold the time.
    """
    rows: dict[str, list[Any]] = {}
    for table in _TABLES:
        every_row = [tuple(row) for row in connection.execute(sa.select(table))]
        rows[table.name] = sorted(every_row, key=repr)
    rows["cluster_documents"] = [row[0] for row in rows["cluster_documents"]]
    rows["counts"] = [row for row in rows["counts"] if row[-1]]
    return rows


def grouped_counts(connection: Connection) -> list[Any]:
    """What counting the deployments gives, in the form of `read_tables`."""
    rows = connection.execute(sa.text(count_triggers.GROUPED))
    return sorted((tuple(row) for row in rows), key=repr)


def parts_of(items: Sequence[Any], cuts: Sequence[int]) -> Iterator[Sequence[Any]]:
    """The items in consecutive parts that end at `cuts`."""
    edges = sorted({0, len(items), *(end for end in cuts if end < len(items))})
    for start, stop in pairwise(edges):
        yield items[start:stop]
