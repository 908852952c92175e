"""Builds archives again from Git that are missing or damaged on the disk. Until then an agent that
requests such an archive receives 503 with Retry-After, and keeps its present release.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from fleetctl.core.model.errors import FleetError, UnavailableError
from fleetctl.core.model.ids import Digest, is_digest
from fleetctl.sources.git import repository

from .. import log
from ..store.archives import Archives
from ..store.engine import Store
from ..store.queries.ingest.archives import archive_origins
from .scanner import Scanner

_STEP = "Look into the manager's log, and at the disk. The manager builds it again from Git."

_ADD_AGAIN = "If it is an agent release, add it again with `fleetctl agent-release add`."


class Restorer:
    def __init__(self, store: Store, archives: Archives, scanner: Scanner) -> None:
        self._store, self._archives, self._scanner = store, archives, scanner
        self._tasks: dict[Digest, asyncio.Task[None]] = {}

    async def path(self, digest: Digest) -> Path:
        """The intact file. Raises UnavailableError when it is being built again, or cannot be."""
        if not await asyncio.to_thread(self._archives.is_intact, digest):
            if not await self._store.read(lambda c: archive_origins(c, digest)):
                summary = "the file is missing or damaged on the manager, and no GitRepo has it"
                raise UnavailableError(
                    summary, subject=f"archive {digest[:12]}", next_step=_ADD_AGAIN
                )
            self.begin(digest)
            raise UnavailableError(
                "the archive is being built again",
                subject=f"archive {digest[:12]}",
                next_step=_STEP,
            )
        return self._archives.path(digest)

    async def restore_missing(self, digests: Iterable[str]) -> None:
        """Build those again that are not on the disk, one after the other."""
        for name in await asyncio.to_thread(
            self._archives.absent, [Digest(name) for name in digests if is_digest(name)]
        ):
            await asyncio.shield(self.begin(name))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def begin(self, digest: Digest) -> asyncio.Task[None]:
        """Start to build it, once at a time."""
        task = self._tasks.get(digest)
        if task is None:
            task = self._tasks[digest] = asyncio.create_task(self._restore(digest))
            task.add_done_callback(lambda _: self._tasks.pop(digest, None))
        return task

    async def _restore(self, digest: Digest) -> None:
        """Scan the commits that made it, until one makes it again."""
        problem = (
            "no bundle of a GitRepo has it; add an agent release again with `fleetctl agent-release"
            " add`"
        )
        for workspace, repo, commit in await self._store.read(lambda c: archive_origins(c, digest)):
            try:
                await self._scanner.look((workspace, repo), repository.Ref("", commit), None)
            except FleetError as error:
                problem = error.summary
            if await asyncio.to_thread(self._archives.is_intact, digest):
                log.warning(
                    "archive built again",
                    archive=digest[:12],
                    repo=f"{workspace}/{repo}",
                    commit=commit,
                )
                return
        log.warning("archive cannot be built again", archive=digest[:12], problem=problem)
