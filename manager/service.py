"""The manager without its HTTP side: one object that `manager/api` calls, made of parts that each
know one thing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.ids import LOCAL_WORKSPACE, BundleName, ClusterId, Digest, Epoch, Workspace
from fleetctl.core.rollout.impact import Plan
from fleetctl.core.rollout.removal_guard import Limits

from . import log
from .agents.agent_releases import AgentReleases
from .agents.agent_upgrades import AgentUpgrades, UpgradeRequest
from .agents.desired_state import DesiredState, SignedDocument
from .agents.presence import OFFLINE_SECONDS, Live
from .agents.requests import AgentRequests, Registration
from .clock import rfc3339, steady, unchanged
from .commands.corrections import Corrector
from .commands.objects import ObjectCommands, Put
from .commands.removals import Labels, RemovalCommands
from .commands.rollback import RollbackRequest, RollbackResult
from .commands.rollout_control import RolloutControl
from .identifiers import new_uid
from .ingest.archive_rebuild import Restorer
from .ingest.scanner import Scanner
from .plans.planner import Asked as AskedPlan
from .plans.planner import Planner
from .revisions import audit_log, history
from .rollout import staging
from .rollout.loop import RolloutLoop
from .security import data_keys, key_check
from .security.secret_sealing import Sealer
from .security.signing import Signer
from .security.tokens import Person, Tokens
from .security.vault import Vault
from .store import count_triggers
from .store.archives import Archives
from .store.commands import meta as meta_commands
from .store.commands import objects as object_commands
from .store.commands.removals import store_removal_limits
from .store.connection import Reader, Writer
from .store.engine import Store
from .store.queries import archives as archive_queries
from .store.queries import meta as meta_queries
from .store.queries.objects import ObjectContent, ObjectKey, list_workspaces
from .store.queries.revisions import revision_archives
from .views import rollouts
from .views.cluster_history import list_history
from .views.explain.deployment import Subject, explain_subject
from .views.fleet_status import build_overview
from .views.metadata import ListFilter
from .views.objects import get_document, list_documents

_FLUSH_SECONDS = 30.0
_SWEEP_SECONDS = 3600.0


@dataclass(frozen=True)
class Settings:
    """`poll_seconds`: between two looks at a repository. `mirrors`: prefix → URL. `allow_egress`:
    CIDRs and hosts for charts. `offline_seconds`: how long a cluster may be silent. `accept_lost`:
    keys that a person has given up (datadir.LOSSES).
    """

    poll_seconds: int = 15
    mirrors: Mapping[str, str] = field(default_factory=dict)
    allow_egress: tuple[str, ...] = ()
    secret_key_file: Path | None = None
    removals: Limits = field(default_factory=Limits)
    offline_seconds: float = OFFLINE_SECONDS
    accept_lost: tuple[str, ...] = ()


class Service:
    def __init__(
        self,
        data_dir: Path,
        *,
        signer: Signer,
        clock: Callable[[], float] = time.time,
        settings: Settings | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """`monotonic` defaults to the system's beside the system's clock, and to `clock` beside a
        clock of a test.
        """
        self._clock, self._settings = clock, settings or Settings()
        self._store, self._signer = Store(data_dir / "fleet.db"), signer
        tick = time.monotonic if monotonic is None and clock is time.time else monotonic
        started = clock()
        self._live = Live(
            started, self._settings.offline_seconds, steady(started, tick) if tick else unchanged
        )
        self._archives = Archives(data_dir / "archives")
        vault = self._vault = Vault.open(data_dir, self._settings.secret_key_file)
        self._documents = DesiredState(self._store, self._live, signer, clock, Sealer(vault))
        self._scanner = Scanner(
            self._store, self._live, self._archives, vault, data_dir, clock, self._settings
        )
        self._restorer = Restorer(self._store, self._archives, self._scanner)
        self._agents = AgentRequests(
            self._store, self._live, self._documents, self._restorer, signer, clock
        )
        self._objects = ObjectCommands(self._store, self._live, vault, clock, self._scanner.poke)
        self._planner = Planner(self._store, self._live, self._archives, self._scanner, clock)
        self._releases = AgentReleases(self._store, self._live, self._archives, clock)
        self._upgrades = AgentUpgrades(self._store, self._live, clock)
        self._removals = RemovalCommands(
            self._store, self._live, clock, partial(self._scanner.poke, again=True)
        )
        self._corrector = Corrector(self._store, self._live, clock)
        self._rollouts = RolloutLoop(self._store, self._live, clock)
        self._rollout_control = RolloutControl(self._store, self._live, clock, self._rollouts)
        self._tokens = Tokens(self._store, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = False

    @property
    def epoch(self) -> int:
        return self._documents.epoch

    async def start(self) -> None:
        """Open the store and begin to watch. Raises RefusedError or UnavailableError when the data
        cannot be used.
        """
        await self._store.open()
        self._documents.epoch = await self._store.write(
            lambda c: _first_rows(c, rfc3339(self._clock()))
        )
        await self._store.write(lambda c: store_removal_limits(c, self._settings.removals))
        await self._store.write(
            lambda c: key_check.check(c, self._signer, self._vault, self._settings.accept_lost)
        )
        await self._store.write(lambda c: data_keys.replace_unkeyed_hashes(c, self._vault))
        await self._tokens.load()
        await self._agents.load()
        self._opened = True
        work = (self._scanner.run, self._rollouts.run, self._flush, self._housekeeping)
        self._tasks = [asyncio.create_task(_for_ever(part)) for part in work]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._restorer.stop()
        await self._scanner.stop()
        if self._opened:
            await self._agents.save_contacts()
            await self._store.close()

    async def ready(self) -> str | None:
        """None, or why this manager cannot do its work: the store is not open, damaged or cannot be
        written.
        """
        if not self._opened:
            return "the store is not open yet"
        return await self._store.probe() or None

    # Objects

    async def list_objects(
        self,
        kind: str,
        *,
        workspace: str | None = None,
        selector: str = "",
        cluster: str = "",
        repo: str = "",
        bundle: str = "",
        states: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        filters = ListFilter(
            workspace=workspace,
            selector=selector,
            cluster=cluster,
            repo=repo,
            bundle=bundle,
            states=tuple(states),
        )
        now = self._clock()
        return await self._store.read(lambda c: list_documents(c, self._live, kind, filters, now))

    async def get_object(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        now = self._clock()
        return await self._store.read(
            lambda c: get_document(c, self._live, kind, workspace, name, now)
        )

    async def put_object(
        self, kind: str, workspace: str, name: str, doc: dict[str, Any], *, dry_run: bool = False
    ) -> Put:
        return await self._objects.put(kind, workspace, name, doc, dry_run=dry_run)

    async def patch_labels(
        self, kind: str, workspace: str, name: str, changes: dict[str, str | None]
    ) -> dict[str, Any]:
        return await self._objects.patch_labels(kind, workspace, name, changes)

    async def removal(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        return await self._objects.removal(kind, workspace, name)

    async def delete_object(
        self, kind: str, workspace: str, name: str, *, uninstall: bool = False
    ) -> dict[str, Any]:
        return await self._objects.delete(kind, workspace, name, uninstall=uninstall)

    async def sync(self, workspace: str, name: str) -> None:
        await self.get_object("GitRepo", workspace, name)
        self._scanner.poke(workspace, name, again=True)

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        await self._scanner.confirm(workspace, name, removals, commit)

    async def status(self, workspace: str | None) -> dict[str, Any]:
        now = self._clock()
        return await self._store.read(lambda c: build_overview(c, self._live, workspace, now))

    async def list_workspaces(self) -> list[str]:
        return await self._store.read(list_workspaces)

    async def why(self, workspace: str, *, cluster: str, bundle: str, name: str) -> dict[str, Any]:
        """Raises NotFound with the nearest name, UsageError when the name means two things."""
        now, subject = self._clock(), Subject(workspace, cluster, bundle, name)
        return await self._store.read(lambda c: explain_subject(c, self._live, now, subject))

    async def list_rollouts(self, workspace: str | None, bundle: str = "") -> list[dict[str, Any]]:
        return await self._store.read(lambda c: rollouts.list_rollouts(c, workspace, bundle))

    async def command_rollout(
        self, workspace: str, bundle: str, verb: str, reason: str, who: str = ""
    ) -> dict[str, Any]:
        return await self._rollout_control.command(workspace, bundle, verb, reason, who)

    async def bundle_history(self, workspace: str, bundle: str) -> list[dict[str, Any]]:
        offline = partial(self._live.is_offline, now=self._clock())
        return await self._store.read(
            lambda c: history.list_revisions(c, (Workspace(workspace), BundleName(bundle)), offline)
        )

    async def bundle_decisions(self, workspace: str, bundle: str) -> list[dict[str, Any]]:
        return await self._store.read(
            lambda c: audit_log.list_decisions(c, (Workspace(workspace), BundleName(bundle)))
        )

    async def cluster_history(
        self, workspace: str, cluster: str, bundle: str = ""
    ) -> list[dict[str, Any]]:
        """What a cluster was told of its bundles, or of one, newest first."""
        offline = partial(self._live.is_offline, now=self._clock())
        return await self._store.read(
            lambda c: list_history(c, Workspace(workspace), cluster, bundle, offline)
        )

    async def go_back(
        self, workspace: str, bundle: str, ask: RollbackRequest, *, dry_run: bool = False
    ) -> RollbackResult:
        """Pin an earlier revision, or follow Git again."""
        return await self._rollout_control.go_back(workspace, bundle, ask, dry_run=dry_run)

    async def correct_drift(
        self, workspace: str, bundle: str, names: Sequence[str], selector: str
    ) -> dict[str, Any]:
        return await self._corrector.correct(workspace, bundle, names, selector)

    async def changes(self, since: int, wait: float) -> int:
        return await self._live.wait_changed(since, wait) if wait else self._live.revision

    async def plan(self, asked: AskedPlan) -> Plan:
        return await self._planner.plan(asked)

    async def plan_archive(self, workspace: str | None, digest: Digest) -> Path:
        return await self._planner.archive_path(workspace, digest)

    # Removals

    async def held_removals(self, workspace: str | None) -> list[dict[str, Any]]:
        return await self._removals.held(workspace)

    async def confirm_held(
        self, workspace: str, bundle: str, removals: int, digest: str
    ) -> dict[str, Any]:
        return await self._removals.confirm(workspace, bundle, removals, digest)

    async def bundle_moved(
        self, workspace: str, old: str, new: str, *, taken_back: bool = False
    ) -> dict[str, Any]:
        return await self._removals.moved(workspace, old, new, taken_back=taken_back)

    async def label_clusters(self, labels: Labels) -> dict[str, Any]:
        return await self._removals.label(labels)

    # Versions of the agent

    async def add_release(self, release: AgentRelease, data: bytes) -> dict[str, Any]:
        return await self._releases.add(release, data)

    async def list_releases(self) -> list[dict[str, Any]]:
        return await self._releases.list()

    async def delete_release(self, version: str) -> list[dict[str, Any]]:
        return await self._releases.delete(version)

    async def wish_agents(self, asked: UpgradeRequest) -> dict[str, Any]:
        return await self._upgrades.request(asked)

    # People

    async def check_token(self, token: str) -> Person | None:
        return await self._tokens.check(token)

    async def create_token(
        self, name: str, role: str, workspace: str, ttl_seconds: int
    ) -> tuple[str, str]:
        return await self._tokens.create(name, role, workspace, ttl_seconds)

    async def list_tokens(self) -> list[dict[str, Any]]:
        return await self._tokens.list()

    async def revoke_token(self, name: str) -> None:
        await self._tokens.revoke(name)

    # Agents

    async def register(
        self, workspace: str, name: str, *, labels: dict[str, str], ttl_seconds: int, replace: bool
    ) -> Registration:
        return await self._agents.register(
            workspace, name, labels=labels, ttl_seconds=ttl_seconds, replace=replace
        )

    async def enrol(self, request: wire.EnrolRequest, *, address: str) -> wire.EnrolAnswer:
        return await self._agents.enrol(request, address=address)

    async def agent_key(self, cluster_id: ClusterId) -> bytes | None:
        return self._agents.key_of(cluster_id)

    async def seen(self, cluster_id: ClusterId, *, instance: str, address: str, stamp: int) -> str:
        return await self._agents.note_contact(
            cluster_id, instance=instance, address=address, stamp=stamp
        )

    async def desired(self, cluster_id: ClusterId, held: str = "") -> SignedDocument:
        return await self._agents.desired(cluster_id, held)

    async def wait_desired(
        self, cluster_id: ClusterId, etag: str, seconds: float
    ) -> SignedDocument:
        return await self._agents.wait_desired(cluster_id, etag, seconds)

    async def archive_path(self, cluster_id: ClusterId, digest: Digest) -> Path:
        return await self._agents.archive_path(cluster_id, digest)

    async def report(
        self, cluster_id: ClusterId, request: wire.StatusRequest, *, address: str
    ) -> None:
        await self._agents.report(cluster_id, request)

    async def next_poll(self, cluster_id: ClusterId) -> int:
        return self._agents.poll_seconds()

    async def metrics(self) -> dict[str, float]:
        now = self._clock()
        found = await self._store.read(lambda c: build_overview(c, self._live, None, now))
        kinds = ("gitrepos", "bundles", "clusters", "deployments")
        return {
            f'fleet_{kind}{{state="{state}"}}': float(n)
            for kind in kinds
            for state, n in found[kind].items()
        }

    # Loops

    async def _flush(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        await self._agents.save_contacts()

    async def _housekeeping(self) -> None:
        await self._documents.renew()
        await self._store.write(staging.sweep)
        await self._store.write(count_triggers.sweep)
        unnamed = await self._store.read(audit_log.unnamed_decisions)
        await self._store.write(lambda connection: audit_log.delete_decisions(connection, unnamed))
        await self._scanner.sweep()
        await self._restorer.restore_missing(sorted(await self._store.read(_used_archives)))
        used = await self._store.read(_used_archives)
        await asyncio.to_thread(self._archives.sweep, used.__contains__, now=time.time())
        await asyncio.sleep(_SWEEP_SECONDS)


async def _for_ever(part: Callable[[], Awaitable[None]]) -> None:
    """A loop that met an error of its own says so and goes on after a while."""
    while True:
        try:
            await part()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.bug("a loop failed", error)
            await asyncio.sleep(5)


def _first_rows(writer: Writer, now: str) -> Epoch:
    """The counters, and Fleet's group `default` of the workspace for a single cluster."""
    meta_commands.add_missing_numbers(writer, {"epoch": 1, "generation": 0})
    key = ObjectKey("ClusterGroup", LOCAL_WORKSPACE, "default")
    row = ObjectContent(labels=b"{}", annotations=b"{}", spec=b'{"selector":{}}', extra=b"{}")
    object_commands.insert_missing_object(writer, key, row, uid=new_uid(), created=now)
    return Epoch(meta_queries.find_number(writer, "epoch") or 1)


def _used_archives(reader: Reader) -> set[str]:
    return (
        set[str](archive_queries.current_archives(reader))
        | staging.held_archives(reader)
        | revision_archives(reader)
    )
