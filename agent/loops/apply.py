"""The apply loop: runs the actions of `decide`, one task for each bundle, a bounded number at a
time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fleetctl import jitter
from fleetctl.core.model.errors import FleetError, HelmAlive, LeaseTaken
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired

from ..host.log import event, trouble
from ..release.recovery import places_of, recover
from ..state import attempts
from ..state.conditions import of_disk
from . import correct
from .decide import (
    HOLD_SECONDS,
    Action,
    Hold,
    Remove,
    Wait,
    World,
    decide,
)
from .deployment_report import DeploymentFailure
from .prefetch import ArchivePrefetch
from .report import Teller
from .run_action import ActionRunner
from .state import LoopState

MANAGER_SECONDS = 10.0  # after a start, for the manager's first answer


class Worker:
    """Rule: a bundle that fails stops no other bundle, and no two tasks work on one bundle.

    `at_once`: number of releases that change at the same time. `clock`: monotonic seconds, so that
    a jump of the machine's time delays no retry.
    """

    def __init__(
        self,
        state: LoopState,
        teller: Teller,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        manager_seconds: float = MANAGER_SECONDS,
    ) -> None:
        self._state, self._teller, self._clock = state, teller, clock
        slots = asyncio.Semaphore(at_once)
        self._runner = ActionRunner(state, slots, clock, teller.refresh)
        self._prefetch = ArchivePrefetch(state.context, slots)
        self._manager_seconds = manager_seconds
        self._aside: dict[BundleName, str] = {}
        self._is_compared = False

    async def act(self) -> None:
        await self._wait_for_manager()
        while True:
            await self._state.work.wait()
            self._state.work.clear()
            document = self._state.document
            if (
                document is None
                or self._state.is_stopped
                or self._state.hold_reason
                or not await self._rebuilt(document)
            ):
                continue
            self._note(document)
            actions = decide(document, self._world(), self._clock())
            if any(not isinstance(action, Wait | Hold) for action in actions):
                if not await self._is_alone():
                    continue
                # The document may have changed during the request.
                document = self._state.document or document
                self._note(document)
                actions = decide(document, self._world(), self._clock())
            for action in actions:
                self._begin(document, action)
            self._wake_for_retries()

    async def _wait_for_manager(self) -> None:
        """Wait for the first answer of the manager: its desired state replaces the one on the disk,
        which may be the cause of the last stop. Goes on without it after `manager_seconds`.
        """
        try:
            async with asyncio.timeout(self._manager_seconds):
                await self._state.poll_answered.wait()
        except TimeoutError:
            event("the manager does not answer; going on with the desired state on this disk")
        self._manager_seconds = 0.0

    def _set_aside(self, document: Desired) -> None:
        """Delay the bundles on which an earlier agent died. From the second death on they are
        reported.
        """
        state = self._state
        for bundle in document.bundles:
            deaths, inputs = (
                state.attempts.deaths(document, bundle),
                attempts.inputs_of(document, bundle),
            )
            if not deaths or bundle.name in state.busy or self._aside.get(bundle.name) == inputs:
                continue
            self._aside[bundle.name] = inputs
            wait = attempts.wait_seconds(deaths, is_confirmed=state.poll_answered.is_set())
            state.retry_at[bundle.name] = self._clock() + wait
            if deaths >= attempts.REPORT_DEATHS:
                summary = attempts.describe(deaths)
                state.failures[bundle.name] = max(1, state.failures.get(bundle.name, 0))
                state.errors[bundle.name] = DeploymentFailure(
                    bundle.generation,
                    code=attempts.CODE,
                    message=summary,
                    object=f"bundle {bundle.name}",
                )
                trouble(f"bundle {bundle.name}", f"{summary}; again in {wait:.0f} s")
                self._teller.refresh([bundle.name])

    def _note(self, document: Desired) -> None:
        """Record since when each tombstone of the document is known, and drop the others."""
        now, state = self._clock(), self._state
        state.tombstones_since = {
            (t.name, t.generation): state.tombstones_since.get((t.name, t.generation), now)
            for t in document.tombstones
        }
        state.holds = {
            t.name: state.holds[t.name] for t in document.tombstones if t.name in state.holds
        }
        self._set_aside(document)
        self._note_corrections(document)

    def _note_corrections(self, document: Desired) -> None:
        """Observe the bundles for which a person requested a correction. The observation loop
        applies them again if they differ.
        """
        state = self._state
        for bundle in document.bundles:
            entry = state.context.journal.entries.get(bundle.name)
            is_idle = bundle.name not in state.busy and bundle.name not in state.to_reapply
            if is_idle and entry is not None and correct.is_correction_requested(bundle, entry):
                state.to_observe.add(bundle.name)
                state.look.set()

    async def _is_alone(self) -> bool:
        """Whether no other agent changes this cluster. Otherwise a condition reports it, and the
        loop tries again. True if the API server does not answer: the action itself reports that.
        """
        try:
            await self._state.lease.take()
        except LeaseTaken as error:
            self._state.say(error.code, error.summary)
            asyncio.get_running_loop().call_later(jitter.between(5, 10), self._state.work.set)
            return False
        except FleetError:
            return True
        self._state.unsay(LeaseTaken.code)
        return True

    async def _rebuilt(self, document: Desired) -> bool:
        """Whether the journal has been compared with the releases on the cluster, which happens
        once after each start.
        """
        if self._is_compared:
            return True
        context = self._state.context
        try:
            await context.helm_lock.take()
            self._state.unsay("helm-alive")
            if self._state.observer is not None:
                places = places_of(context.journal.entries.values(), document)
                recovered_bundles = await recover(
                    context.rights, context.journal, document.cluster_id, places
                )
                if recovered_bundles:
                    event(
                        "the cluster knew more than the journal",
                        bundles=", ".join(recovered_bundles[:10]),
                    )
                    self._teller.refresh()
        except (FleetError, OSError) as error:
            trouble("journal", f"it cannot be compared with the releases yet: {error}")
            if isinstance(error, HelmAlive):
                self._state.say("helm-alive", error.summary)
            elif isinstance(error, OSError):
                self._state.say(*of_disk(error))
            asyncio.get_running_loop().call_later(5, self._state.work.set)
            return False
        self._is_compared = True
        return True

    def _world(self) -> World:
        state = self._state
        return World(
            state.context.journal.entries,
            {name: report.state for name, report in state.reports.items()},
            state.retry_at,
            state.busy,
            state.to_reapply,
            state.removals,
            state.context.journal.floors(),
            attempts={name: error.generation for name, error in state.errors.items()},
            since=state.tombstones_since,
            messages={name: report.message for name, report in state.reports.items()},
        )

    def _begin(self, document: Desired, action: Action) -> None:
        if isinstance(action, Wait | Hold):
            name = action.bundle.name if isinstance(action, Wait) else action.tombstone.name
            reasons = self._state.waits if isinstance(action, Wait) else self._state.holds
            if reasons.get(name) != action.reason:
                reasons[name] = action.reason
                self._teller.refresh([name])
            if isinstance(action, Wait):
                self._prefetch.start(action.bundle)
            return
        name = action.tombstone.name if isinstance(action, Remove) else action.bundle.name
        self._state.waits.pop(name, None)
        self._state.holds.pop(name, None)
        self._state.was_busy = True
        task = asyncio.create_task(self._runner.run(document, action, name))
        self._state.busy[name] = task

    def _wake_for_retries(self) -> None:
        """Wake the loop for the next retry, or when a removal has waited long enough for others."""
        now = self._clock()
        hold_ends = [
            since + HOLD_SECONDS
            for (name, _), since in self._state.tombstones_since.items()
            if name in self._state.holds
        ]
        soon = min(
            (at for at in (*self._state.retry_at.values(), *hold_ends) if at > now), default=0.0
        )
        if soon:
            asyncio.get_running_loop().call_later(max(0.1, soon - now), self._state.work.set)
