"""Asks the manager for the desired state, and takes a new one."""

from __future__ import annotations

import asyncio
import time

from fleetctl import jitter
from fleetctl.core.model.errors import (
    DuplicateAgent,
    FleetError,
    ManagerBehind,
    NotEnrolled,
)
from fleetctl.core.model.wire import MAX_WAIT_SECONDS, Desired, Envelope
from fleetctl.core.text.listing import list_names
from fleetctl.core.timing.backoff import Backoff

from ..controlplane.backoff import pause_seconds, unknown_agent_seconds
from ..controlplane.desired_state import behind
from ..host.log import event, over, trouble
from ..state.conditions import of_disk
from . import clock_skew
from .report import Teller
from .state import LoopState

_LONG_POLL_SECONDS = 60
_LEAST_WAIT_SECONDS = 30
_TURN_SECONDS = 300.0  # far more than a turn takes beside its waiting: who is later is stuck
_MOST_NAMED = 8
LEAST_SECONDS = 1.0  # from the begin of one poll to the next, whatever the manager or a proxy says
_REPEAT = Backoff(2.0, 60.0, jitter=0.5)


class Poller:
    """Rule: an unchanged poll writes nothing; a manager that is away changes nothing but the pause
    until the next poll.
    """

    def __init__(self, state: LoopState, teller: Teller) -> None:
        self._state, self._teller = state, teller
        self._wait = MAX_WAIT_SECONDS
        self._failures = 0
        self._repeats = 0  # answers in a row with the document that is obeyed already

    def load(self) -> None:
        """What was wanted before a restart is wanted until the manager says otherwise: everything
        needed is on this disk.
        """
        self._state.attempts.load()
        stored_document = self._state.document_store.load()
        if stored_document is None:
            return
        self._state.etag, self._state.document = stored_document
        self._state.epoch = max(self._state.epoch, self._state.document.epoch)
        self._teller.refresh()
        self._state.work.set()
        self._state.look.set()
        self._state.upgrade_wish.set()

    async def poll(self) -> None:
        """Each turn ends within the request's deadline and a pause."""
        loop = asyncio.get_running_loop()
        while True:
            self._state.poll_due = loop.time() + MAX_WAIT_SECONDS + _TURN_SECONDS
            began = loop.time()
            pause = max(await self._once(), LEAST_SECONDS - (loop.time() - began))
            clock_skew.judge(self._state)
            self._state.poll_due = loop.time() + pause + _TURN_SECONDS
            await asyncio.sleep(pause)

    async def _once(self) -> float:
        """Ask once. Seconds until the next time."""
        uplink, loop = self._state.context.uplink, asyncio.get_running_loop()
        # answered at once: whether the manager is there is known then
        first = not self._state.poll_answered.is_set()
        wait = (
            self._wait
            if uplink.next_poll <= _LONG_POLL_SECONDS and self._state.etag and not first
            else 0
        )
        began = loop.time()
        try:
            answer = await uplink.fetch_desired(self._state.etag, wait)
            self._state.go_on()
            self._state.poll_answered.set()
            self._state.contact, self._state.contact_error = time.time(), ""
            over("manager")
            if answer is not None:
                self._repeats = 0 if self._take(*answer) else self._repeats + 1
        except (FleetError, OSError) as error:
            if wait and getattr(error, "silent", False):
                # Something on the way forgets connections on which nobody speaks: ask more often.
                self._wait = max(_LEAST_WAIT_SECONDS, self._wait // 2)
            return self._after_failure(error)
        self._failures = 0
        if answer is not None and self._repeats:
            return repeat_seconds(self._repeats, jitter.fraction())
        if (wait and (answer is not None or loop.time() - began > 1)) or (
            first and uplink.next_poll <= _LONG_POLL_SECONDS
        ):
            return 0.0
        return uplink.next_poll * jitter.between(0.85, 1.0)

    def _after_failure(self, error: FleetError | OSError) -> float:
        self._failures += 1
        uplink, fraction = self._state.context.uplink, jitter.fraction()
        longest = uplink.longest_pause
        pause = pause_seconds(self._failures, fraction, error, uplink.next_poll, longest)
        if isinstance(error, OSError):
            # What is not durable is not obeyed: a restart would go back behind it.
            self._state.say(*of_disk(error))
            return min(30.0, pause)
        self._state.contact_error = error.summary
        if isinstance(error, DuplicateAgent | NotEnrolled):
            self._state.stop(error.code, error.summary)
            trouble("manager", error.summary)
            if isinstance(error, NotEnrolled):
                return max(pause, unknown_agent_seconds(self._failures, fraction, longest))
            return max(pause, longest)
        if isinstance(error, ManagerBehind):
            self._state.say(error.code, error.summary)
        else:
            trouble("manager", f"no desired state from {uplink.url}: {error.summary}")
        return pause

    def _take(self, etag: str, envelope: Envelope) -> bool:
        """Obey a document. Returns False for the document that is obeyed already, and writes
        nothing then. Raises RefusedError for one that must not be obeyed, and OSError when it
        cannot be written: the document before stays in force.

        The ETag is set last. After an error on the way the manager sends the document again.
        """
        document = self._state.context.uplink.verify(envelope)
        if self._state.document is not None and self._state.document_store.is_obeyed(envelope):
            self._state.etag = etag
            return False
        older = behind(document, self._state.epoch, self._state.context.journal.floor)
        if older:
            step = (
                "If the manager was restored from a backup, stop it and run `fleet-manager epoch"
                " raise`."
            )
            raise ManagerBehind(
                f"the manager is behind this agent and is not obeyed: {older}",
                subject="manager",
                next_step=step,
            )
        self._state.document_store.keep(etag, envelope)
        self._state.disk_works()
        self._state.unsay(ManagerBehind.code)
        names = _names_of_changes(self._state.document, document)
        self._state.document, self._state.epoch = document, document.epoch
        waits = {b.name for b in document.bundles if self._state.is_expensive(document, b)}
        self._state.retry_at = {
            name: at for name, at in self._state.retry_at.items() if name in waits
        }
        self._state.removals &= {(t.name, t.generation) for t in document.tombstones}
        event(
            "new desired state",
            bundles=len(document.bundles),
            removals=len(document.tombstones),
            changed=names,
        )
        self._teller.refresh()
        self._state.attempts.keep_only(document)
        self._state.document_store.sweep(document, self._state.context.journal.entries.values())
        self._state.work.set()
        self._state.look.set()  # other rules of what counts as drift deploy nothing
        self._state.upgrade_wish.set()
        self._state.document_store.note_obeyed(envelope)
        self._state.etag = etag
        return True


def repeat_seconds(repeats: int, fraction: float) -> float:
    """Wait after the n-th answer in a row that repeats a document instead of saying 304: a proxy
    may weaken ETags.
    """
    return max(LEAST_SECONDS, _REPEAT.seconds(repeats, fraction))


def _names_of_changes(old: Desired | None, new: Desired) -> str:
    """Some names of bundles whose generation is new."""
    generations = {b.name: b.generation for b in old.bundles} if old else {}
    names = [b.name for b in new.bundles if generations.get(b.name, -1) < b.generation]
    return list_names(names, _MOST_NAMED)
