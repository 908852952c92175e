"""Asks the manager for the desired state, and takes a new one."""

from __future__ import annotations

import asyncio
import random
import time

from agent.log import event, over, trouble
from agent.situation import Situation
from agent.telling import Teller
from agent.uplink import Duplicate
from fleetctl.core.errors import FleetError
from fleetctl.core.wire import Desired, Envelope

_WAIT_SECONDS = 240
_MOST_NAMED = 8


class Poller:
    """Rule: an unchanged poll writes nothing; a manager that is away changes nothing but the pause until the next poll."""

    def __init__(self, at: Situation, teller: Teller) -> None:
        self._at, self._teller = at, teller

    def load(self) -> None:
        """What was wanted before a restart is wanted until the manager says otherwise: everything needed is on this disk."""
        kept = self._at.kept.load()
        if kept is None:
            return
        self._at.etag, self._at.document = kept
        self._at.epoch = max(self._at.epoch, self._at.document.epoch)
        self._teller.refresh()
        self._at.work.set()
        self._at.look.set()

    async def poll(self) -> None:
        failures = 0
        while True:
            wait = _WAIT_SECONDS if self._at.hands.uplink.next_poll <= 60 else 0
            try:
                found = await self._at.hands.uplink.desired(self._at.etag, wait if self._at.etag else 0, self._at.epoch)
                failures, self._at.twin = 0, False
                self._at.contact, self._at.contact_error = time.time(), ""
                over("manager")
                if found is not None:
                    self._take(*found)
                pause = 0.0 if wait else self._at.hands.uplink.next_poll * random.uniform(0.9, 1.1)  # noqa: S311 - spread
            except Duplicate as why:
                self._at.twin, self._at.contact_error = True, why.summary
                pause = 60.0
                trouble("manager", f"another agent has this identity, nothing is applied: {why.summary}")
            except OSError as why:
                # What is not durable is not obeyed: a restart would go back behind it.
                failures += 1
                pause = min(30.0, 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311 - spread
                self._at.say("disk", f"a new desired state cannot be kept, and waits: {why.strerror or why}")
            except FleetError as why:
                failures += 1
                self._at.contact_error = why.summary
                pause = max(getattr(why, "after", 0.0), min(300.0, 2.0**failures) * random.uniform(0.5, 1.0))  # noqa: S311
                trouble("manager", f"no desired state from {self._at.hands.uplink.url}: {why.summary}")
            await asyncio.sleep(pause)

    def _take(self, etag: str, envelope: Envelope) -> None:
        document = self._at.hands.uplink.opened(envelope)
        self._at.kept.keep(etag, envelope)
        self._at.unsay("disk")
        changed = _changed(self._at.document, document)
        self._at.document, self._at.etag, self._at.epoch = document, etag, document.epoch
        self._at.retry_at.clear()
        self._at.removed &= {(t.name, t.generation) for t in document.tombstones}
        event("new desired state", bundles=len(document.bundles), removals=len(document.tombstones), changed=changed)
        self._teller.refresh()
        self._at.kept.sweep(document, self._at.hands.journal.entries.values())
        self._at.work.set()
        self._at.look.set()  # other rules of what counts as drift deploy nothing


def _changed(old: Desired | None, new: Desired) -> str:
    """Some names of bundles whose generation is new."""
    known = {b.name: b.generation for b in old.bundles} if old else {}
    names = [b.name for b in new.bundles if known.get(b.name, -1) < b.generation]
    return " ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
