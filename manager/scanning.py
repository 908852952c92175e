"""Watches the repositories: looks for new commits, scans them, and stores what changed in one transaction.

Rule (I7): only a complete scan removes anything; one that would remove more than max(5, 20 %) of a repository's bundles, or all that a
cluster has, is held until a person confirms exactly that number at that commit. What cannot be made stands as a problem beside its
siblings.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.bundle import BundleSpec
from fleetctl.core.errors import Conflict, FleetError, NotFound
from fleetctl.core.gitrepo import RepoSpec, repo_spec
from fleetctl.core.ids import ClusterId, CommitId, Digest
from fleetctl.core.loginscope import describe_wide_pattern
from fleetctl.core.redact import redacted
from fleetctl.core.scan import Built, Draft, Problem, scan
from fleetctl.core.tree import within
from fleetctl.sources import git
from fleetctl.sources.charting import ChartSource, Login, completed
from fleetctl.sources.gitstore import About

from . import kinds, log
from .archives import Archives
from .clock import Clock, rfc3339
from .live import Live
from .store.base import Store
from .store.schema import objects, repos
from .taking import Taken, take
from .vault import Vault

_AT_ONCE = 4
_RETRY_SECONDS = (2.0, 300.0)


class Settings(Protocol):
    @property
    def poll_seconds(self) -> int: ...
    @property
    def mirrors(self) -> Mapping[str, str]: ...
    @property
    def allow_egress(self) -> tuple[str, ...]: ...


Key = tuple[str, str]


@dataclass
class _Watch:
    """When to look at a repository again (loop time), and how often the last looks failed in a row."""

    due: float = 0.0
    failures: int = 0
    again: bool = False  # someone asked for a scan of the same commit
    busy: bool = False


@dataclass(frozen=True)
class _Repo:
    uid: str
    spec: RepoSpec
    generation: int
    tried: str
    scanned_generation: int
    retry: bool  # the last scan met something that may go away by itself
    credential: git.Credential | None
    helm_credential: git.Credential | None


class Scanner:
    def __init__(
        self, store: Store, live: Live, archives: Archives, vault: Vault, data_dir: Path, clock: Clock, settings: Settings
    ) -> None:
        self._store, self._live, self._archives, self._vault = store, live, archives, vault
        self._git, self._clock, self._settings = data_dir / "git", clock, settings
        self._watches: dict[Key, _Watch] = {}
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._fetching: dict[str, asyncio.Lock] = {}
        self._confirmed: dict[Key, tuple[int, str]] = {}
        self._made: dict[Key, dict[str, BundleSpec]] = {}  # bundles of the last scan by their fingerprint

    def poke(self, workspace: str, name: str, *, again: bool = False) -> None:
        """Look soon; without a name, at every repository of the workspace (a Secret changed)."""
        for key, watch in self._watches.items():
            if key[0] == workspace and name in {"", key[1]}:
                watch.due, watch.again, watch.failures = 0.0, watch.again or again, 0
        if name:
            self._watches.setdefault((workspace, name), _Watch()).again |= again
        self._wake.set()

    async def run(self) -> None:
        """Look at each repository when it is due, a few at once."""
        query = sa.select(objects.c.workspace, objects.c.name).where(objects.c.kind == "GitRepo")
        loop = asyncio.get_running_loop()
        rows = await self._store.read(lambda c: c.execute(query).all())
        for row in rows:
            self._watches.setdefault((row.workspace, row.name), _Watch())
        while True:
            self._wake.clear()
            for key, watch in list(self._watches.items()):
                if watch.due <= loop.time() and not watch.busy:
                    watch.busy = True
                    task = asyncio.create_task(self._look(key, watch))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            idle = [w.due for w in self._watches.values() if not w.busy]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, min([*idle, loop.time() + 60]) - loop.time())):
                    await self._wake.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, key: Key, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        seconds = 3600.0
        try:
            async with self._slots:
                again, watch.again = watch.again, False
                watch.due = float("inf")
                seconds = await self._look_once(key, watch, again=again)
        except _Gone:
            self._made.pop(key, None)
            self._live.polled.pop(key, None)
            if watch.due == float("inf"):  # else it came again while we looked
                self._watches.pop(key, None)
        except Exception as error:
            log.bug("a scan failed", error, repo="/".join(key))
            seconds = 30.0
        finally:
            watch.busy = False
            # A poke while we looked has set `due` to 0 and is not forgotten.
            if watch.due == float("inf"):
                watch.due = loop.time() + seconds
            self._wake.set()

    async def _look_once(self, key: Key, watch: _Watch, *, again: bool) -> float:
        """Seconds until the next look."""
        try:
            repo = await self._load(key)
        except FleetError as error:
            await self._failed(key, error)
            return 60.0
        poll = kinds.duration(repo.spec.spec.polling_interval or f"{self._settings.poll_seconds}s", key[1])
        changed = again or repo.scanned_generation != repo.generation or key in self._confirmed or (repo.retry and watch.failures > 0)
        if repo.spec.spec.disable_polling and not changed and repo.tried:
            return 3600.0
        try:
            done = await self._follow(key, repo, changed=changed)
        except FleetError as error:
            watch.failures += 1
            await self._failed(key, error, repo.generation)
            low, high = _RETRY_SECONDS
            return min(high, max(poll, low) * 2.0 ** min(watch.failures - 1, 8)) * random.uniform(0.5, 1.0)  # noqa: S311 - spread
        watch.failures = watch.failures + 1 if done else 0
        wait = min(300.0, poll * 2.0 ** min(watch.failures, 6)) if done else poll
        return wait * random.uniform(1.0, 1.1)  # noqa: S311 - spread, as in Fleet

    async def look(self, key: Key, ref: git.Ref | None, document: dict[str, Any] | None) -> tuple[RepoSpec, Taken, list[Built]]:
        """What a scan would take over: of another `ref`, or as a GitRepo `document` says that need not be there yet. Archives are written,
        and go after their grace when nobody takes them. Raises NotFound and what Git and its server have against it.
        """
        try:
            repo = await self._load(key, document)
        except _Gone:
            step = "See `fleetctl gitrepo list`, or plan a new one with -f FILE."
            raise NotFound(f"no GitRepo {key[1]} in workspace {key[0]}", subject=f"GitRepo {key[0]}/{key[1]}", next_step=step) from None
        spec, store = repo.spec.spec, self._store_of(repo)
        async with self._fetching.setdefault(store.name, asyncio.Lock()):
            wanted = ref or git.Ref(spec.branch, spec.revision)
            commit = await git.fetch(spec.repo, store=store, ref=wanted, credential=repo.credential, mirrors=self._settings.mirrors)
            found = await self._found(key, store, repo, commit)
        built, problems = await self._built(repo, found)
        specs, alike = [b.spec for b in built], self._archives.likeness()
        return repo.spec, Taken(commit, specs, problems, found.warnings, found.about, alike), built

    def _store_of(self, repo: _Repo) -> Path:
        """One bare store for each URL and credential: what one credential may read is never shown to another."""
        had = repo.credential or git.Credential()
        return self._git / self._vault.store_name(repo.spec.spec.repo, had.username, had.password)

    async def sweep(self) -> int:
        """Remove the Git stores that no GitRepo uses any more, after another address or login. Returns how many."""
        try:
            used = {self._store_of(await self._load(key)).name for key in list(self._watches)}
        except (FleetError, _Gone):
            return 0  # not all of them are known: look again with the next sweep
        stores = await asyncio.to_thread(lambda: list(self._git.glob("*")))
        unused = [store for store in stores if store.name not in used]
        for store in unused:
            async with self._fetching.setdefault(store.name, asyncio.Lock()):
                await asyncio.to_thread(shutil.rmtree, store, ignore_errors=True)
        return len(unused)

    async def _load(self, key: Key, document: dict[str, Any] | None = None) -> _Repo:
        """The GitRepo, or what `document` would make of it. Raises _Gone when it was deleted."""

        def read(connection: Connection) -> tuple[Any, Any, dict[str, git.Credential]]:
            o = objects.c
            mine = (o.kind == "GitRepo") & (o.workspace == key[0]) & (o.name == key[1])
            row = connection.execute(sa.select(objects).where(mine)).one_or_none()
            state = connection.execute(sa.select(repos).where(repos.c.workspace == key[0], repos.c.name == key[1])).one_or_none()
            if (row is None or state is None) and document is None:
                raise _Gone
            spec = (document.get("spec") or {}) if document is not None else msgspec.json.decode(row.spec if row else b"{}")
            names = {spec.get("clientSecretName") or "gitcredential", spec.get("helmSecretName") or ""}
            secrets = connection.execute(sa.select(o.name, o.spec).where(o.kind == "Secret", o.workspace == key[0], o.name.in_(names)))
            return row, state, {s.name: self._credential(key[0], s.name, s.spec) for s in secrets}

        row, state, secrets = await self._store.read(read)
        if document is not None:
            spec = repo_spec(document)
        else:
            meta = {"name": key[1], "namespace": key[0], "labels": msgspec.json.decode(row.labels)}
            spec = repo_spec({"metadata": meta, "spec": msgspec.json.decode(row.spec)})
        wanted = spec.spec.client_secret_name
        if wanted and wanted not in secrets:
            step = f"Make it, or run `fleetctl gitrepo add {key[1]} … --username U --password-stdin` again."
            raise NotFound(f"Secret {wanted} does not exist", subject=f"GitRepo {key[1]}", next_step=step)
        problems = msgspec.json.decode(state.problems) if state else []
        return _Repo(
            uid=row.uid if row else "",
            spec=spec,
            generation=row.generation if row else 0,
            tried=state.tried if state else "",
            scanned_generation=state.scanned_generation if state else 0,
            retry=any(p["code"] in {"source", "unavailable", "deadline"} for p in problems),
            credential=_with_ca(secrets.get(wanted or "gitcredential"), spec.spec.ca_bundle),
            helm_credential=secrets.get(spec.spec.helm_secret_name),
        )

    def _credential(self, workspace: str, name: str, sealed: bytes) -> git.Credential:
        data = msgspec.json.decode(self._vault.unseal(sealed, f"Secret/{workspace}/{name}"))["data"]
        plain = {key: base64.b64decode(value) for key, value in data.items()}
        return git.Credential(
            username=plain.get("username", b"").decode("utf-8", "replace"),
            password=plain.get("password", b"").decode("utf-8", "replace"),
            ca_pem=plain.get("cacerts") or plain.get("ca.crt") or b"",
        )

    async def _follow(self, key: Key, repo: _Repo, *, changed: bool) -> bool:
        """Whether something stands in the way that may go away by itself."""
        spec, store = repo.spec.spec, self._store_of(repo)
        lock = self._fetching.setdefault(store.name, asyncio.Lock())
        ref, known = git.Ref(spec.branch, spec.revision), "" if changed else repo.tried
        async with lock:
            commit = await git.fetch(
                spec.repo, store=store, ref=ref, known=known, credential=repo.credential, mirrors=self._settings.mirrors
            )
            self._live.polled[key] = self._clock()
            if commit == repo.tried and not changed:
                await self._clear_error(key)
                return False
            found = await self._found(key, store, repo, commit)
        built, problems = await self._built(repo, found)
        self._made[key] = {b.fingerprint: b.spec for b in built if b.fingerprint}
        specs, warnings = [b.spec for b in built], [*_open_logins(repo), *_wide_logins(repo), *found.warnings]
        await self._take(key, repo, Taken(commit, specs, problems, warnings, found.about, self._archives.likeness()))
        return any(p.code in {"source", "unavailable", "deadline"} for p in problems)

    async def _found(self, key: Key, store: Path, repo: _Repo, commit: CommitId) -> _Scanned:
        """While nobody else fetches into `store`."""
        found = await asyncio.to_thread(_scanned, store, repo.spec, commit, self._made.get(key, {}))
        old = [Digest(d.spec.archive) for d in found.drafts if d.is_made]
        if await asyncio.to_thread(self._archives.missing, old):
            found = await asyncio.to_thread(_scanned, store, repo.spec, commit, {})
        return found

    async def _built(self, repo: _Repo, found: _Scanned) -> tuple[list[Built], list[Problem]]:
        """The bundles with their archives on the disk, and all that stands in the way of others."""
        source = ChartSource(
            self._settings.mirrors,
            self._settings.allow_egress,
            Login(repo.spec.spec.helm_repo_url_regex, repo.helm_credential),
        )
        built, more = await completed(found.drafts, source)
        await asyncio.to_thread(self._archives.add, [(Digest(b.spec.archive), b.archive) for b in built if b.archive])
        return built, [*found.problems, *more]

    async def _take(self, key: Key, repo: _Repo, taken: Taken) -> None:
        confirmed = self._confirmed.pop(key, None)
        now = rfc3339(self._clock())

        def write(connection: Connection) -> tuple[set[ClusterId], dict[str, Any] | None] | None:
            """None when that GitRepo was deleted meanwhile: what was found for it is nothing of another one of its name."""
            o = objects.c
            mine = (o.kind == "GitRepo") & (o.workspace == key[0]) & (o.name == key[1])
            if connection.execute(sa.select(o.uid).where(mine)).scalar() != repo.uid:
                return None
            return take(connection, repo.spec, repo.generation, taken, confirmed=confirmed, now=now)

        done = await self._store.write(write)
        if done is None:
            self.poke(*key)
            return
        touched, held = done
        self._live.changed(touched)
        shown = "/".join(key)
        log.event("scanned", repo=shown, commit=taken.commit, bundles=len(taken.specs), problems=len(taken.problems), clusters=len(touched))
        if held:
            log.warning("held", repo=shown, removals=held["removals"], of=held["of"])

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        """Let exactly the held removal go. Raises Conflict when it is another one by now."""
        key = (workspace, name)
        query = sa.select(repos.c.held).where(repos.c.workspace == workspace, repos.c.name == name)
        row = await self._store.read(lambda c: c.execute(query).one_or_none())
        held = msgspec.json.decode(row.held) if row else None
        if not held or held["removals"] != removals or not (commit and held["commit"].startswith(commit)):
            said = f"{held['removals']} removals at {held['commit'][:12]} are held" if held else "nothing is held"
            step = f"Look again with `fleetctl gitrepo get {name}`."
            raise Conflict(f"{said}, not {removals} at {commit[:12]}", subject=f"GitRepo {workspace}/{name}", next_step=step)
        self._confirmed[key] = (removals, held["commit"])
        self.poke(workspace, name, again=True)

    async def _failed(self, key: Key, error: FleetError, generation: int = 0) -> None:
        """Write the error down when it is another one than before; an unchanged failure touches no disk."""
        summary, subject, step = (redacted(text) for text in (error.summary, error.subject, error.next_step))
        text = msgspec.json.encode({"code": error.code, "summary": summary, "subject": subject, "nextStep": step})
        await self._set(key, {"error": text} | ({"scanned_generation": generation} if generation else {}))
        log.warning("repository cannot be read", repo="/".join(key), error=error.summary)

    async def _clear_error(self, key: Key) -> None:
        await self._set(key, {"error": b"null"})

    async def _set(self, key: Key, values: dict[str, Any]) -> None:
        mine = (repos.c.workspace == key[0]) & (repos.c.name == key[1])
        columns = [repos.c[name] for name in values]
        row = await self._store.read(lambda c: c.execute(sa.select(*columns).where(mine)).one_or_none())
        if row is None or tuple(row) == tuple(values.values()):
            return
        await self._store.write(lambda c: c.execute(sa.update(repos).where(mine).values(**values)))
        self._live.changed()


_MOST_WARNINGS = 100


class _Gone(Exception):
    """The GitRepo does not exist any more."""


def _with_ca(credential: git.Credential | None, bundle: str) -> git.Credential | None:
    if not bundle:
        return credential
    pem = bundle.encode() if "BEGIN CERT" in bundle else base64.b64decode(bundle)
    had = credential or git.Credential()
    return git.Credential(username=had.username, password=had.password, ca_pem=pem)


def _open_logins(repo: _Repo) -> list[Problem]:
    """A warning when a login goes over a connection that is not encrypted."""
    if repo.credential is None or not repo.credential.username or not repo.spec.spec.repo.lower().startswith("http://"):
        return []
    summary = "user and password of the repository travel unencrypted: its address begins with http://"
    step = "Use the https:// address of the repository."
    return [Problem(path="", code="unencrypted-login", summary=summary, next_step=step, warning=True)]


def _wide_logins(repo: _Repo) -> list[Problem]:
    """A warning when the login for charts may go to hosts that nobody meant."""
    summary = describe_wide_pattern(repo.spec.spec.helm_repo_url_regex)
    if not summary or repo.helm_credential is None:
        return []
    step = "Correct helmRepoURLRegex of the GitRepo."
    return [Problem(path="", code="wide-login", summary=summary, next_step=step, warning=True)]


@dataclass(frozen=True)
class _Scanned:
    drafts: list[Draft]
    problems: list[Problem]
    warnings: list[Problem]
    about: About


def _scanned(store: Path, spec: RepoSpec, commit: CommitId, made: Mapping[str, BundleSpec]) -> _Scanned:
    tree = git.open_tree(store, commit)
    try:
        found = scan(tree, spec, commit=commit, known=made)
        mine = [(path, why) for path, why in tree.left_out.items() if any(within(path, d.spec.path) for d in found.drafts)]
    finally:
        tree.close()
    left = [Problem(path=path, code="left-out", summary=f"{path} is left out: {why}", warning=True) for path, why in mine]
    return _Scanned(found.drafts, found.problems, [*found.warnings, *left][:_MOST_WARNINGS], tree.about)
