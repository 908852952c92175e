"""The loop of the rollouts: whatever may have changed a decision is looked at again, soon, and each
rollout in a transaction of its own.

Rule: a thousand reports a second make one look, not a thousand; one rollout that cannot be decided
stops no other; after a restart everything that was to be looked at still is, because that stands in
the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from .. import log
from ..agents.presence import Live
from ..clock import Clock, rfc3339
from ..commands import rollback
from ..commands import rollouts as rolloutsaid
from ..reconcile.reconcile import reconcile, supply
from ..revisions import audit_log
from ..store.engine import Store
from ..views.rollouts import list_rollouts
from . import batches, engine
from .engine import Advanced

_GROUP_SECONDS = 0.05
_SILENT_SECONDS = 1.0  # who comes back is noticed within this
# and who has fallen silent within this; what only changes the counts of a completed rollout waits
# so long too
_MOST_SECONDS = 30.0


class _DryRun(Exception):
    """Carries the answer out of a transaction that must not be kept."""

    def __init__(self, outcome: rollback.RollbackResult) -> None:
        super().__init__()
        self.outcome = outcome


class Rolling:
    def __init__(self, store: Store, live: Live, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock
        self._looked, self._settled = 0.0, 0.0
        self._silent: dict[ClusterId, str] = {}  # as the last look saw them
        self._otherwise: set[ClusterId] = set()  # a decision saw them otherwise
        self._again = False  # nobody has looked who is silent since the last news

    async def run(self) -> None:
        while True:
            revision = self._live.revision
            await self.look()
            wake = await self._store.read(engine.next_wake)
            most = _SILENT_SECONDS if self._again else _MOST_SECONDS
            pause = min(most, max(0.0, wake - self._clock()) if wake else most)
            await self._live.wait_changed(revision, pause)
            await asyncio.sleep(_GROUP_SECONDS)

    async def look(self) -> None:
        """One pass over the rollouts that are due. Who was told something is told that there is
        news, after each part.
        """
        now = self._clock()
        self._again = 0 <= now - self._looked < _SILENT_SECONDS
        turned = set() if self._again else self._turned(now)
        settled = not 0 <= now - self._settled < _MOST_SECONDS
        self._settled = now if settled else self._settled
        await self._pass_on(now)
        for workspace, bundle in await self._store.read(
            lambda connection: engine.due_rollouts(connection, now, turned, settled=settled)
        ):
            try:
                more = True
                while more:
                    more = await self._told(workspace, bundle)
            except Exception as error:
                log.bug(f"the rollout of {workspace}/{bundle} cannot be decided", error)

    async def _pass_on(self, now: float) -> None:
        """Write down what is under way in parts, to its end."""
        for place in await self._store.read(batches.every):
            try:
                more = True
                while more:
                    touched, more = await self._store.write(
                        partial(batches.go_on, place=place, now=now, exact=reconcile)
                    )
                    self._live.changed(touched)
            except Exception as error:
                log.bug(f"the change of {place[0]}/{place[1]} cannot be written down", error)

    async def _told(self, workspace: Workspace, bundle: BundleName) -> bool:
        """One part of a hand-out, in a transaction of its own; whether there is more to be done at
        once.
        """
        now = self._clock()
        done = await self._store.write(
            partial(self._advance, workspace=workspace, bundle=bundle, now=now)
        )
        if done.touched:
            # and look once more: meanwhile others may have reported
            self._live.changed(done.touched)
        return done.more

    def _turned(self, now: float) -> set[ClusterId] | None:
        """The clusters that have fallen silent, or are heard again, since this was asked last;
        None: all may have, we have just begun.
        """
        first, silent = not self._looked, self._live.silent(now)
        turned = self._otherwise | _differing(self._silent, silent)
        self._silent, self._looked, self._otherwise = silent, now, set()
        return None if first else turned

    def _advance(
        self, connection: Connection, *, workspace: Workspace, bundle: BundleName, now: float
    ) -> Advanced:
        """One decision, and what it brings with it: a rollout that failed and says `onFailure:
        rollback` pins the revision before in the same transaction; where there is none it stays
        failed.
        """
        silent = self._live.silent(now)
        # a decision sees them otherwise than the last look
        self._otherwise |= _differing(self._silent, silent)

        def decided() -> Advanced:
            return engine.advance(connection, workspace, bundle, silent, now, self._live.started)

        before = engine.wants_rollback(connection, workspace, bundle)
        done = decided()
        done = Advanced(
            done.touched | supply(connection, workspace, [bundle], now=rfc3339(now)), done.more
        )
        reason = engine.wants_rollback(connection, workspace, bundle)
        if reason is None or before is not None:
            return done
        try:
            back = rollback.roll_back(
                connection,
                (workspace, bundle),
                rollback.RollbackRequest(reason=f"by itself: {reason}"),
                rfc3339(now),
            )
        except RefusedError as why:
            log.warning("cannot be rolled back", bundle=f"{workspace}/{bundle}", why=why.summary)
            return done
        log.warning("rolled back", bundle=f"{workspace}/{bundle}", revision=back.number, why=reason)
        again = decided()
        return Advanced(done.touched | back.touched | again.touched, again.more)

    async def go_back(
        self, workspace: str, bundle: str, ask: rollback.RollbackRequest, *, dry_run: bool = False
    ) -> rollback.RollbackResult:
        """Pin or release; with `dry_run` only what would come of it. Raises NotFound, RefusedError,
        UsageError.
        """
        place = Workspace(workspace), BundleName(bundle)

        def write(connection: Connection) -> rollback.RollbackResult:
            outcome = rollback.roll_back(connection, place, ask, rfc3339(self._clock()))
            if dry_run:
                raise _DryRun(outcome)
            return outcome

        try:
            outcome = await self._store.write(write)
        except _DryRun as done:
            return done.outcome
        self._live.changed(outcome.touched)
        return outcome

    async def command(
        self, workspace: str, bundle: str, verb: str, reason: str, who: str = ""
    ) -> dict[str, object]:
        """What a person says; the rollout as it stands then. Raises NotFound, RefusedError."""
        now = self._clock()
        space, name = Workspace(workspace), BundleName(bundle)

        def write(connection: Connection) -> tuple[set[ClusterId], dict[str, object]]:
            rolloutsaid.command(connection, space, name, verb, reason, now)
            audit_log.record_command(
                connection, (space, name), verb, who=who, reason=reason, at=rfc3339(now)
            )
            touched = self._advance(connection, workspace=space, bundle=name, now=now).touched
            return touched, list_rollouts(connection, workspace, bundle)[0]

        touched, shown = await self._store.write(write)
        self._live.changed(touched)
        return shown


def _differing(before: Mapping[ClusterId, str], after: Mapping[ClusterId, str]) -> set[ClusterId]:
    return {
        cluster
        for cluster in before.keys() | after.keys()
        if before.get(cluster) != after.get(cluster)
    }
