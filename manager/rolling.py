"""The loop of the rollouts: whatever may have changed a decision is looked at again, soon, and each rollout in a transaction of its own.

Rule: a thousand reports a second make one look, not a thousand; one rollout that cannot be decided stops no other; after a restart
everything that was to be looked at still is, because that stands in the database.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sqlalchemy.engine import Connection

from fleetctl.core.errors import RefusedError
from fleetctl.core.ids import BundleName, ClusterId, Workspace
from manager import history, log, rollouts, rolloutsaid, rolloutview
from manager.clock import Clock, rfc3339
from manager.decisions import Place
from manager.gathering import Scope
from manager.live import OFFLINE, Live
from manager.reconcile import reconcile
from manager.store.base import Store

_GROUP_SECONDS = 0.05
_SILENT_SECONDS = 1.0  # who comes back is noticed within this
_MOST_SECONDS = 30.0  # and who has fallen silent within this; what only changes the counts of a completed rollout waits so long too


class Rolling:
    def __init__(self, store: Store, live: Live, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock
        self._looked, self._settled = 0.0, 0.0
        self._health: dict[ClusterId, str] = {}
        self._otherwise: set[ClusterId] = set()  # a decision saw them otherwise than `_health` says
        self._again = False  # nobody has looked who is silent since the last news

    async def run(self) -> None:
        while True:
            revision = self._live.revision
            touched = await self.look()
            if touched:
                self._live.changed(touched)  # and look once more: meanwhile others may have reported
            wake = await self._store.read(rollouts.next_wake)
            most = _SILENT_SECONDS if self._again else _MOST_SECONDS
            pause = min(most, max(0.0, wake - self._clock()) if wake else most)
            await self._live.wait_changed(revision, pause)
            await asyncio.sleep(_GROUP_SECONDS)

    async def look(self) -> set[ClusterId]:
        """One pass over the rollouts that are due. The clusters whose document is another one now."""
        now = self._clock()
        self._again = 0 <= now - self._looked < _SILENT_SECONDS
        turned = set() if self._again else self._turned(now)
        settled = not 0 <= now - self._settled < _MOST_SECONDS
        self._settled = now if settled else self._settled
        touched: set[ClusterId] = set()
        for workspace, bundle in await self._store.read(lambda connection: rollouts.due(connection, now, turned, settled=settled)):
            try:
                touched |= await self._store.write(partial(self._advance, workspace=workspace, bundle=bundle, now=now))
            except Exception as error:
                log.bug(f"the rollout of {workspace}/{bundle} cannot be decided", error)
        return touched

    def _turned(self, now: float) -> set[ClusterId]:
        """The clusters that have fallen silent, or are heard again, since this was asked last."""
        health = {cluster: self._live.health(cluster, now) for cluster in self._live.clusters}
        before, self._health, self._looked = self._health, health, now
        otherwise, self._otherwise = self._otherwise, set()
        return otherwise | {cluster for cluster in before.keys() | health.keys() if before.get(cluster) != health.get(cluster)}

    def _seen(self, cluster: ClusterId, now: float) -> str:
        health = self._live.health(cluster, now)
        if health != self._health.get(cluster, OFFLINE):
            self._otherwise.add(cluster)
        return health

    def _advance(self, connection: Connection, *, workspace: Workspace, bundle: BundleName, now: float) -> set[ClusterId]:
        """One decision, and what it brings with it: a rollout that failed and says `onFailure: rollback` pins the revision before in the
        same transaction; where there is none it stays failed.
        """

        def decided() -> set[ClusterId]:
            return rollouts.advance(connection, workspace, bundle, lambda cluster: self._seen(cluster, now), now, self._live.started)

        before = rollouts.wants_rollback(connection, workspace, bundle)
        touched = decided()
        reason = rollouts.wants_rollback(connection, workspace, bundle)
        if reason is None or before is not None:
            return touched
        try:
            number = history.pin(connection, (workspace, bundle), 0, f"by itself: {reason}", now=rfc3339(now))
        except RefusedError as why:
            log.warning("cannot be rolled back", bundle=f"{workspace}/{bundle}", why=why.summary)
            return touched
        log.warning("rolled back", bundle=f"{workspace}/{bundle}", revision=number, why=reason)
        return touched | self._changed(connection, (workspace, bundle)) | decided()

    async def rollback(self, workspace: str, bundle: str, number: int, reason: str) -> int:
        """The revision that is pinned now. Raises NotFound, RefusedError."""
        place = Workspace(workspace), BundleName(bundle)

        def write(connection: Connection) -> tuple[int, set[ClusterId]]:
            chosen = history.pin(connection, place, number, reason, now=rfc3339(self._clock()))
            return chosen, self._changed(connection, place)

        chosen, touched = await self._store.write(write)
        self._live.changed(touched)
        return chosen

    async def release(self, workspace: str, bundle: str) -> None:
        """Raises NotFound, RefusedError."""
        place = Workspace(workspace), BundleName(bundle)

        def write(connection: Connection) -> set[ClusterId]:
            history.release(connection, place, now=rfc3339(self._clock()))
            return self._changed(connection, place)

        self._live.changed(await self._store.write(write))

    def _changed(self, connection: Connection, place: Place) -> set[ClusterId]:
        return reconcile(connection, Scope(place[0], bundles=[place[1]]), now=rfc3339(self._clock()))

    async def command(self, workspace: str, bundle: str, verb: str, reason: str) -> dict[str, object]:
        """What a person says; the rollout as it stands then. Raises NotFound, RefusedError."""
        now = self._clock()
        space, name = Workspace(workspace), BundleName(bundle)

        def write(connection: Connection) -> tuple[set[ClusterId], dict[str, object]]:
            rolloutsaid.command(connection, space, name, verb, reason, now)
            touched = self._advance(connection, workspace=space, bundle=name, now=now)
            return touched, rolloutview.listing(connection, workspace, bundle)[0]

        touched, shown = await self._store.write(write)
        self._live.changed(touched)
        return shown
