"""Builds the manager without its HTTP side, and runs its loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fleetctl.core.model.ids import LOCAL_WORKSPACE, Epoch
from fleetctl.core.rollout.removal_guard import RemovalLimits

from . import log
from .agents.agent_releases import AgentReleases
from .agents.agent_upgrades import AgentUpgrades
from .agents.desired_state import DesiredState
from .agents.requests import AgentRequests
from .api.collaborators import Collaborators
from .clock import rfc3339, steady, unchanged
from .commands.corrections import Corrector
from .commands.gitrepos import GitRepoCommands
from .commands.objects import ObjectCommands
from .commands.removals import RemovalCommands
from .commands.rollout_control import RolloutControl
from .commands.rollout_loop import RolloutLoop
from .fleet_views import FleetViews
from .identifiers import new_uid
from .ingest.archive_rebuild import Restorer
from .ingest.scanner import Scanner
from .plans.planner import Planner
from .presence import OFFLINE_SECONDS, PresenceTable
from .revisions import audit_log
from .security import data_keys, key_check
from .security.secret_sealing import Sealer
from .security.signing import Signer
from .security.tokens import Tokens
from .security.vault import Vault
from .store.archives import Archives
from .store.commands import meta as meta_commands
from .store.commands import objects as object_commands
from .store.commands.rollout.removals import store_removal_limits
from .store.commands.rollout.staged import delete_unused_wants
from .store.connection import Reader, Writer
from .store.engine import Store
from .store.queries import meta as meta_queries
from .store.queries.ingest import archives as archive_queries
from .store.queries.objects import ObjectContent, StoredObjectKey
from .store.queries.revisions import revision_archives
from .store.queries.rollout.staged import archives_of_staged
from .store.triggers import counts as count_triggers

_FLUSH_SECONDS = 30.0
_SWEEP_SECONDS = 3600.0
# A larger fleet is loaded while its agents are served already.
_LOADED_BEFORE_START = 20_000


@dataclass(frozen=True)
class ServiceSettings:
    """`poll_seconds`: between two looks at a repository. `mirrors`: prefix → URL. `allow_egress`:
    CIDRs and hosts for charts. `offline_seconds`: how long a cluster may be silent. `accept_lost`:
    keys that a person has given up (datadir.LOSSES).
    """

    poll_seconds: int = 15
    mirrors: Mapping[str, str] = field(default_factory=dict)
    allow_egress: tuple[str, ...] = ()
    secret_key_file: Path | None = None
    removals: RemovalLimits = field(default_factory=RemovalLimits)
    offline_seconds: float = OFFLINE_SECONDS
    accept_lost: tuple[str, ...] = ()


class Service:
    """The parts of one manager. The public ones are what `manager/api` calls."""

    def __init__(
        self,
        data_dir: Path,
        *,
        signer: Signer,
        clock: Callable[[], float] = time.time,
        settings: ServiceSettings | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """`monotonic` defaults to the system's beside the system's clock, and to `clock` beside a
        clock of a test.
        """
        self._clock, self._settings = clock, settings or ServiceSettings()
        self._store, self._signer = Store(data_dir / "fleet.db"), signer
        tick = time.monotonic if monotonic is None and clock is time.time else monotonic
        start_time = clock()
        self._live = PresenceTable(
            start_time,
            self._settings.offline_seconds,
            steady(start_time, tick) if tick else unchanged,
        )
        store, live = self._store, self._live
        self._archives = Archives(data_dir / "archives")
        vault = self._vault = Vault.open(data_dir, self._settings.secret_key_file)
        self._desired_state = DesiredState(store, live, signer, clock, Sealer(vault))
        self._scanner = Scanner(store, live, self._archives, vault, data_dir, clock, self._settings)
        self._restorer = Restorer(store, self._archives, self._scanner)
        self.agents = AgentRequests(store, live, self._desired_state, self._restorer, signer, clock)
        self.views = FleetViews(store, live, clock)
        self.objects = ObjectCommands(store, live, vault, clock, self._scanner.poke)
        self.gitrepos = GitRepoCommands(self.views, self._scanner)
        self.plans = Planner(store, live, self._archives, self._scanner, clock)
        self.releases = AgentReleases(store, live, self._archives, clock)
        self.upgrades = AgentUpgrades(store, live, clock)
        self.removals = RemovalCommands(store, live, clock, partial(self._scanner.poke, again=True))
        self.corrections = Corrector(store, live, clock)
        self._rollout_loop = RolloutLoop(store, live, clock)
        self.rollouts = RolloutControl(store, live, clock, self._rollout_loop)
        self.tokens = Tokens(store, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False

    @property
    def collaborators(self) -> Collaborators:
        """What the routes call."""
        return Collaborators(
            views=self.views,
            objects=self.objects,
            gitrepos=self.gitrepos,
            rollouts=self.rollouts,
            corrections=self.corrections,
            removals=self.removals,
            plans=self.plans,
            releases=self.releases,
            upgrades=self.upgrades,
            tokens=self.tokens,
            agents=self.agents,
        )

    @property
    def epoch(self) -> int:
        return self._desired_state.epoch

    async def start(self) -> None:
        """Open the store and start the loops. Raises RefusedError or UnavailableError when the data
        cannot be used.
        """
        await self._store.open()
        self._desired_state.epoch = await self._store.write(
            lambda c: _first_rows(c, rfc3339(self._clock()))
        )
        await self._store.write(lambda c: store_removal_limits(c, self._settings.removals))
        await self._store.write(
            lambda c: key_check.check(c, self._signer, self._vault, self._settings.accept_lost)
        )
        await self._store.write(lambda c: data_keys.replace_unkeyed_hashes(c, self._vault))
        await self.tokens.load()
        count = await self.agents.begin_loading()
        if count <= _LOADED_BEFORE_START:
            await self.agents.load()
        self._is_open = True
        work = (self._rollouts, self._scans, self._flush, self._housekeeping)
        self._tasks = [asyncio.create_task(_for_ever(part)) for part in work]
        if self._live.is_loading:
            self._tasks.append(asyncio.create_task(self._load()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._restorer.stop()
        await self._scanner.stop()
        if self._is_open:
            await self.agents.save_contacts()
            await self._store.close()

    async def ready(self) -> str | None:
        """None, or why this manager cannot work: the store is not open, damaged or not writable."""
        if not self._is_open:
            return "the store is not open yet"
        return await self._store.probe() or None

    async def _load(self) -> None:
        """Load a large fleet while agents are served."""
        while self._live.is_loading:
            try:
                await self.agents.load()
            except Exception as error:
                log.bug("the clusters cannot be loaded", error)
                await asyncio.sleep(5)

    async def _rollouts(self) -> None:
        await self._live.wait_loaded()
        await self._rollout_loop.run()

    async def _scans(self) -> None:
        await self._live.wait_loaded()
        await self._scanner.run()

    async def _flush(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        await self.agents.save_contacts()

    async def _housekeeping(self) -> None:
        await self._desired_state.renew()
        await self._store.write(delete_unused_wants)
        await self._store.write(count_triggers.sweep)
        old_decisions = await self._store.read(audit_log.find_unnamed_decisions)
        await self._store.write(
            lambda connection: audit_log.delete_decisions(connection, old_decisions)
        )
        await self._scanner.sweep()
        await self._restorer.restore_missing(sorted(await self._store.read(_archives_in_use)))
        archives = await self._store.read(_archives_in_use)
        await asyncio.to_thread(self._archives.sweep, archives.__contains__, now=time.time())
        await asyncio.sleep(_SWEEP_SECONDS)


async def _for_ever(part: Callable[[], Awaitable[None]]) -> None:
    """Run `part` again and again. After a failure, log it and wait a few seconds."""
    while True:
        try:
            await part()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.bug("a loop failed", error)
            await asyncio.sleep(5)


def _first_rows(writer: Writer, now: str) -> Epoch:
    """Store the counters and Fleet's group `default` of the workspace for a single cluster. Returns
    the epoch.
    """
    meta_commands.add_missing_numbers(writer, {"epoch": 1, "generation": 0})
    key = StoredObjectKey("ClusterGroup", LOCAL_WORKSPACE, "default")
    row = ObjectContent(labels=b"{}", annotations=b"{}", spec=b'{"selector":{}}', extra=b"{}")
    object_commands.insert_missing_object(writer, key, row, uid=new_uid(), created=now)
    return Epoch(meta_queries.find_number(writer, "epoch") or 1)


def _archives_in_use(reader: Reader) -> set[str]:
    return (
        set[str](archive_queries.current_archives(reader))
        | archives_of_staged(reader)
        | revision_archives(reader)
    )
