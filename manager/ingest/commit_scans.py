"""Scans commits of GitRepos in child processes.

A scan does not read the bundles again that have not changed since the last one. After a scan that
failed, the same commit is scanned again only after a wait that grows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import CommitId
from fleetctl.core.timing.backoff import Backoff

from ..store.archives import Archives
from .git_stores import GitStores, SourceSettings
from .gitrepo_loader import Key, LoadedGitRepo
from .scan_job import HelmLogin, ScanRequest, ScanResult, scan_in_child

# The waits before a commit whose scan failed is scanned again.
RESCAN = Backoff(30.0, 3600.0)


@dataclass(frozen=True)
class _FailedScan:
    """The scan of `commit` failed `count` times in a row. It may run again at `due` (loop time)."""

    commit: str
    error: FleetError
    count: int
    due: float


class CommitScans:
    """`_fingerprints`: the bundles of the last scan of each GitRepo by their fingerprint."""

    def __init__(self, archives: Archives, stores: GitStores, settings: SourceSettings) -> None:
        self._archives, self._stores, self._settings = archives, stores, settings
        self._fingerprints: dict[Key, dict[str, BundleSpec]] = {}
        self._failures: dict[Key, _FailedScan] = {}

    async def scan(self, key: Key, repo: LoadedGitRepo, commit: CommitId) -> ScanResult:
        """Scan the commit. Raises FleetError.

        Other tasks may fetch into the store at the same time, since a fetch only adds objects. If
        the store is removed, the scan fails and is repeated soon.
        """
        login = repo.helm_credential
        request = ScanRequest(
            store=str(self._stores.path_of(repo)),
            archives=str(self._archives.folder),
            repo=repo.spec,
            commit=commit,
            known=self._fingerprints.get(key, {}),
            mirrors=dict(self._settings.mirrors),
            allow_egress=list(self._settings.allow_egress),
            helm_login=HelmLogin(login.username, login.password, login.ca_pem) if login else None,
        )
        return await scan_in_child(request)

    async def scan_when_due(
        self, key: Key, repo: LoadedGitRepo, commit: CommitId, *, is_changed: bool
    ) -> ScanResult:
        """Scan the commit, and remember its bundles. Raises FleetError.

        Raises the error of the last scan if that failed for this commit, its wait is not over and
        nothing changed.
        """
        loop = asyncio.get_running_loop()
        failure = self._failures.get(key)
        if failure is not None and failure.commit != commit:
            failure = None
        if failure and not is_changed and loop.time() < failure.due:
            raise failure.error
        try:
            result = await self.scan(key, repo, commit)
        except FleetError as error:
            count = failure.count + 1 if failure else 1
            due = loop.time() + RESCAN.seconds(count)
            self._failures[key] = _FailedScan(commit, error, count, due)
            raise
        self._failures.pop(key, None)
        self._fingerprints[key] = {b.fingerprint: b.spec for b in result.bundles if b.fingerprint}
        return result

    def forget(self, key: Key) -> None:
        """Drop what is known of a GitRepo that was deleted."""
        self._fingerprints.pop(key, None)
        self._failures.pop(key, None)
