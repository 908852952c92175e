"""Watches the repositories: looks for new commits, scans them, and stores what changed in one
transaction.

Rule (I7): only a complete scan removes anything; one that would remove more than max(5, 20 %) of a
repository's bundles, or all that a cluster has, is held until a person confirms exactly that number
at that commit. What cannot be made stands as a problem beside its siblings.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fleetctl import jitter
from fleetctl.core.charts.login_scope import describe_wide_pattern
from fleetctl.core.documents.gitrepo import RESTRICTED, RepoSpec, repo_spec
from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import (
    Conflict,
    DeadlineError,
    FleetError,
    NotFound,
    UnavailableError,
)
from fleetctl.core.model.ids import ClusterId, CommitId
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.timing.backoff import Backoff
from fleetctl.sources.egress import EgressPolicy
from fleetctl.sources.git import repository

from .. import log, validation
from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..security.vault import Vault
from ..slots import FairSlots
from ..store import Reader, Writer
from ..store.archives import Archives
from ..store.commands.ingest.gitrepos import set_scan_error
from ..store.engine import Store
from ..store.queries.ingest.gitrepos import (
    GitRepoRow,
    ScanStateRow,
    all_gitrepos,
    find_gitrepo,
    find_scan_removal,
    find_scan_state,
    gitrepo_uid,
)
from ..store.queries.objects import sealed_objects
from .apply_scan import CompletedScan, apply_scan
from .scan_job import HelmLogin, ScanRequest, ScanResult, scan_in_child

_AT_ONCE = 8
_PER_WORKSPACE = 4
_RETRY_SECONDS = (2.0, 300.0)
_LOOK_SECONDS = 330.0  # of one look: a fetch, a scan, and the wait for the store
# After a scan that failed: the waits before the same commit is scanned again.
_RESCAN = Backoff(30.0, 3600.0)

# Codes of problems that may go away without a new commit.
_TRANSIENT = frozenset({"source", "unavailable", "deadline"})


class ScannerSettings(Protocol):
    @property
    def poll_seconds(self) -> int: ...
    @property
    def mirrors(self) -> Mapping[str, str]: ...
    @property
    def allow_egress(self) -> tuple[str, ...]: ...


Key = tuple[str, str]


@dataclass
class _GitRepoWatch:
    """When to look at a repository again (loop time), and how often the last looks failed in a
    row.
    """

    due: float = 0.0
    failures: int = 0
    again: bool = False  # someone asked for a scan of the same commit
    busy: bool = False
    task: asyncio.Task[None] | None = None  # the look that runs
    failed_scan: _FailedScan | None = None


@dataclass(frozen=True)
class _FailedScan:
    """The scan of `commit` failed `count` times in a row; it is repeated from `due` on (loop
    time).
    """

    commit: str
    error: FleetError
    count: int
    due: float


@dataclass(frozen=True)
class _Repo:
    uid: str
    spec: RepoSpec
    generation: int
    tried: str
    scanned_generation: int
    retry: bool  # the last scan met something that may go away by itself
    credential: repository.Credential | None
    helm_credential: repository.Credential | None
    is_restricted: bool  # its address may not lead to where only the manager reaches


@dataclass(frozen=True)
class _StoredRepo:
    """A GitRepo as the store has it, with the credentials that it names, by Secret."""

    row: GitRepoRow | None
    state: ScanStateRow | None
    credentials: dict[str, repository.Credential]


class Scanner:
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
        self._store, self._live, self._archives, self._vault = store, live, archives, vault
        self._git, self._clock, self._settings = data_dir / "git", clock, settings
        self._watches: dict[Key, _GitRepoWatch] = {}
        self._wake = asyncio.Event()
        self._slots = FairSlots(_AT_ONCE, _PER_WORKSPACE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._fetching: dict[str, asyncio.Lock] = {}
        self._confirmations: dict[Key, tuple[int, str]] = {}
        # bundles of the last scan by their fingerprint
        self._fingerprints: dict[Key, dict[str, BundleSpec]] = {}

    def poke(self, workspace: str, name: str, *, again: bool = False) -> None:
        """Look soon; without a name, at every repository of the workspace (a Secret changed)."""
        for key, watch in self._watches.items():
            if key[0] == workspace and name in {"", key[1]}:
                watch.due, watch.again, watch.failures = 0.0, watch.again or again, 0
                if watch.task and name:
                    self._start(self._cancel_deleted(key, watch.task))
        if name:
            self._watches.setdefault((workspace, name), _GitRepoWatch()).again |= again
        self._wake.set()

    async def run(self) -> None:
        """Look at each repository when it is due, a few at once."""
        loop = asyncio.get_running_loop()
        for key in await self._store.read(all_gitrepos):
            self._watches.setdefault(key, _GitRepoWatch())
        while True:
            self._wake.clear()
            for key, watch in list(self._watches.items()):
                if watch.due <= loop.time() and not watch.busy:
                    watch.busy = True
                    watch.task = self._start(self._look(key, watch))
            idle = [w.due for w in self._watches.values() if not w.busy]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, min([*idle, loop.time() + 60]) - loop.time())):
                    await self._wake.wait()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _cancel_deleted(self, key: Key, look: asyncio.Task[None]) -> None:
        """End the look at a GitRepo that was deleted meanwhile, so that it holds no slot."""
        try:
            await self._load(key)
        except GitRepoDeleted:
            look.cancel()
        except FleetError:
            pass  # the look itself reports it

    async def stop(self) -> None:
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
            self._fingerprints.pop(key, None)
            self._live.poll_times.pop(key, None)
            if watch.due == float("inf"):  # else it came again while we looked
                self._watches.pop(key, None)
        except TimeoutError:
            late = DeadlineError(
                f"looking at GitRepo {key[1]} took longer than {_LOOK_SECONDS:g} s",
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
            # A poke while we looked has set `due` to 0 and is not forgotten.
            if watch.due == float("inf"):
                watch.due = loop.time() + seconds
            self._wake.set()

    async def _look_failed(self, key: Key, watch: _GitRepoWatch, error: FleetError) -> float:
        """Store the error; seconds until the next look."""
        watch.failures += 1
        try:
            await self._record_failure(key, error)
        except Exception as store_error:
            log.bug("the error of a scan cannot be stored", store_error, repo="/".join(key))
        return _RESCAN.seconds(watch.failures)

    async def _look_once(self, key: Key, watch: _GitRepoWatch, *, again: bool) -> float:
        """Seconds until the next look."""
        try:
            repo = await self._load(key)
        except FleetError as error:
            await self._record_failure(key, error)
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
        if repo.spec.spec.disable_polling and not is_changed and repo.tried:
            return 3600.0
        try:
            result = await self._follow(key, watch, repo, is_changed=is_changed)
        except FleetError as error:
            watch.failures += 1
            await self._record_failure(key, error, repo, is_changed=is_changed)
            low, high = _RETRY_SECONDS
            retry = Backoff(max(poll, low), high, jitter=0.5)
            return retry.seconds(watch.failures, jitter.fraction())
        watch.failures = watch.failures + 1 if result else 0
        wait = Backoff(poll, _RETRY_SECONDS[1]).seconds(watch.failures + 1) if result else poll
        return wait * jitter.between(1.0, 1.1)  # as in Fleet

    async def look(
        self, key: Key, ref: repository.Ref | None, document: dict[str, Any] | None
    ) -> tuple[RepoSpec, CompletedScan]:
        """What a scan would take over: of another `ref`, or as a GitRepo `document` says that need
        not be there yet. Archives are written, and go after their grace when nobody takes them.
        Raises NotFound and what Git and its server have against it.
        """
        try:
            repo = await self._load(key, document)
        except GitRepoDeleted:
            step = "See `fleetctl gitrepo list`, or plan a new one with -f FILE."
            raise NotFound(
                f"no GitRepo {key[1]} in workspace {key[0]}",
                subject=f"GitRepo {key[0]}/{key[1]}",
                next_step=step,
            ) from None
        spec, store = repo.spec.spec, self._store_of(repo)
        async with self._fetching.setdefault(store.name, asyncio.Lock()):
            wanted_ref = ref or repository.Ref(spec.branch, spec.revision)
            commit = await repository.fetch(
                spec.repo,
                store=store,
                ref=wanted_ref,
                credential=repo.credential,
                mirrors=self._settings.mirrors,
                limits=self._limits_of(repo),
            )
        result = await self._scan(key, store, repo, commit)
        scan = CompletedScan(
            commit,
            result.specs,
            result.problems,
            result.warnings,
            result.unread,
            result.about,
            self._archives.likeness(),
        )
        return repo.spec, scan

    def _limits_of(self, repo: _Repo) -> repository.GitLimits:
        """An address that an administrator of the manager has set may lead anywhere."""
        egress = EgressPolicy(self._settings.allow_egress) if repo.is_restricted else None
        return repository.GitLimits(egress=egress)

    def _store_of(self, repo: _Repo) -> Path:
        """One bare store for each workspace, URL and credential: what one credential may read is
        never shown to another, and no workspace waits for a store that another one uses.
        """
        credential = repo.credential or repository.Credential()
        return self._git / self._vault.store_name(
            repo.spec.workspace, repo.spec.spec.repo, credential.username, credential.password
        )

    async def sweep(self) -> int:
        """Remove the Git stores that no GitRepo uses any more, after another address or login.
        Returns how many.
        """
        try:
            used_names = {self._store_of(await self._load(key)).name for key in list(self._watches)}
        except (FleetError, GitRepoDeleted):
            return 0  # not all of them are known: look again with the next sweep
        stores = await asyncio.to_thread(lambda: list(self._git.glob("*")))
        unused_stores = [store for store in stores if store.name not in used_names]
        for store in unused_stores:
            async with self._fetching.setdefault(store.name, asyncio.Lock()):
                await asyncio.to_thread(shutil.rmtree, store, ignore_errors=True)
        return len(unused_stores)

    async def _load(self, key: Key, document: dict[str, Any] | None = None) -> _Repo:
        """The GitRepo, or what `document` would make of it. Raises _Gone when it was deleted."""

        def read(reader: Reader) -> _StoredRepo:
            return self._read_repo(reader, key, document)

        stored_repo = await self._store.read(read)
        row, state = stored_repo.row, stored_repo.state
        spec = _repo_spec(key, stored_repo, document)
        secret = spec.spec.client_secret_name
        if secret and secret not in stored_repo.credentials:
            step = (
                f"Make it, or run `fleetctl gitrepo add {key[1]} … --username U --password-stdin`"
                " again."
            )
            raise NotFound(
                f"Secret {secret} does not exist", subject=f"GitRepo {key[1]}", next_step=step
            )
        return _Repo(
            uid=row.uid if row else "",
            spec=spec,
            generation=row.generation if row else 0,
            tried=state.tried if state else "",
            scanned_generation=state.generation if state else 0,
            retry=state is not None and not state.problem_codes.isdisjoint(_TRANSIENT),
            credential=_with_ca(
                stored_repo.credentials.get(secret or "gitcredential"), spec.spec.ca_bundle
            ),
            helm_credential=stored_repo.credentials.get(spec.spec.helm_secret_name),
            is_restricted=RESTRICTED in _annotations(row, document),
        )

    def _read_repo(self, reader: Reader, key: Key, document: dict[str, Any] | None) -> _StoredRepo:
        """Read the GitRepo and its credentials. Raises _Gone when it does not exist, unless a
        `document` replaces it.
        """
        row, state = find_gitrepo(reader, *key), find_scan_state(reader, *key)
        if (row is None or state is None) and document is None:
            raise GitRepoDeleted
        spec = document.get("spec") if document is not None else row and row.spec
        spec = spec or {}
        names = {
            str(spec.get("clientSecretName") or "gitcredential"),
            str(spec.get("helmSecretName") or ""),
        }
        credentials = {
            name: self._credential(key[0], name, secret.spec)
            for (kind, name), secret in sealed_objects(reader, key[0], names).items()
            if kind == "Secret"
        }
        return _StoredRepo(row, state, credentials)

    def _credential(self, workspace: str, name: str, sealed: bytes) -> repository.Credential:
        data = msgspec.json.decode(self._vault.unseal(sealed, f"Secret/{workspace}/{name}"))["data"]
        plain = {key: base64.b64decode(value) for key, value in data.items()}
        return repository.Credential(
            username=plain.get("username", b"").decode("utf-8", "replace"),
            password=plain.get("password", b"").decode("utf-8", "replace"),
            ca_pem=plain.get("cacerts") or plain.get("ca.crt") or b"",
        )

    async def _follow(
        self, key: Key, watch: _GitRepoWatch, repo: _Repo, *, is_changed: bool
    ) -> bool:
        """Whether something stands in the way that may go away by itself."""
        spec, store = repo.spec.spec, self._store_of(repo)
        lock = self._fetching.setdefault(store.name, asyncio.Lock())
        ref, known_commit = (
            repository.Ref(spec.branch, spec.revision),
            "" if is_changed else repo.tried,
        )
        async with lock:
            commit = await repository.fetch(
                spec.repo,
                store=store,
                ref=ref,
                known_commit=known_commit,
                credential=repo.credential,
                mirrors=self._settings.mirrors,
                limits=self._limits_of(repo),
            )
            self._live.poll_times[key] = self._clock()
            if commit == repo.tried and not is_changed:
                await self._set_error(key, b"null")
                return False
        result = await self._scan_again(key, watch, store, repo, commit, is_changed=is_changed)
        self._fingerprints[key] = {b.fingerprint: b.spec for b in result.bundles if b.fingerprint}
        likeness = self._archives.likeness()
        watch.task = None  # what is stored from here on is not cut off
        warnings = [*_open_logins(repo), *_wide_logins(repo), *result.warnings]
        await self._take(
            key,
            repo,
            CompletedScan(
                commit,
                result.specs,
                result.problems,
                warnings,
                result.unread,
                result.about,
                likeness,
            ),
        )
        return any(p.code in _TRANSIENT for p in result.problems)

    async def _scan_again(
        self,
        key: Key,
        watch: _GitRepoWatch,
        store: Path,
        repo: _Repo,
        commit: CommitId,
        *,
        is_changed: bool,
    ) -> ScanResult:
        """Scan, unless the scan of this commit failed before and its wait is not over."""
        loop = asyncio.get_running_loop()
        failure = (
            watch.failed_scan if watch.failed_scan and watch.failed_scan.commit == commit else None
        )
        if failure and not is_changed and loop.time() < failure.due:
            raise failure.error
        try:
            result = await self._scan(key, store, repo, commit)
        except FleetError as error:
            count = failure.count + 1 if failure else 1
            due = loop.time() + _RESCAN.seconds(count)
            watch.failed_scan = _FailedScan(commit, error, count, due)
            raise
        watch.failed_scan = None
        return result

    async def _scan(self, key: Key, store: Path, repo: _Repo, commit: CommitId) -> ScanResult:
        """Others may fetch into `store` meanwhile: commits and objects are only added. When it is
        made again the scan fails, and is repeated soon.
        """
        login = repo.helm_credential
        request = ScanRequest(
            store=str(store),
            archives=str(self._archives.folder),
            repo=repo.spec,
            commit=commit,
            known=self._fingerprints.get(key, {}),
            mirrors=dict(self._settings.mirrors),
            allow_egress=list(self._settings.allow_egress),
            helm_login=HelmLogin(login.username, login.password, login.ca_pem) if login else None,
        )
        return await scan_in_child(request)

    async def _take(self, key: Key, repo: _Repo, scan: CompletedScan) -> None:
        confirmation = self._confirmations.pop(key, None)
        now = rfc3339(self._clock())

        def write(writer: Writer) -> tuple[set[ClusterId], dict[str, Any] | None] | None:
            """Return None when the GitRepo was deleted meanwhile: the scan does not belong to
            another GitRepo of the same name.
            """
            if gitrepo_uid(writer, *key) != repo.uid:
                return None
            return apply_scan(
                writer, repo.spec, repo.generation, scan, confirmation=confirmation, now=now
            )

        result = await self._store.write(write)
        if result is None:
            self.poke(*key)
            return
        changed_clusters, removal = result
        self._live.mark_changed(changed_clusters)
        shown_name = "/".join(key)
        log.event(
            "scanned",
            repo=shown_name,
            commit=scan.commit,
            bundles=len(scan.specs),
            problems=len(scan.problems),
            clusters=len(changed_clusters),
        )
        if removal:
            log.warning("held", repo=shown_name, removals=removal["removals"], of=removal["of"])

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        """Let exactly the held removal go. Raises Conflict when it is another one by now."""
        key = (workspace, name)
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
            step = f"Look again with `fleetctl gitrepo get {name}`."
            raise Conflict(
                f"{summary}, not {removals} at {commit[:12]}",
                subject=f"GitRepo {workspace}/{name}",
                next_step=step,
            )
        self._confirmations[key] = (removals, removal["commit"])
        self.poke(workspace, name, again=True)

    async def _record_failure(
        self, key: Key, error: FleetError, repo: _Repo | None = None, *, is_changed: bool = False
    ) -> None:
        """Store the error when it differs from the stored one; an unchanged failure touches no
        disk. `is_changed`: the commit must be scanned by the next look though it may be the same.
        """
        texts = {"summary": error.summary, "subject": error.subject, "nextStep": error.next_step}
        redacted_texts = {key: redacted(value) for key, value in texts.items()}
        text = msgspec.json.encode({"code": error.code} | redacted_texts)
        generation = repo.generation if repo else None
        await self._set_error(key, text, generation, scan_again=repo is not None and is_changed)
        log.warning("repository cannot be read", repo="/".join(key), error=error.summary)

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
            and not (scan_again and state.tried)
        ):
            return
        await self._store.write(
            lambda writer: set_scan_error(
                writer, *key, error, generation=generation, scan_again=scan_again
            )
        )
        self._live.mark_changed()


class GitRepoDeleted(Exception):
    """The GitRepo does not exist any more."""


def _repo_spec(key: Key, stored_repo: _StoredRepo, document: dict[str, Any] | None) -> RepoSpec:
    """Return the spec of the stored GitRepo, or of the `document` that replaces it."""
    if document is not None:
        return repo_spec(document)
    row = stored_repo.row
    assert row is not None
    metadata = {"name": key[1], "namespace": key[0], "labels": row.labels}
    return repo_spec({"metadata": metadata, "spec": row.spec})


def _annotations(row: GitRepoRow | None, document: dict[str, Any] | None) -> dict[str, Any]:
    if document is None:
        return row.annotations if row else {}
    metadata = document.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _with_ca(credential: repository.Credential | None, bundle: str) -> repository.Credential | None:
    if not bundle:
        return credential
    pem = bundle.encode() if "BEGIN CERT" in bundle else base64.b64decode(bundle)
    credential = credential or repository.Credential()
    return repository.Credential(
        username=credential.username, password=credential.password, ca_pem=pem
    )


def _open_logins(repo: _Repo) -> list[ScanProblem]:
    """A warning when a login goes over a connection that is not encrypted."""
    if (
        repo.credential is None
        or not repo.credential.username
        or not repo.spec.spec.repo.lower().startswith("http://")
    ):
        return []
    summary = (
        "user and password of the repository travel unencrypted: its address begins with http://"
    )
    step = "Use the https:// address of the repository."
    return [
        ScanProblem(
            path="", code="unencrypted-login", summary=summary, next_step=step, warning=True
        )
    ]


def _wide_logins(repo: _Repo) -> list[ScanProblem]:
    """A warning when the login for charts may go to hosts that nobody meant."""
    summary = describe_wide_pattern(repo.spec.spec.helm_repo_url_regex)
    if not summary or repo.helm_credential is None:
        return []
    step = "Correct helmRepoURLRegex of the GitRepo."
    return [ScanProblem(path="", code="wide-login", summary=summary, next_step=step, warning=True)]
