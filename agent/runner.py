"""The loop of a running agent: poll, act, look, report, each in a task of its own, joined by events.

Rule: what runs stays when the manager is away; one bundle that fails stops no other; a report counts as told only after the manager has
answered; an unchanged poll writes nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec

from agent import act
from agent.act import Hands
from agent.decide import Action, Install, Remove, Wait, World, decide, retry_seconds
from agent.documents import KeptDocument
from agent.failpoints import failpoint
from agent.log import event, trouble
from agent.memory import give_back
from agent.notify import Notifier
from agent.observe import Observer, drifted, is_ready
from agent.recover import rebuild
from agent.reports import Known, pages_of, report_of
from agent.rules import NONE, Rules, rules_of
from agent.uplink import Duplicate, SendAll, TryLater
from fleetctl.core.errors import FleetError
from fleetctl.core.ids import BundleName, Epoch, Generation
from fleetctl.core.status import Report, ResourceStatus, State, trim
from fleetctl.core.wire import Desired, DesiredBundle, StatusRequest

_WAIT_SECONDS = 240
_LOOK_SECONDS = (1.0, 15.0)
_VALUES_SECONDS = 300.0
_GROUP_SECONDS = 0.05
_BUSY_SECONDS = 0.4  # between two looks while much is being done: each costs a list call for each kind


class Runner:
    """`values_seconds`: at most so long until a change of what `valuesFrom` names reaches the release."""

    def __init__(
        self,
        hands: Hands,
        observer: Observer | None,
        notifier: Notifier,
        *,
        at_once: int,
        about: StatusRequest,
        values_seconds: float = _VALUES_SECONDS,
    ) -> None:
        self._values_seconds = values_seconds
        self._hands, self._observer, self._notifier = hands, observer, notifier
        self._about, self._slots = about, asyncio.Semaphore(at_once)
        self._document: Desired | None = None
        self._etag = ""
        self._epoch = Epoch(max((e.epoch for e in hands.journal.entries.values()), default=0))
        self._resources: dict[BundleName, list[ResourceStatus]] = {}
        self._reports: dict[BundleName, Report] = {}
        self._unsaid: set[BundleName] = set()
        self._say_all = True
        self._seq = 0
        self._retry_at: dict[BundleName, float] = {}
        self._failures: dict[BundleName, int] = {}
        self._again: set[BundleName] = set()
        self._errors: dict[BundleName, tuple[Generation, str, str]] = {}
        self._waits: dict[BundleName, str] = {}
        self._removed: set[tuple[BundleName, int]] = set()
        self._busy: dict[BundleName, asyncio.Task[None]] = {}
        self._unseen: set[BundleName] = set()
        self._work, self._tell, self._look = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._twin = False
        self._grown = True
        self._known = False
        self._kept = KeptDocument(hands.state_dir)
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Until `stopping` is set."""
        self._load_document()
        loops = (self._poll, self._act, self._watch, self._report, self._beat, self._read_again)
        tasks = [asyncio.create_task(_for_ever(loop)) for loop in loops]
        self._notifier.tell("READY=1")
        await self.stopping.wait()
        self._notifier.tell("STOPPING=1")
        for task in (*tasks, *self._busy.values()):
            task.cancel()
        await asyncio.gather(*tasks, *self._busy.values(), return_exceptions=True)

    # The document

    def _load_document(self) -> None:
        """What was wanted before a restart is wanted until the manager says otherwise: everything needed is on this disk."""
        kept = self._kept.load()
        if kept is None:
            return
        self._etag, self._document = kept
        self._epoch = max(self._epoch, self._document.epoch)
        self._refresh()
        self._work.set()
        self._look.set()

    async def _poll(self) -> None:
        failures = 0
        while True:
            wait = _WAIT_SECONDS if self._hands.uplink.next_poll <= 60 else 0
            try:
                found = await self._hands.uplink.desired(self._etag, wait if self._etag else 0, self._epoch)
                failures, self._twin = 0, False
                if found is not None:
                    self._take(*found)
                pause = 0.0 if wait else self._hands.uplink.next_poll * random.uniform(0.9, 1.1)  # noqa: S311 - spread
            except Duplicate as why:
                self._twin = True
                pause = 60.0
                trouble("another agent has this identity; nothing is applied", why.summary)
            except FleetError as why:
                failures += 1
                pause = max(getattr(why, "after", 0.0), min(300.0, 2.0**failures) * random.uniform(0.5, 1.0))  # noqa: S311
                trouble("the manager gives no desired state", why.summary)
            await asyncio.sleep(pause)

    def _take(self, etag: str, payload: bytes) -> None:
        document = self._kept.keep(etag, payload)
        self._document, self._etag, self._epoch = document, etag, document.epoch
        self._retry_at.clear()
        self._removed &= {(t.name, t.generation) for t in document.tombstones}
        event("document", bundles=len(document.bundles), tombstones=len(document.tombstones))
        self._refresh()
        self._kept.sweep(document, self._hands.journal.entries.values())
        self._work.set()

    # Work

    async def _rebuilt(self, document: Desired) -> bool:
        """Whether the journal is what this agent may act on; one that is empty is rebuilt from the cluster first."""
        if self._known:
            return True
        try:
            if self._observer is not None and not self._hands.journal.entries:
                found = await rebuild(self._hands.kube, self._hands.journal, document.cluster_id)
                if found:
                    event("journal rebuilt from the cluster", bundles=found)
        except (FleetError, OSError) as why:
            trouble("the journal cannot be rebuilt yet", str(why))
            asyncio.get_running_loop().call_later(5, self._work.set)
            return False
        self._known = True
        return True

    async def _act(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            document = self._document
            if document is None or self._twin or not await self._rebuilt(document):
                continue
            for action in decide(document, self._world(), time.time()):
                self._begin(document, action)
            self._wake_for_retries()

    def _world(self) -> World:
        states = {name: report.state for name, report in self._reports.items()}
        return World(self._hands.journal.entries, states, self._retry_at, self._busy, self._again, self._removed)

    def _begin(self, document: Desired, action: Action) -> None:
        if isinstance(action, Wait):
            if self._waits.get(action.bundle.name) != action.reason:
                self._waits[action.bundle.name] = action.reason
                self._refresh([action.bundle.name])
            return
        name = action.bundle.name if isinstance(action, Install) else action.tombstone.name
        self._waits.pop(name, None)
        self._grown = True
        task = asyncio.create_task(self._do(document, action, name))
        self._busy[name] = task

    async def _do(self, document: Desired, action: Install | Remove, name: BundleName) -> None:
        try:
            async with self._slots:
                if isinstance(action, Install):
                    await act.install(self._hands, document, action.bundle)
                    event("deployed", bundle=name, generation=action.bundle.generation)
                else:
                    await act.remove(self._hands, action.tombstone)
                    self._removed.add((name, action.tombstone.generation))
                    self._resources.pop(name, None)
                    event("removed", bundle=name)
            self._failures.pop(name, None)
            self._again.discard(name)
            if isinstance(action, Install):
                self._resources.pop(name, None)
        except (FleetError, OSError) as why:
            self._failed(name, action, why)
        finally:
            self._busy.pop(name, None)
            self._refresh([name])
            self._unseen.add(name)
            self._look.set()
            self._work.set()

    def _failed(self, name: BundleName, action: Install | Remove, why: FleetError | OSError) -> None:
        count = self._failures[name] = self._failures.get(name, 0) + 1
        self._retry_at[name] = time.time() + retry_seconds(count, random.random())  # noqa: S311 - spread
        summary = why.summary if isinstance(why, FleetError) else f"the state directory cannot be written: {why.strerror}"
        code = why.code if isinstance(why, FleetError) else "disk"
        trouble(f"bundle {name}", summary)
        generation = action.bundle.generation if isinstance(action, Install) else action.tombstone.generation
        self._errors[name] = (generation, code, summary)

    def _wake_for_retries(self) -> None:
        soon = min((at for at in self._retry_at.values() if at > time.time()), default=0.0)
        if soon:
            asyncio.get_running_loop().call_later(max(0.1, soon - time.time()), self._work.set)

    # What is seen

    async def _watch(self) -> None:
        """Look at once after a change, soon while something is not ready, and else every 15 s."""
        low, high = _LOOK_SECONDS
        pause = low
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
                pause = low
                await asyncio.sleep(_BUSY_SECONDS if len(self._busy) > len(self._unseen) else _GROUP_SECONDS)
                fresh = set(self._unseen)
            except TimeoutError:
                fresh = set()
            self._look.clear()
            if self._observer is None:
                self._resources = {name: [] for name in self._hands.journal.entries}
                self._refresh()
                continue
            try:
                known = [n for n, e in list(self._hands.journal.entries.items()) if n not in self._busy and e.applied]
                found = await self._observer.look(
                    {n: self._rules(n) for n in known if not fresh or n in fresh or not is_ready(self._resources.get(n, []))}
                )
            except FleetError as why:
                trouble("the cluster cannot be looked at", why.summary)
                pause = min(high, pause * 2)
                continue
            self._unseen -= fresh
            self._resources |= {name: seen for name, seen in found.items() if name not in self._busy}
            self._correct(found)
            self._refresh()
            calm = all(is_ready(seen) for seen in self._resources.values()) and not self._busy
            pause = high * random.uniform(0.9, 1.1) if calm else min(high, pause * 1.5)  # noqa: S311 - spread

    def _rules(self, name: BundleName) -> Rules:
        bundle = next((b for b in self._document.bundles if b.name == name), None) if self._document else None
        return rules_of(bundle.options) if bundle else NONE

    def _correct(self, found: dict[BundleName, list[ResourceStatus]]) -> None:
        """Drift is put right where `correctDrift.enabled` says so."""
        for bundle in self._document.bundles if self._document else ():
            drift = bundle.options.correct_drift
            if drift and drift.enabled and drifted(found.get(bundle.name, [])) and bundle.name not in self._again:
                self._again.add(bundle.name)
                event("drift is put right", bundle=bundle.name)
                self._work.set()

    async def _read_again(self) -> None:
        """A ConfigMap or Secret that `valuesFrom` names changes without anybody's word: it is read again every few minutes."""
        while True:
            await asyncio.sleep(self._values_seconds * random.uniform(0.8, 1.0))  # noqa: S311 - spread
            for bundle in self._document.bundles if self._document and not self._twin else ():
                entry = self._hands.journal.entries.get(bundle.name)
                if bundle.name in self._busy or entry is None or entry.applied < bundle.generation or not reads_values(bundle):
                    continue
                try:
                    now = act.digest_of(await act.values_from(self._hands, bundle))
                except FleetError as why:
                    trouble(f"bundle {bundle.name}", why.summary)
                    continue
                if now != entry.values_digest:
                    event("values on the cluster have changed", bundle=bundle.name)
                    self._again.add(bundle.name)
                    self._work.set()

    # What is told

    def _refresh(self, names: list[BundleName] | None = None) -> None:
        """Make the reports anew; those that differ will be told. A state that changed may free who depends on it."""
        document = self._document
        if document is None:
            return
        wanted = {b.name: b for b in document.bundles}
        for name in names if names is not None else wanted:
            if name in wanted:
                self._put(name, self._made(wanted[name], document))
        for tombstone in document.tombstones:
            if (tombstone.name, tombstone.generation) in self._removed:
                done = Report(bundle=tombstone.name, epoch=document.epoch, generation=tombstone.generation, state=State.READY, removed=True)
                self._put(tombstone.name, done)
            elif tombstone.name in self._errors:
                generation, code, message = self._errors[tombstone.name]
                head = Report(bundle=tombstone.name, epoch=document.epoch, generation=generation, state=State.ERR_APPLIED)
                self._put(tombstone.name, msgspec.structs.replace(head, code=code, message=message))
        for name in set(self._reports) - set(wanted) - {t.name for t in document.tombstones}:
            del self._reports[name]

    def _put(self, name: BundleName, report: Report) -> None:
        old = self._reports.get(name)
        if old is not None and msgspec.structs.replace(old, at="") == report:
            return
        if old is not None and old.state is not report.state:
            self._work.set()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._reports[name] = trim(msgspec.structs.replace(report, at=at))
        self._unsaid.add(name)
        self._tell.set()

    def _made(self, bundle: DesiredBundle, document: Desired) -> Report:
        name = bundle.name
        error = self._errors.get(name) if name in self._failures else None
        known = Known(self._hands.journal.entries.get(name), self._resources.get(name), error, self._waits.get(name, ""))
        return report_of(bundle, document, known)

    async def _report(self) -> None:
        failures = 0
        while True:
            if not self._say_all:
                await self._tell.wait()
            self._tell.clear()
            await asyncio.sleep(_GROUP_SECONDS)
            if self._document is None:
                await asyncio.sleep(0.2)
                continue
            try:
                await self._send()
                failures = 0
            except SendAll:
                self._say_all = True
            except Duplicate:
                self._twin = True
                await asyncio.sleep(30)
            except FleetError as why:
                failures += 1
                if not isinstance(why, TryLater):
                    trouble("the manager does not take the report", why.summary)
                self._tell.set()
                await asyncio.sleep(min(300.0, 2.0**failures) * random.uniform(0.5, 1.0))  # noqa: S311 - spread

    async def _send(self) -> None:
        """What was not told yet, or everything; forgotten only after the manager has it."""
        full = self._say_all
        names = set(self._reports) if full else self._unsaid & set(self._reports)
        told = {name: self._reports[name] for name in names}
        pages = pages_of(list(told.values()))
        for number, page in enumerate(pages, 1):
            self._seq += 1
            head = {"instance": self._hands.uplink.instance, "seq": self._seq, "full": full, "page": number, "pages": len(pages)}
            failpoint("before-report")
            await self._hands.uplink.report(msgspec.structs.replace(self._about, **head, deployments=page))
            failpoint("after-report")
        self._say_all = False
        self._unsaid -= {name for name, report in told.items() if self._reports.get(name) is report}
        self._unsaid &= set(self._reports)

    async def _beat(self) -> None:
        """systemd's watchdog and status line."""
        while True:
            states = [r.state for r in self._reports.values()]
            ready = sum(1 for s in states if s is State.READY)
            self._notifier.tell(f"STATUS={ready} of {len(states)} bundles ready")
            self._notifier.tell("WATCHDOG=1")
            if not self._busy and self._grown:
                self._grown = False
                give_back()
            await asyncio.sleep(5)


def reads_values(bundle: DesiredBundle) -> bool:
    return bool(bundle.options.helm and bundle.options.helm.values_from)


async def _for_ever(loop: Callable[[], Awaitable[None]]) -> None:
    """An error of our own is written down, and the loop begins again."""
    while True:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except Exception as why:
            trouble("an error of the agent's own", f"{type(why).__name__}: {why}")
            await asyncio.sleep(5)
