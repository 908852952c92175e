"""Does what `decide` says: one task for each bundle that changes, a bounded number at a time."""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Callable

from agent import act
from agent.decide import RETRY_SECONDS, Action, Install, Remove, Wait, World, decide, retry_seconds
from agent.fence import HelmAlive
from agent.lease import LeaseTaken
from agent.log import event, over, trouble
from agent.recover import recover
from agent.situation import Situation
from agent.telling import Teller
from agent.troubles import of_disk
from fleetctl.core.errors import FleetError
from fleetctl.core.ids import BundleName
from fleetctl.core.redact import redacted
from fleetctl.core.render import release_of
from fleetctl.core.wire import Desired, DesiredBundle

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG})
# What ends without anybody's doing is tried again soon, so that the fleet is itself again within a minute of it.
MOST_RETRY_SECONDS = {"disk": 30.0, "system": 30.0, "cluster-unreachable": 45.0, "try-later": 45.0, "helm-pending": 30.0}


class Worker:
    """Rule: one bundle that fails stops no other, and no bundle is in two hands at once.

    `at_once`: releases changed at the same time. `clock`: monotonic seconds, so that no jump of the machine's time holds a retry back.
    """

    def __init__(self, at: Situation, teller: Teller, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._at, self._teller, self._slots, self._clock = at, teller, asyncio.Semaphore(at_once), clock
        self._known = False

    async def act(self) -> None:
        while True:
            await self._at.work.wait()
            self._at.work.clear()
            document = self._at.document
            if document is None or self._at.twin or self._at.held or not await self._rebuilt(document):
                continue
            actions = decide(document, self._world(), self._clock())
            if any(not isinstance(action, Wait) for action in actions):
                if not await self._alone():
                    continue
                # Time may have passed.
                document = self._at.document or document
                actions = decide(document, self._world(), self._clock())
            for action in actions:
                self._begin(document, action)
            self._wake_for_retries()

    async def _alone(self) -> bool:
        """Whether no other agent changes this cluster; else it is told, and looked at again. Without an answer a release's try tells."""
        try:
            await self._at.lease.take()
        except LeaseTaken as why:
            self._at.say(why.code, why.summary)
            asyncio.get_running_loop().call_later(random.uniform(5, 10), self._at.work.set)  # noqa: S311 - spread
            return False
        except FleetError:
            return True
        self._at.unsay(LeaseTaken.code)
        return True

    async def _rebuilt(self, document: Desired) -> bool:
        """Whether the journal is what this agent may act on: at each start it is compared with the cluster's own records first."""
        if self._known:
            return True
        hands = self._at.hands
        try:
            await hands.fence.take()
            self._at.unsay("helm-alive")
            if self._at.observer is not None:
                places = {e.namespace for e in hands.journal.entries.values() if e.namespace}
                places |= {release_of(b.options, b.name)[1] for b in document.bundles}
                found = await recover(hands.kube, hands.journal, document.cluster_id, places)
                if found:
                    event("the cluster knew more than the journal", bundles=", ".join(found[:10]))
                    self._teller.refresh()
        except (FleetError, OSError) as why:
            trouble("journal", f"it cannot be compared with the releases yet: {why}")
            if isinstance(why, HelmAlive):
                self._at.say("helm-alive", why.summary)
            elif isinstance(why, OSError):
                self._at.say(*of_disk(why))
            asyncio.get_running_loop().call_later(5, self._at.work.set)
            return False
        self._known = True
        return True

    def _world(self) -> World:
        states = {name: report.state for name, report in self._at.reports.items()}
        journal, at = self._at.hands.journal, self._at
        return World(journal.entries, states, at.retry_at, at.busy, at.again, at.removed, journal.floors())

    def _begin(self, document: Desired, action: Action) -> None:
        if isinstance(action, Wait):
            if self._at.waits.get(action.bundle.name) != action.reason:
                self._at.waits[action.bundle.name] = action.reason
                self._teller.refresh([action.bundle.name])
            return
        name = action.bundle.name if isinstance(action, Install) else action.tombstone.name
        self._at.waits.pop(name, None)
        self._at.grown = True
        task = asyncio.create_task(self._do(document, action, name))
        self._at.busy[name] = task

    async def _do(self, document: Desired, action: Install | Remove, name: BundleName) -> None:
        try:
            async with self._slots, self._at.lease.held():
                if isinstance(action, Install):
                    begun = time.monotonic()
                    await act.install(self._at.hands, document, action.bundle)
                    self._tell_deployed(action.bundle, time.monotonic() - begun)
                else:
                    await act.remove(self._at.hands, action.tombstone, document.epoch)
                    self._at.removed.add((name, action.tombstone.generation))
                    self._at.resources.pop(name, None)
                    event("removed", bundle=name)
            self._at.disk_works()
            self._at.failures.pop(name, None)
            over(f"bundle {name}")
            self._at.again.discard(name)
            if isinstance(action, Install):
                self._at.resources.pop(name, None)
        except Exception as why:  # also an error of our own: it stops this bundle, and is told
            self._failed(name, action, why)
        finally:
            self._at.busy.pop(name, None)
            self._teller.refresh([name])
            self._at.unseen.add(name)
            self._at.look.set()
            self._at.work.set()

    def _tell_deployed(self, bundle: DesiredBundle, seconds: float) -> None:
        entry = self._at.hands.journal.entries.get(bundle.name)
        release, revision = (f"{entry.namespace}/{entry.release}", entry.revision) if entry else ("", 0)
        more = {"release": release, "revision": revision, "commit": bundle.commit[:12], "took": f"{seconds:.1f} s"}
        event("deployed", bundle=bundle.name, generation=bundle.generation, **more)

    def _failed(self, name: BundleName, action: Install | Remove, why: Exception) -> None:
        code, summary = told(why)
        if code == "disk" and isinstance(why, OSError):
            self._at.say(*of_disk(why))
        count = self._at.failures[name] = self._at.failures.get(name, 0) + 1
        wait = min(MOST_RETRY_SECONDS.get(code, RETRY_SECONDS[1]), retry_seconds(count, random.random()))  # noqa: S311 - spread
        self._at.retry_at[name] = self._clock() + wait
        trouble(f"bundle {name}", f"{summary}; again in {wait:.0f} s")
        generation = action.bundle.generation if isinstance(action, Install) else action.tombstone.generation
        self._at.errors[name] = (generation, code, summary)

    def _wake_for_retries(self) -> None:
        soon = min((at for at in self._at.retry_at.values() if at > self._clock()), default=0.0)
        if soon:
            asyncio.get_running_loop().call_later(max(0.1, soon - self._clock()), self._at.work.set)


def told(why: Exception) -> tuple[str, str]:
    """(code, one line) for what went wrong with a bundle."""
    if isinstance(why, FleetError):
        return why.code, redacted(why.summary)
    if isinstance(why, OSError) and why.errno in _DISK:
        return "disk", f"the state directory cannot be written: {why.strerror}"
    if isinstance(why, OSError):
        return "system", f"the system refuses: {why.strerror or why}"
    return "bug", f"an error of the agent's own: {type(why).__name__}: {why}"
