"""Makes the reports, and tells the manager those that changed; a report counts as told only after
the manager has answered.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from fleetctl import jitter
from fleetctl.core.model.errors import DuplicateAgent, FleetError, NotEnrolled, SendAll, TryLater
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.status import Report, State, trim
from fleetctl.core.model.wire import AgentUpgrade, Desired, DesiredBundle, StatusRequest

from ..controlplane.backoff import pause_seconds
from ..host.failpoints import failpoint
from ..host.log import state_change, trouble
from .deployment_report import (
    MOST_PAGE_BYTES,
    ReportFacts,
    behind,
    farewell,
    pages_of,
    report_of,
)
from .state import LoopState

_GROUP_SECONDS = 0.05
_STOPPED_SECONDS = 5.0
_LEAST_PAGE_BYTES = 8 * 1024


class Teller:
    """What waits to be told is bounded by the number of bundles: the latest report of one replaces
    the one before it.
    """

    def __init__(self, state: LoopState, about: StatusRequest) -> None:
        self._state, self._about = state, about
        self._pending: set[BundleName] = set()
        self._say_all = True
        self._seq = 0
        self._page_bytes = MOST_PAGE_BYTES

    def refresh(self, names: list[BundleName] | None = None) -> None:
        """Make the reports anew; those that differ will be told. A state that changed may free who
        depends on it.
        """
        document = self._state.document
        if document is None:
            return
        if self._say_all:
            self._state.tell.set()
        bundles = {b.name: b for b in document.bundles}
        for name in names if names is not None else bundles:
            if name in bundles:
                self._put(name, self._make_report(bundles[name], document))
        for tombstone in document.tombstones:
            if (tombstone.name, tombstone.generation) in self._state.removals:
                report = Report(
                    bundle=tombstone.name,
                    epoch=document.epoch,
                    generation=tombstone.generation,
                    state=State.READY,
                    removed=True,
                )
                self._put(tombstone.name, report)
            elif late := behind(
                (document.epoch, tombstone.generation),
                self._state.context.journal.floor(tombstone.name),
            ):
                head = Report(
                    bundle=tombstone.name,
                    epoch=document.epoch,
                    generation=tombstone.generation,
                    state=State.ERR_APPLIED,
                )
                self._put(
                    tombstone.name, msgspec.structs.replace(head, code="behind", message=late)
                )
            elif tombstone.name in self._state.failures or tombstone.name in self._state.holds:
                error = (
                    self._state.errors.get(tombstone.name)
                    if tombstone.name in self._state.failures
                    else None
                )
                hold = self._state.holds.get(tombstone.name, "")
                self._put(tombstone.name, farewell(tombstone, document, error=error, hold=hold))
        for name in set(self._state.reports) - set(bundles) - {t.name for t in document.tombstones}:
            del self._state.reports[name]

    def _put(self, name: BundleName, report: Report) -> None:
        old = self._state.reports.get(name)
        if old is not None and msgspec.structs.replace(old, at="") == report:
            return
        if old is not None and (
            old.state is not report.state or (self._state.waits and old.message != report.message)
        ):
            self._state.work.set()  # who waits for it may begin, or waits for another reason
        if is_news(old, report):
            state_change(name, report.generation, report.state.value, report.message)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._state.context.uplink.now()))
        self._state.reports[name] = trim(msgspec.structs.replace(report, at=at))
        self._pending.add(name)
        self._state.tell.set()

    def _make_report(self, bundle: DesiredBundle, document: Desired) -> Report:
        name = bundle.name
        error = self._state.errors.get(name) if name in self._state.failures else None
        journal = self._state.context.journal
        facts = ReportFacts(
            journal.entries.get(name),
            self._state.resources.get(name),
            error,
            self._state.waits.get(name, ""),
            journal.floor(name),
            self._state.corrections.note(name),
        )
        return report_of(bundle, document, facts)

    def tell_upgrade(self, upgrade: AgentUpgrade | None) -> None:
        """Tell the state of the agent's own upgrade; every report carries it."""
        about = msgspec.structs.replace(self._about, upgrade=upgrade)
        if about != self._about:
            self._about = about
            self._state.tell.set()

    async def report(self) -> None:
        failures = 0
        while True:
            await self._state.tell.wait()
            if self._state.is_stopped:  # the poller asks whether it still is so
                await asyncio.sleep(_STOPPED_SECONDS)
                continue
            self._state.tell.clear()
            await asyncio.sleep(_GROUP_SECONDS)
            try:
                await self._send()
                failures = 0
            except SendAll:
                self._say_all = True
                if self._state.document is not None:
                    self._state.tell.set()
            except (DuplicateAgent, NotEnrolled) as error:
                self._state.stop(error.code, error.summary)
                self._state.tell.set()
            except FleetError as error:
                failures += 1
                if not isinstance(error, TryLater):
                    trouble("manager", f"the manager refuses the report: {error.summary}")
                elif error.silent:
                    # At 8 kbit/s a page of half a mebibyte takes nine minutes, and no request may
                    # take more than 30 s.
                    self._page_bytes = max(_LEAST_PAGE_BYTES, self._page_bytes // 2)
                self._state.tell.set()
                uplink = self._state.context.uplink
                fraction = jitter.fraction()
                interval, longest = uplink.next_poll, uplink.longest_pause
                await asyncio.sleep(pause_seconds(failures, fraction, error, interval, longest))

    async def _send(self) -> None:
        """What was not told yet, or everything; forgotten only after the manager has it. Before the
        first document only troubles.
        """
        full = self._say_all and self._state.document is not None
        names = set(self._state.reports) if full else self._pending & set(self._state.reports)
        reports = {name: self._state.reports[name] for name in names}
        pages = pages_of(
            [trim(report, self._page_bytes) for report in reports.values()], self._page_bytes
        )
        for number, page in enumerate(pages, 1):
            self._seq += 1
            head = {
                "instance": self._state.context.uplink.instance,
                "seq": self._seq,
                "full": full,
                "page": number,
                "pages": len(pages),
            }
            head["troubles"] = self._state.troubles.all()
            failpoint("before-report")
            await self._state.context.uplink.report(
                msgspec.structs.replace(self._about, **head, deployments=page)
            )
            failpoint("after-report")
        self._say_all = self._say_all and not full
        if full:
            self._state.full_report_sent.set()
        self._pending -= {
            name for name, report in reports.items() if self._state.reports.get(name) is report
        }
        self._pending &= set(self._state.reports)


def is_news(old: Report | None, new: Report) -> bool:
    """Whether a person wants to read of it: not what follows from a line that is there already (a
    failure, a deployment under way).
    """
    if (
        new.state in {State.ERR_APPLIED, State.WAIT_APPLIED}
        or new.removed
        or (new.state is State.NOT_READY and not new.code)
    ):
        return False
    return old is None or old.state is not new.state
