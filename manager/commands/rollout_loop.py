"""The loop of the rollouts: whatever may have changed a decision is decided again soon, and each
rollout in a transaction of its own.

Rule: a thousand reports a second cause one pass, not a thousand; one rollout that cannot be decided
stops no other; after a restart everything that was to be decided still is, because the database
holds it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import ClusterId

from .. import log
from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..reconcile.reconcile import reconcile, supply
from ..rollout import batches, engine
from ..rollout.engine import AdvanceResult
from ..store import Writer
from ..store.engine import Store
from ..store.keys import BundleKey
from . import rollback

_GROUP_SECONDS = 0.05
_SILENT_SECONDS = 1.0  # a cluster that is heard again is noticed within this time
# A cluster that became silent is noticed within this time; so is what only changes the counts of a
# completed rollout.
_MOST_SECONDS = 30.0


class RolloutLoop:
    def __init__(self, store: Store, live: PresenceTable, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock
        self._last_pass, self._last_settled = 0.0, 0.0
        self._were_offline = False  # at the last pass, silent clusters were known to be offline
        self._is_short_pass = False  # the last pass did not look for silent clusters

    async def run(self) -> None:
        while True:
            revision = self._live.revision
            await self.look()
            wake = await self._store.read(engine.next_wake)
            pause = _SILENT_SECONDS if self._is_short_pass else _MOST_SECONDS
            if wake:
                pause = min(pause, max(0.0, wake - self._clock()))
            await self._live.wait_changed(revision, pause)
            await asyncio.sleep(_GROUP_SECONDS)

    async def look(self) -> None:
        """One pass over the rollouts that are due. Their agents get the news after each part."""
        now = self._clock()
        self._is_short_pass = 0 <= now - self._last_pass < _SILENT_SECONDS
        clusters = set() if self._is_short_pass else self._clusters_that_turned(now)
        with_settled = not 0 <= now - self._last_settled < _MOST_SECONDS
        self._last_settled = now if with_settled else self._last_settled
        await self._store_batches(now)
        for bundle in await self._store.read(
            lambda reader: engine.due_rollouts(reader, now, clusters, with_settled=with_settled)
        ):
            try:
                while await self._advance_part(bundle):
                    pass
            except Exception as error:
                log.bug(f"the rollout of {bundle[0]}/{bundle[1]} cannot be decided", error)

    async def _store_batches(self, now: float) -> None:
        """Store all batches of the changes that go in batches."""
        for bundle in await self._store.read(batches.every):
            try:
                has_more = True
                while has_more:
                    clusters, has_more = await self._store.write(
                        partial(batches.go_on, place=bundle, now=now, exact=reconcile)
                    )
                    self._live.mark_changed(clusters)
            except Exception as error:
                log.bug(f"the change of {bundle[0]}/{bundle[1]} cannot be stored", error)

    async def _advance_part(self, bundle: BundleKey) -> bool:
        """One part of a hand-out, in a transaction of its own. Returns whether there is more to do
        at once.
        """
        result = await self._store.write(partial(self.advance, bundle=bundle, now=self._clock()))
        if result.clusters:
            self._live.mark_changed(result.clusters)
        return result.has_more

    def _clusters_that_turned(self, now: float) -> set[ClusterId] | None:
        """The clusters that became silent, or are heard again, since the last call. None at the
        first call, and when the manager has listened long enough to know that silent clusters are
        offline: any cluster may have.
        """
        is_first, were_offline = not self._last_pass, self._were_offline
        self._were_offline = bool(self._live.offline(now))
        clusters = self._live.take_turned()
        self._last_pass = now
        if is_first or (self._were_offline and not were_offline):
            return None
        return clusters

    def advance(self, writer: Writer, *, bundle: BundleKey, now: float) -> AdvanceResult:
        """Decide the rollout, and give late joiners the last good revision. A rollout that failed
        and says `onFailure: rollback` is pinned to the revision before in the same transaction; if
        there is none it stays failed.
        """
        workspace, name = bundle
        before = engine.wants_rollback(writer, workspace, name)
        result = self._decide(writer, bundle, now)
        late = supply(writer, workspace, [name], now=rfc3339(now))
        result = AdvanceResult(result.clusters | late, result.has_more)
        reason = engine.wants_rollback(writer, workspace, name)
        if reason is None or before is not None:
            return result
        back = _roll_back(writer, bundle, reason, now)
        if back is None:
            return result
        again = self._decide(writer, bundle, now)
        clusters = result.clusters | back.changed_clusters | again.clusters
        return AdvanceResult(clusters, again.has_more)

    def _decide(self, writer: Writer, bundle: BundleKey, now: float) -> AdvanceResult:
        workspace, name = bundle
        silent = self._live.silent(now)
        return engine.advance(writer, workspace, name, silent, now, self._live.start_time)


def _roll_back(
    writer: Writer, bundle: BundleKey, reason: str, now: float
) -> rollback.RollbackResult | None:
    """Pin the revision before, None if that is refused."""
    name = f"{bundle[0]}/{bundle[1]}"
    request = rollback.RollbackRequest(reason=f"by itself: {reason}")
    try:
        result = rollback.roll_back(writer, bundle, request, rfc3339(now))
    except RefusedError as error:
        log.warning("cannot be rolled back", bundle=name, why=error.summary)
        return None
    log.warning("rolled back", bundle=name, revision=result.number, why=reason)
    return result
