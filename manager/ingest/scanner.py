"""Watches the GitRepos: looks for new commits, scans them, and stores what changed.

Rule (I7): only a complete scan removes bundles. A scan that would remove more than max(5, 20 %) of
a GitRepo's bundles, or all bundles of a cluster, is held until a person confirms exactly that
number at that commit. A bundle that cannot be built is a problem beside the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fleetctl import jitter
from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    NotFound,
    UnavailableError,
)
from fleetctl.core.model.ids import CommitId
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.timing.backoff import Backoff
from fleetctl.sources.git import repository

from .. import log, validation
from ..clock import Clock
from ..presence import PresenceTable
from ..security.vault import Vault
from ..slots import FairSlots
from ..store.archives import Archives
from ..store.engine import Store
from ..store.queries.ingest.gitrepos import all_gitrepos
from .apply_scan import CompletedScan
from .commit_scans import RESCAN, CommitScans
from .git_stores import GitStores, SourceSettings
from .gitrepo_loader import TRANSIENT, GitRepoDeleted, GitRepoLoader, Key, LoadedGitRepo
from .login_warnings import login_warnings
from .scan_job import ScanResult
from .scan_recorder import Confirmation, ScanRecorder

_AT_ONCE = 8
_PER_WORKSPACE = 4
_RETRY_SECONDS = (2.0, 300.0)
_LOOK_SECONDS = 330.0  # of one look: a fetch, a scan, and the wait for the store


class ScannerSettings(SourceSettings, Protocol):
    @property
    def poll_seconds(self) -> int: ...


@dataclass
class _GitRepoWatch:
    """When to look at a GitRepo again (`due`, loop time), and how often the last looks failed in a
    row. `again`: a person asked for a scan of the same commit; `task`: the look that runs.
    """

    due: float = 0.0
    failures: int = 0
    again: bool = False
    busy: bool = False
    task: asyncio.Task[None] | None = None


class Scanner:
    """One watch for each GitRepo. A look fetches its commit, and scans and stores a new one."""

    def __init__(
        self,
        store: Store,
        live: PresenceTable,
        archives: Archives,
        vault: Vault,
        data_dir: Path,
        clock: Clock,
        settings: ScannerSettings,
    ) -> None:
        self._store, self._live, self._archives = store, live, archives
        self._clock, self._settings = clock, settings
        self._loader = GitRepoLoader(store, vault)
        self._stores = GitStores(data_dir / "git", vault, settings)
        self._scans = CommitScans(archives, self._stores, settings)
        self._recorder = ScanRecorder(store, live, clock)
        self._watches: dict[Key, _GitRepoWatch] = {}
        self._wake = asyncio.Event()
        self._slots = FairSlots(_AT_ONCE, _PER_WORKSPACE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._confirmations: dict[Key, Confirmation] = {}

    def poke(self, workspace: str, name: str, *, again: bool = False) -> None:
        """Look soon at the GitRepo. Without a name, look at all GitRepos of the workspace: a Secret
        changed.
        """
        for key, watch in self._watches.items():
            if key[0] == workspace and name in {"", key[1]}:
                watch.due, watch.again, watch.failures = 0.0, watch.again or again, 0
                if watch.task and name:
                    self._start(self._cancel_deleted(key, watch.task))
        if name:
            self._watches.setdefault((workspace, name), _GitRepoWatch()).again |= again
        self._wake.set()

    async def run(self) -> None:
        """Look at each GitRepo when it is due, a few at once."""
        loop = asyncio.get_running_loop()
        for key in await self._store.read(all_gitrepos):
            self._watches.setdefault(key, _GitRepoWatch())
        while True:
            self._wake.clear()
            for key, watch in list(self._watches.items()):
                if watch.due <= loop.time() and not watch.busy:
                    watch.busy = True
                    watch.task = self._start(self._look(key, watch))
            idle_dues = [w.due for w in self._watches.values() if not w.busy]
            next_due = min([*idle_dues, loop.time() + 60])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, next_due - loop.time())):
                    await self._wake.wait()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _cancel_deleted(self, key: Key, look: asyncio.Task[None]) -> None:
        """Cancel the look at a GitRepo that was deleted meanwhile, so that it frees its slot."""
        try:
            await self._loader.load(key)
        except GitRepoDeleted:
            look.cancel()
        except FleetError:
            pass  # the look itself reports it

    async def stop(self) -> None:
        """Cancel all looks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, key: Key, watch: _GitRepoWatch) -> None:
        loop = asyncio.get_running_loop()
        seconds = 3600.0
        try:
            async with self._slots.hold(key[0]):
                again, watch.again = watch.again, False
                watch.due = float("inf")
                async with asyncio.timeout(_LOOK_SECONDS):
                    seconds = await self._look_once(key, watch, again=again)
        except GitRepoDeleted:
            self._forget(key, watch)
        except TimeoutError:
            late = DeadlineError(
                f"the poll of GitRepo {key[1]} took longer than {_LOOK_SECONDS:g} s",
                next_step="Look at its server.",
            )
            seconds = await self._look_failed(key, watch, late)
        except Exception as error:
            log.bug("a scan failed", error, repo="/".join(key))
            cause = f"{type(error).__name__}: {error}"
            summary = f"internal error while looking at GitRepo {key[1]}: {cause}"[:500]
            step = "Look at the manager's log for the traceback, and report it."
            seconds = await self._look_failed(key, watch, UnavailableError(summary, next_step=step))
        finally:
            watch.busy, watch.task = False, None
            # A poke during the look has set `due` to 0, which stays.
            if watch.due == float("inf"):
                watch.due = loop.time() + seconds
            self._wake.set()

    def _forget(self, key: Key, watch: _GitRepoWatch) -> None:
        self._scans.forget(key)
        self._live.poll_times.pop(key, None)
        if watch.due == float("inf"):  # else a GitRepo of this name was created during the look
            self._watches.pop(key, None)

    async def _look_failed(self, key: Key, watch: _GitRepoWatch, error: FleetError) -> float:
        """Store the error. Returns the seconds until the next look."""
        watch.failures += 1
        try:
            await self._recorder.store_failure(key, error)
        except Exception as store_error:
            log.bug("the error of a scan cannot be stored", store_error, repo="/".join(key))
        return RESCAN.seconds(watch.failures)

    async def _look_once(self, key: Key, watch: _GitRepoWatch, *, again: bool) -> float:
        """Look at the GitRepo. Returns the seconds until the next look."""
        try:
            repo = await self._loader.load(key)
        except FleetError as error:
            await self._recorder.store_failure(key, error)
            return 60.0
        poll = validation.duration(
            repo.spec.spec.polling_interval or f"{self._settings.poll_seconds}s", key[1]
        )
        is_changed = (
            again
            or repo.scanned_generation != repo.generation
            or key in self._confirmations
            or (repo.retry and watch.failures > 0)
        )
        if repo.spec.spec.disable_polling and not is_changed and repo.checked_commit:
            return 3600.0
        try:
            is_transient = await self._follow(key, watch, repo, is_changed=is_changed)
        except FleetError as error:
            watch.failures += 1
            await self._recorder.store_failure(key, error, repo, is_changed=is_changed)
            low, high = _RETRY_SECONDS
            retry = Backoff(max(poll, low), high, jitter=0.5)
            return retry.seconds(watch.failures, jitter.fraction())
        watch.failures = watch.failures + 1 if is_transient else 0
        if is_transient:
            poll = Backoff(poll, _RETRY_SECONDS[1]).seconds(watch.failures + 1)
        return poll * jitter.between(1.0, 1.1)  # as in Fleet

    async def _follow(
        self, key: Key, watch: _GitRepoWatch, repo: LoadedGitRepo, *, is_changed: bool
    ) -> bool:
        """Fetch, scan and store. Returns whether a problem of the scan may disappear by itself."""
        spec = repo.spec.spec
        known_commit = "" if is_changed else repo.checked_commit
        commit = await self._stores.fetch(
            repo, repository.Ref(spec.branch, spec.revision), known_commit
        )
        self._live.poll_times[key] = self._clock()
        if commit == repo.checked_commit and not is_changed:
            await self._recorder.clear_failure(key)
            return False
        result = await self._scans.scan_when_due(key, repo, commit, is_changed=is_changed)
        warnings = [*login_warnings(repo), *result.warnings]
        scan = self._completed_scan(commit, result, warnings)
        watch.task = None  # a write to the store is not cancelled
        await self._take(key, repo, scan)
        return any(p.code in TRANSIENT for p in result.problems)

    async def _take(self, key: Key, repo: LoadedGitRepo, scan: CompletedScan) -> None:
        confirmation = self._confirmations.pop(key, None)
        if not await self._recorder.store_scan(key, repo, scan, confirmation):
            self.poke(*key)

    async def look(
        self, key: Key, ref: repository.Ref | None, document: JsonObject | None
    ) -> tuple[RepoSpec, CompletedScan]:
        """Scan without storing the result: another `ref`, or a GitRepo `document` that need not
        exist yet. Archives are written; the cleanup removes them if nothing uses them.

        Raises NotFound and the errors of a fetch.
        """
        try:
            repo = await self._loader.load(key, document)
        except GitRepoDeleted:
            step = "See `fleetctl gitrepo list`, or plan a new one with -f FILE."
            raise NotFound(
                f"no GitRepo {key[1]} in workspace {key[0]}",
                subject=f"GitRepo {key[0]}/{key[1]}",
                next_step=step,
            ) from None
        spec = repo.spec.spec
        commit = await self._stores.fetch(repo, ref or repository.Ref(spec.branch, spec.revision))
        result = await self._scans.scan(key, repo, commit)
        return repo.spec, self._completed_scan(commit, result, result.warnings)

    def _completed_scan(
        self, commit: CommitId, result: ScanResult, warnings: list[ScanProblem]
    ) -> CompletedScan:
        return CompletedScan(
            commit,
            result.specs,
            result.problems,
            warnings,
            result.unread,
            result.about,
            self._archives.likeness(),
        )

    async def sweep(self) -> int:
        """Remove the Git stores that no GitRepo uses any more, after another address or login.
        Returns their number.
        """
        try:
            used_names = {
                self._stores.path_of(await self._loader.load(key)).name
                for key in list(self._watches)
            }
        except (FleetError, GitRepoDeleted):
            return 0  # not all of them are known: look again with the next sweep
        return await self._stores.remove_unused(used_names)

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        """Confirm exactly the held removal. Raises Conflict if another removal is held now."""
        key = (workspace, name)
        self._confirmations[key] = await self._recorder.check_confirmation(key, removals, commit)
        self.poke(workspace, name, again=True)
