"""Applies people's commands to rollouts: pause, resume, approve, rollback and the others."""

from __future__ import annotations

from typing import Any

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..revisions import audit_log
from ..store import Writer
from ..store.engine import Store
from ..views.rollouts import list_rollouts
from . import rollouts
from .rollback import RollbackRequest, RollbackResult, roll_back
from .rollout_loop import RolloutLoop


class RolloutControl:
    """People's commands to rollouts, each with its audit log and its effect in one transaction."""

    def __init__(self, store: Store, live: PresenceTable, clock: Clock, loop: RolloutLoop) -> None:
        self._store, self._live, self._clock, self._loop = store, live, clock, loop

    async def go_back(
        self, workspace: str, bundle: str, request: RollbackRequest, *, dry_run: bool = False
    ) -> RollbackResult:
        """Pin or release; with `dry_run` only tell the result. Raises NotFound, RefusedError,
        UsageError.
        """
        key = Workspace(workspace), BundleName(bundle)

        def write(writer: Writer) -> RollbackResult:
            return roll_back(writer, key, request, rfc3339(self._clock()))

        if dry_run:
            return await self._store.preview(write)
        result = await self._store.write(write)
        self._live.mark_changed(result.changed_clusters)
        return result

    async def command(
        self, workspace: str, bundle: str, verb: str, reason: str, person: str = ""
    ) -> dict[str, Any]:
        """Apply a command. Returns the rollout after it. Raises NotFound, RefusedError,
        UsageError.
        """
        now = self._clock()
        key = Workspace(workspace), BundleName(bundle)

        def write(writer: Writer) -> tuple[set[ClusterId], dict[str, Any]]:
            rollouts.command(writer, *key, verb, reason, now)
            audit_log.record_command(
                writer, key, verb, person=person, reason=reason, at=rfc3339(now)
            )
            clusters = self._loop.advance(writer, bundle=key, now=now).clusters
            return clusters, list_rollouts(writer, workspace, bundle)[0]

        clusters, document = await self._store.write(write)
        self._live.mark_changed(clusters)
        return document
