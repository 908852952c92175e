"""Carries out one action of `decide`: installs, tidies or removes a bundle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext

from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.wire import Desired, DesiredBundle

from ..deploy import install, remove
from ..deploy.delete_objects import PATIENCE
from ..host.log import bug, event, over, trouble
from ..state.journal import is_applied
from .decide import Install, Remove, Tidy
from .failures import describe_error, record_failure
from .state import LoopState

Work = Install | Tidy | Remove


class ActionRunner:
    """`refresh` makes the reports of these bundles again. `clock`: monotonic seconds."""

    def __init__(
        self,
        state: LoopState,
        slots: asyncio.Semaphore,
        clock: Callable[[], float],
        refresh: Callable[[list[BundleName]], None],
    ) -> None:
        self._state, self._slots, self._clock, self._refresh = state, slots, clock, refresh
        self._suspect_lock = asyncio.Lock()

    async def run(self, document: Desired, action: Work, name: BundleName) -> None:
        """Carry out the action, and record its end or its failure. Wakes the loops. Never raises,
        except when it is cancelled.
        """
        is_suspect = (
            isinstance(action, Install) and self._state.attempts.deaths(document, action.bundle) > 0
        )
        try:
            # Suspects run one after the other, so that the next death of an agent shows the cause.
            async with self._suspect_lock if is_suspect else nullcontext(), self._slots:
                if isinstance(action, Install):
                    # A fetch may take hours and changes nothing, so it does not hold the lease.
                    await install.archive(self._state.context, action.bundle)
                async with self._state.lease.hold():
                    if self._state.is_stopped:
                        return  # another agent took over during the wait
                    await self._carry_out_marked(document, action, name)
            self._state.disk_works()
            self._state.failures.pop(name, None)
            over(f"bundle {name}")
        except Exception as error:  # also a bug of the agent, which stops only this bundle
            if not isinstance(error, FleetError | OSError):
                bug(f"bundle {name}", error)
            if self._is_done(document, action):
                # The journal has recorded the success, so nothing tries this action again, and
                # nothing has to.
                trouble(f"bundle {name}", f"is deployed; after that: {describe_error(error)[1]}")
                self._state.failures.pop(name, None)
                self._state.resources.pop(name, None)
            else:
                record_failure(self._state, name, _generation_of(action), error, self._clock())
        finally:
            self._state.busy.pop(name, None)
            self._refresh([name])
            self._state.to_observe.add(name)
            self._state.look.set()
            self._state.work.set()

    async def _carry_out_marked(self, document: Desired, action: Work, name: BundleName) -> None:
        """Carry out the action. A mark on the disk outlives the death of this process."""
        if not isinstance(action, Install):
            await self._carry_out(document, action, name)
            return
        await asyncio.to_thread(self._state.attempts.begin, document, action.bundle)
        try:
            await self._carry_out(document, action, name)
        finally:
            self._state.attempts.end(name)

    async def _carry_out(self, document: Desired, action: Work, name: BundleName) -> None:
        context, patience = self._state.context, PATIENCE[name in self._state.failures]
        if isinstance(action, Tidy):
            await remove.tidy(context, document, name, patience=patience)
            event("the old release is removed", bundle=name)
            return
        if isinstance(action, Install):
            started_at = time.monotonic()
            await install.install(context, document, action.bundle)
            _log_deployed(self._state, action.bundle, time.monotonic() - started_at)
        else:
            await remove.remove(context, document, action.tombstone, patience=patience)
            self._state.removals.add((name, action.tombstone.generation))
            event("removed", bundle=name)
        self._state.to_reapply.discard(name)
        self._state.resources.pop(name, None)

    def _is_done(self, document: Desired, action: Work) -> bool:
        if not isinstance(action, Install):
            return False
        entry = self._state.context.journal.entries.get(action.bundle.name)
        order = (document.epoch, action.bundle.generation)
        is_settled = (
            entry is not None
            and not entry.began
            and not entry.former
            and action.bundle.name not in self._state.to_reapply
        )
        return is_settled and is_applied(entry, order)


def _generation_of(action: Work) -> Generation:
    return action.tombstone.generation if isinstance(action, Remove) else action.bundle.generation


def _log_deployed(state: LoopState, bundle: DesiredBundle, seconds: float) -> None:
    entry = state.context.journal.entries.get(bundle.name)
    event(
        "deployed",
        bundle=bundle.name,
        generation=bundle.generation,
        release=f"{entry.namespace}/{entry.release}" if entry else "",
        revision=entry.revision if entry else 0,
        commit=bundle.commit[:12],
        took=f"{seconds:.1f} s",
    )
