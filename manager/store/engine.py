"""The database: SQLite with one writer thread that commits many changes at once, and readers beside
it.

Rule: a write's answer is given only after the commit that holds it is on the disk (I1). Each piece
of work stands in a savepoint of its own, so that one that fails takes no other with it. Nothing
here knows what the tables mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from fleetctl.core.model.errors import FleetError, RefusedError, UnavailableError

from . import damage, migrate
from .group_commit import (
    BatchKind,
    BrokenBatch,
    Item,
    Outcome,
    Result,
    WriteJob,
    answer_jobs,
    run_jobs,
)

T = TypeVar("T")
Work = Callable[[Connection], T]

_MOST_AT_ONCE = 500
# The log is written back when it has 64 MiB, not 4: a page that many transactions change is written
# back once.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "journal_size_limit=67108864",
    "wal_autocheckpoint=16384",
)
_READERS = 2
DATABASE = "database"
_RESTORE = (
    "Stop the manager and restore fleet.db from the backup, then `fleet-manager epoch raise`"
    " (docs/operations.md)."
)
_PROBE_SECONDS, _LEAST_FREE_MIB = 5.0, 64


class _Preview(Exception):
    """Carries a result out of a transaction that is undone."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Store:
    """Use `write` and `read` from the event loop; `work` runs in a thread and must not touch the
    loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = _engine(path, "BEGIN IMMEDIATE", size=1, cache=65536)
        self._reader = _engine(path, "BEGIN", size=_READERS, cache=16384)
        self._jobs: queue.SimpleQueue[WriteJob | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self.problem = self._damage = self._refusal = ""
        self._next_probe = 0.0
        self._check: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="store-write", daemon=True)

    async def open(self, *, create: bool = True) -> None:
        """Create or migrate the tables; with `create` False use them as they are. Raises
        RefusedError when a newer version wrote the file.
        """
        if not damage.is_large(self._path):
            _refuse(self._path, await asyncio.to_thread(damage.find, self._path))
        else:
            self.problem = "the database is being checked for damage"
        if create:
            await asyncio.to_thread(self._migrate)
        self._thread.start()
        if self.problem:
            self._check = asyncio.create_task(self._check_large())

    async def _check_large(self) -> None:
        """A damaged database takes no more writes; what can be read is still served."""
        self._damage = await asyncio.to_thread(damage.find, self._path)
        self.problem = (
            f"the database is damaged ({self._damage}): restore it from a backup"
            if self._damage
            else ""
        )

    async def probe(self) -> str:
        """What stands in the way of writes, "" for nothing. Tries a write at most every few
        seconds.
        """
        now = time.monotonic()
        if not self.problem and now >= self._next_probe:
            self._next_probe = now + _PROBE_SECONDS
            try:
                await self.write(_touch)
            except FleetError as error:
                self._refusal = f"{error.summary}. {error.next_step}"
            else:
                self._refusal = ""
        return self.problem or self._refusal

    async def close(self) -> None:
        """What was asked for is committed first."""
        if self._check is not None:
            self._check.cancel()
        self._jobs.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        self._readers.shutdown(wait=True)
        for engine in (self._reader, self._writer):
            engine.dispose()

    async def write(self, work: Work[T]) -> T:
        """Run `work` in the next transaction; returns after its commit. What `work` raises is
        raised here, and nothing of it is kept.
        """
        return cast("T", await self._submit(work=work))

    async def write_item(self, kind: BatchKind[Item, Result], item: Item) -> Result:
        """Write `item` in the next transaction, together with the other waiting items of its kind;
        returns after the commit. Raises the error that refuses the item.
        """
        return cast("Result", await self._submit(kind=kind, item=item))

    def _submit(
        self,
        work: Work[Any] | None = None,
        kind: BatchKind[Any, Any] | None = None,
        item: Any = None,
    ) -> asyncio.Future[Any]:
        """Queue a write. It goes on when its caller is cancelled: it is wholly stored or not at
        all.
        """
        if self._damage:
            raise UnavailableError(self.problem, subject=DATABASE, next_step=_RESTORE)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(WriteJob(loop, future, work, kind, item))
        return future

    async def preview(self, work: Work[T]) -> T:
        """Run `work` in the next transaction and undo its changes; returns what it returned."""

        def run(writer: Connection) -> T:
            raise _Preview(work(writer))

        try:
            return await self.write(run)
        except _Preview as preview:
            return cast("T", preview.result)

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot that holds all that was committed before."""

        def run() -> T:
            with _translate_errors(self._path), self._reader.begin() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def _migrate(self) -> None:
        with _translate_errors(self._path), self._writer.begin() as connection:
            migrate.up(connection, str(self._path))

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs, last = [job], False
            while len(jobs) < _MOST_AT_ONCE and not last:
                try:
                    next_job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                last = next_job is None
                if next_job is not None:
                    jobs.append(next_job)
            self._commit(jobs)
            if last:
                return

    def _commit(self, jobs: list[WriteJob]) -> None:
        try:
            outcomes = self._run_jobs(jobs)
        except Exception as error:
            outcomes = [(job, None, error) for job in jobs]
        answer_jobs(outcomes)

    def _run_jobs(self, jobs: list[WriteJob]) -> list[Outcome]:
        with _translate_errors(self._path):
            try:
                with self._writer.begin() as connection:
                    return run_jobs(connection, jobs)
            except BrokenBatch:
                with self._writer.begin() as connection:
                    return run_jobs(connection, jobs, with_savepoints=True)


@contextlib.contextmanager
def _translate_errors(path: Path) -> Any:
    """Maps the errors of SQLite to FleetErrors that name the disk or the backup."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise _disk_error(path, str(error.orig)) from error
    except sa.exc.DatabaseError as error:
        if "malformed" in str(error.orig) or "not a database" in str(error.orig):
            raise UnavailableError(
                f"the database is damaged: {error.orig}", subject=DATABASE, next_step=_RESTORE
            ) from error
        raise


def _disk_error(path: Path, reason: str) -> UnavailableError:
    try:
        disk = os.statvfs(path.parent)
        free = disk.f_bavail * disk.f_frsize // 1024**2
    except OSError:
        return UnavailableError(
            f"{path} cannot be used: {reason}",
            subject=DATABASE,
            next_step=f"Look at the disk of {path.parent}.",
        )
    step = f"Look at the disk of {path.parent} ({free} MiB are free)."
    if "full" in reason or free < _LEAST_FREE_MIB:
        step = (
            f"Free {_LEAST_FREE_MIB} MiB or more on the disk of {path.parent} ({free} MiB are"
            " free); the folder git/ may be deleted."
        )
    return UnavailableError(f"{path} cannot be used: {reason}", subject=DATABASE, next_step=step)


def _refuse(path: Path, damage_text: str) -> None:
    """Raises RefusedError for a damaged database: writes would spread the damage."""
    if damage_text:
        raise RefusedError(
            f"{path} is damaged: {damage_text}", subject=DATABASE, next_step=_RESTORE
        )


def _touch(connection: Connection) -> None:
    """A write that changes a page of the database and nothing in it."""
    connection.exec_driver_sql("UPDATE meta SET value = value WHERE key = 'epoch'")


def _engine(path: Path, begin: str, *, size: int, cache: int) -> Engine:
    """`cache`: KiB of pages that each connection may keep, filled only as they are used."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 10},
    )

    @sa.event.listens_for(engine, "connect")
    def _set_pragmas(connection: Any, _record: Any) -> None:
        # sqlite3's own idea of transactions would begin them too late
        connection.isolation_level = None
        for pragma in (*_PRAGMAS, f"cache_size=-{cache}"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
