"""Fetches commits into bare Git stores on the manager's disk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fleetctl.core.model.ids import CommitId
from fleetctl.sources.egress import EgressPolicy
from fleetctl.sources.git import repository

from ..security.vault import Vault
from .gitrepo_loader import LoadedGitRepo


class SourceSettings(Protocol):
    """Where the manager may fetch from."""

    @property
    def mirrors(self) -> Mapping[str, str]: ...
    @property
    def allow_egress(self) -> tuple[str, ...]: ...


class GitStores:
    """One bare store for each workspace, URL and credential.

    A credential never shows what another one may read, and no workspace waits for a store that
    another workspace uses. One fetch at a time writes to a store.
    """

    def __init__(self, folder: Path, vault: Vault, settings: SourceSettings) -> None:
        self._folder, self._vault, self._settings = folder, vault, settings
        self._locks: dict[str, asyncio.Lock] = {}

    def path_of(self, repo: LoadedGitRepo) -> Path:
        """The folder of the store."""
        credential = repo.credential or repository.Credential()
        return self._folder / self._vault.store_name(
            repo.spec.workspace, repo.spec.spec.repo, credential.username, credential.password
        )

    async def fetch(
        self, repo: LoadedGitRepo, ref: repository.Ref, known_commit: str = ""
    ) -> CommitId:
        """Fetch `ref` and return its commit. Raises the errors of `repository.fetch`."""
        store = self.path_of(repo)
        async with self._lock(store):
            return await repository.fetch(
                repo.spec.spec.repo,
                store=store,
                ref=ref,
                known_commit=known_commit,
                credential=repo.credential,
                mirrors=self._settings.mirrors,
                limits=self._limits_of(repo),
            )

    async def remove_unused(self, used_names: set[str]) -> int:
        """Remove the stores with other names. Returns their number."""
        stores = await asyncio.to_thread(lambda: list(self._folder.glob("*")))
        unused_stores = [store for store in stores if store.name not in used_names]
        for store in unused_stores:
            async with self._lock(store):
                await asyncio.to_thread(shutil.rmtree, store, ignore_errors=True)
        return len(unused_stores)

    def _lock(self, store: Path) -> asyncio.Lock:
        return self._locks.setdefault(store.name, asyncio.Lock())

    def _limits_of(self, repo: LoadedGitRepo) -> repository.GitLimits:
        """An address that an administrator of the manager has set may lead anywhere."""
        egress = EgressPolicy(self._settings.allow_egress) if repo.is_restricted else None
        return repository.GitLimits(egress=egress)
