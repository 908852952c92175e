"""Stores the results and errors of scans, each in one transaction."""

from __future__ import annotations

import msgspec

from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import Conflict, FleetError
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.json_object import JsonObject

from .. import log
from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..store import Writer
from ..store.commands.ingest.gitrepos import set_scan_error
from ..store.engine import Store
from ..store.queries.ingest.gitrepos import find_scan_removal, find_scan_state, gitrepo_uid
from .apply_scan import CompletedScan, apply_scan
from .gitrepo_loader import Key, LoadedGitRepo

Confirmation = tuple[int, str]  # number of removals, commit


class ScanRecorder:
    """The writing half of a scan."""

    def __init__(self, store: Store, live: PresenceTable, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock

    async def store_scan(
        self,
        key: Key,
        repo: LoadedGitRepo,
        scan: CompletedScan,
        confirmation: Confirmation | None,
    ) -> bool:
        """Store the bundles of the scan. Returns False if the GitRepo was deleted meanwhile."""
        now = rfc3339(self._clock())

        def write(writer: Writer) -> tuple[set[ClusterId], JsonObject | None] | None:
            """Returns None if the GitRepo was deleted: the scan does not belong to a new GitRepo
            of the same name.
            """
            if gitrepo_uid(writer, *key) != repo.uid:
                return None
            return apply_scan(
                writer, repo.spec, repo.generation, scan, confirmation=confirmation, now=now
            )

        result = await self._store.write(write)
        if result is None:
            return False
        changed_clusters, removal = result
        self._live.mark_changed(changed_clusters)
        display_name = "/".join(key)
        log.event(
            "scanned",
            repo=display_name,
            commit=scan.commit,
            bundles=len(scan.specs),
            problems=len(scan.problems),
            clusters=len(changed_clusters),
        )
        if removal:
            log.warning("held", repo=display_name, removals=removal["removals"], of=removal["of"])
        return True

    async def check_confirmation(self, key: Key, removals: int, commit: str) -> Confirmation:
        """The confirmation of the held removal. Raises Conflict if another removal is held now."""
        removal = await self._store.read(lambda reader: find_scan_removal(reader, *key))
        if (
            not removal
            or removal["removals"] != removals
            or not (commit and removal["commit"].startswith(commit))
        ):
            summary = (
                f"{removal['removals']} removals at {removal['commit'][:12]} are held"
                if removal
                else "nothing is held"
            )
            step = f"Look again with `fleetctl gitrepo get {key[1]}`."
            raise Conflict(
                f"{summary}, not {removals} at {commit[:12]}",
                subject=f"GitRepo {key[0]}/{key[1]}",
                next_step=step,
            )
        return removals, removal["commit"]

    async def store_failure(
        self,
        key: Key,
        error: FleetError,
        repo: LoadedGitRepo | None = None,
        *,
        is_changed: bool = False,
    ) -> None:
        """Store the error if it differs from the stored one, so that a failure that repeats writes
        nothing. `is_changed`: the next look must scan the commit, even if it is the same one.
        """
        texts = {"summary": error.summary, "subject": error.subject, "nextStep": error.next_step}
        redacted_texts = {key: redacted(value) for key, value in texts.items()}
        text = msgspec.json.encode({"code": error.code} | redacted_texts)
        generation = repo.generation if repo else None
        await self._set_error(key, text, generation, scan_again=repo is not None and is_changed)
        log.warning("repository cannot be read", repo="/".join(key), error=error.summary)

    async def clear_failure(self, key: Key) -> None:
        """Remove the stored error, if there is one."""
        await self._set_error(key, b"null")

    async def _set_error(
        self, key: Key, error: bytes, generation: int | None = None, *, scan_again: bool = False
    ) -> None:
        """Store the error unless it is stored already. `generation`: of the GitRepo that was read;
        `scan_again`: the next look scans the same commit again.
        """
        state = await self._store.read(lambda reader: find_scan_state(reader, *key))
        if state is None or (
            state.error == error
            and generation in {None, state.generation}
            and not (scan_again and state.checked_commit)
        ):
            return
        await self._store.write(
            lambda writer: set_scan_error(
                writer, *key, error, generation=generation, scan_again=scan_again
            )
        )
        self._live.mark_changed()
