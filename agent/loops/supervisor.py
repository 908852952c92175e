"""The loops of a running agent, joined by events: poll, act, look, tell, each in a task of its own.

Rule: what runs stays when the manager is away; one bundle that fails stops no other; a report
counts as told only after the manager has answered; an unchanged poll writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fleetctl.core.model.status import State
from fleetctl.core.model.wire import StatusRequest
from fleetctl.tools.systemd import Notifier

from ..deploy.context import ReleaseContext
from ..drift.observer import Observer
from ..host import log
from ..host.memory import give_back
from ..state.status_file import StatusFile
from .apply import Worker
from .observe import Watcher
from .poll import Poller
from .report import Teller
from .self_upgrade import RunningVersion, Upgrader
from .state import LoopState

_BEAT_SECONDS = 5.0
_CALM_BEATS, _HOUR_OF_BEATS = 2, 720


@dataclass(frozen=True)
class LoopLimits:
    """at_once: the number of releases that may change at the same time. values_seconds: the longest
    time until a change of what `valuesFrom` names reaches the release.
    """

    at_once: int
    values_seconds: float


class Runner:
    """The loops of one agent and what they share."""

    def __init__(
        self,
        context: ReleaseContext,
        observer: Observer | None,
        notifier: Notifier,
        *,
        about: StatusRequest,
        live: StatusFile,
        running: RunningVersion,
        limits: LoopLimits,
    ) -> None:
        self._state, self._notifier, self._live = LoopState(context, observer), notifier, live
        self._teller = Teller(self._state, about)
        self._poller = Poller(self._state, self._teller)
        self._worker = Worker(self._state, self._teller, limits.at_once)
        self._watcher = Watcher(self._state, self._teller, limits.values_seconds)
        self._upgrader = Upgrader(self._state, self._teller, running, self._give_way)
        self._given_way = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> bool:
        """Until `stopping` is set; or, which is told by True, until this process is to start from
        the beginning, as another version.
        """
        self._poller.load()
        loops = (
            self._poller.poll,
            self._worker.act,
            self._watcher.watch,
            self._teller.report,
            self._beat,
            self._watcher.read_again,
        )
        tasks = [asyncio.create_task(_for_ever(loop)) for loop in (*loops, *self._upgrader.loops())]
        self._notifier.tell("READY=1")
        await _first(stopping, self._given_way)
        again = self._given_way.is_set() and not stopping.is_set()
        if not again:  # systemd would begin to wait for the end of this process
            self._notifier.tell("STOPPING=1")
        busy = self._state.busy
        for task in (*tasks, *busy.values()):
            task.cancel()
        await asyncio.gather(*tasks, *busy.values(), return_exceptions=True)
        await self._state.lease.give_back()
        self._live.end()
        return again

    def _give_way(self) -> None:
        self._given_way.set()

    async def _beat(self) -> None:
        """What `status` shows, systemd's watchdog and status line; memory goes back after a calm
        while, and then every hour.
        """
        calm = 0
        while True:
            states = [r.state for r in self._state.reports.values()]
            ready = sum(1 for s in states if s is State.READY)
            self._notifier.tell(f"STATUS={ready} of {len(states)} bundles ready")
            if asyncio.get_running_loop().time() <= self._state.poll_due:
                self._notifier.tell("WATCHDOG=1")
                self._live.beat(
                    list(self._state.reports.values()),
                    {*self._state.busy},
                    self._state.contact,
                    self._state.contact_error,
                )
            # whoever watches over this process may start it anew: everything that was begun is
            # taken up again
            else:
                log.trouble(
                    "agent",
                    "it does not come to ask the manager any more, and no longer vouches for"
                    " itself",
                )
            log.gather()
            calm = 0 if self._state.busy or self._state.was_busy else calm + 1
            self._state.was_busy = False
            if calm % _HOUR_OF_BEATS == _CALM_BEATS:
                give_back()
            await asyncio.sleep(_BEAT_SECONDS)


async def _first(*events: asyncio.Event) -> None:
    """As soon as one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _for_ever(loop: Callable[[], Awaitable[None]]) -> None:
    """Logs a defect of the agent, and starts the loop again."""
    while True:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.bug(getattr(loop, "__qualname__", "a loop"), error)
            await asyncio.sleep(5)
