"""Looks at what runs: at once after a change, soon while something is not ready, and else now and then."""

from __future__ import annotations

import asyncio
import random

from agent import act, values
from agent.log import event, over, trouble
from agent.observe import drifted, is_ready
from agent.rules import NONE, Rules, rules_of
from agent.situation import Situation
from agent.telling import Teller
from fleetctl.core.errors import FleetError
from fleetctl.core.ids import BundleName
from fleetctl.core.status import ResourceStatus

_LOOK_SECONDS = (1.0, 15.0)
_GROUP_SECONDS = 0.05
_BUSY_SECONDS = 0.4  # between two looks while much is being done: each costs a list call for each kind


class Watcher:
    """`values_seconds`: at most so long until a change of what `valuesFrom` names reaches the release."""

    def __init__(self, at: Situation, teller: Teller, values_seconds: float) -> None:
        self._at, self._teller, self._values_seconds = at, teller, values_seconds

    async def watch(self) -> None:
        """Look at once after a change, soon while something is not ready, and else every 15 s."""
        low, high = _LOOK_SECONDS
        pause = low
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._at.look.wait()
                pause = low
                await asyncio.sleep(_BUSY_SECONDS if len(self._at.busy) > len(self._at.unseen) else _GROUP_SECONDS)
                fresh = set(self._at.unseen)
            except TimeoutError:
                fresh = set()
            self._at.look.clear()
            if self._at.observer is None:
                self._at.resources = {name: [] for name in self._at.hands.journal.entries}
                self._teller.refresh()
                continue
            try:
                known = [n for n, e in list(self._at.hands.journal.entries.items()) if n not in self._at.busy and e.applied]
                found = await self._at.observer.look(
                    {n: self._rules(n) for n in known if not fresh or n in fresh or not is_ready(self._at.resources.get(n, []))}
                )
            except FleetError as why:
                trouble("cluster", f"what runs cannot be looked at: {why.summary}")
                pause = min(high, pause * 2)
                continue
            over("cluster")
            self._at.unseen -= fresh
            self._at.resources |= {name: seen for name, seen in found.items() if name not in self._at.busy}
            self._correct(found)
            self._teller.refresh()
            calm = all(is_ready(seen) for seen in self._at.resources.values()) and not self._at.busy
            pause = high * random.uniform(0.9, 1.1) if calm else min(high, pause * 1.5)  # noqa: S311 - spread

    def _rules(self, name: BundleName) -> Rules:
        bundle = self._at.bundle(name)
        return rules_of(bundle.options) if bundle else NONE

    def _correct(self, found: dict[BundleName, list[ResourceStatus]]) -> None:
        """Drift is put right where `correctDrift.enabled` says so."""
        for bundle in self._at.bundles():
            drift = bundle.options.correct_drift
            if drift and drift.enabled and drifted(found.get(bundle.name, [])) and bundle.name not in self._at.again:
                self._at.again.add(bundle.name)
                event("drift is put right", bundle=bundle.name)
                self._at.work.set()

    async def read_again(self) -> None:
        """A ConfigMap or Secret that `valuesFrom` names changes without anybody's word: it is read again every few minutes."""
        while True:
            await asyncio.sleep(self._values_seconds * random.uniform(0.8, 1.0))  # noqa: S311 - spread
            for bundle in () if self._at.twin else self._at.bundles():
                entry = self._at.hands.journal.entries.get(bundle.name)
                if (
                    bundle.name in self._at.busy
                    or entry is None
                    or entry.applied < bundle.generation
                    or not values.references(bundle.options)
                ):
                    continue
                try:
                    now = values.fingerprint(self._at.hands.state_dir, await act.values_from(self._at.hands, bundle))
                except (FleetError, OSError) as why:
                    trouble(f"bundle {bundle.name}", getattr(why, "summary", str(why)))
                    continue
                if now != entry.values_digest:
                    event("values on the cluster have changed, it is deployed again", bundle=bundle.name)
                    self._at.again.add(bundle.name)
                    self._at.work.set()
