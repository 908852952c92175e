"""Does what `decide` says: one task for each bundle that changes, a bounded number at a time."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from contextlib import nullcontext

from fleetctl import jitter
from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import FleetError, HelmAlive, LeaseTaken, ObjectsRemain
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired, DesiredBundle

from ..deploy import install, remove
from ..deploy.delete_objects import PATIENCE
from ..host.log import bug, event, over, trouble
from ..release.recovery import places_of, recover
from ..state import attempts
from ..state.conditions import of_disk
from ..state.journal import is_applied
from . import correct
from .decide import (
    HOLD_SECONDS,
    RETRY,
    Action,
    Hold,
    Install,
    Remove,
    Tidy,
    Wait,
    World,
    decide,
)
from .deployment_report import EXPENSIVE, REMOVING, DeploymentFailure
from .report import Teller
from .state import LoopState

_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG}
)
# What ends without anybody's doing is tried again soon, so that the fleet is itself again within a
# minute of it.
MOST_RETRY_SECONDS = {
    **dict.fromkeys(("disk", "system"), 30.0),
    **dict.fromkeys(("cluster-unreachable", "throttled", "try-later"), 45.0),
    "helm-pending": 10.0,
    **dict.fromkeys(("removal", "no-kind", "webhook"), 60.0),
}
_MOST_SAID = 256
_EXPENSIVE_POWER = 4  # the first wait after one of these failures is 40 to 80 s
MANAGER_SECONDS = 10.0  # after a start, for the manager's first answer
_REMOVALS_IN_TIME = 3  # about half a minute: a Pod's grace, a volume's protection


class Worker:
    """Rule: one bundle that fails stops no other, and no bundle is in two hands at once.

    `at_once`: releases changed at the same time. `clock`: monotonic seconds, so that no jump of the
    machine's time holds a retry back.
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
        self._state, self._teller, self._slots, self._clock = (
            state,
            teller,
            asyncio.Semaphore(at_once),
            clock,
        )
        self._manager_seconds = manager_seconds
        self._alone_at_work = asyncio.Lock()
        self._aside: dict[BundleName, str] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._is_compared = False

    async def act(self) -> None:
        await self._hear_manager()
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
                if not await self._alone():
                    continue
                # Time may have passed.
                document = self._state.document or document
                self._note(document)
                actions = decide(document, self._world(), self._clock())
            for action in actions:
                self._begin(document, action)
            self._wake_for_retries()

    async def _hear_manager(self) -> None:
        """What the manager wants now comes before what it wanted when this agent last ran: it may
        have taken back what stopped it.
        """
        try:
            async with asyncio.timeout(self._manager_seconds):
                await self._state.poll_answered.wait()
        except TimeoutError:
            event("the manager does not answer; going on with the desired state on this disk")
        self._manager_seconds = 0.0

    def _set_aside(self, document: Desired) -> None:
        """Bundles during whose work an earlier agent died wait; from the second death on they are
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
        """Since when each tombstone is known, and no longer than it is in the document."""
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
        """A bundle that somebody wants corrected is looked at; what differs is applied again
        (`watching`).
        """
        state = self._state
        for bundle in document.bundles:
            entry = state.context.journal.entries.get(bundle.name)
            is_idle = bundle.name not in state.busy and bundle.name not in state.to_reapply
            if is_idle and entry is not None and correct.is_correction_requested(bundle, entry):
                state.to_observe.add(bundle.name)
                state.look.set()

    async def _alone(self) -> bool:
        """Whether no other agent changes this cluster; else it is told, and looked at again.
        Without an answer a release's try tells.
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
        """Whether the journal is what this agent may act on: at each start it is compared with the
        cluster's own records first.
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
                self._fetch(action.bundle)
            return
        name = action.tombstone.name if isinstance(action, Remove) else action.bundle.name
        self._state.waits.pop(name, None)
        self._state.holds.pop(name, None)
        self._state.was_busy = True
        task = asyncio.create_task(self._do(document, action, name))
        self._state.busy[name] = task

    def _fetch(self, bundle: DesiredBundle) -> None:
        """What waits for others may have to begin while the manager is away: its archive is fetched
        now.
        """
        if (
            bundle.archive not in self._fetching
            and not (self._state.context.state_dir / "archives" / bundle.archive).exists()
        ):
            self._fetching[bundle.archive] = asyncio.create_task(self._fetch_ahead(bundle))

    async def _fetch_ahead(self, bundle: DesiredBundle) -> None:
        try:
            async with self._slots:
                await install.archive(self._state.context, bundle)
        except (FleetError, OSError) as error:
            trouble(f"bundle {bundle.name}", f"its archive cannot be fetched ahead: {error}")
        finally:
            del self._fetching[bundle.archive]

    async def _do(
        self, document: Desired, action: Install | Tidy | Remove, name: BundleName
    ) -> None:
        is_suspect = (
            isinstance(action, Install) and self._state.attempts.deaths(document, action.bundle) > 0
        )
        try:
            # Suspects one after the other, so that the next death tells which of them it was.
            async with self._alone_at_work if is_suspect else nullcontext(), self._slots:
                if isinstance(action, Install):
                    # may take hours, and changes nothing: without the lease
                    await install.archive(self._state.context, action.bundle)
                async with self._state.lease.hold():
                    if self._state.is_stopped:
                        return  # told so while it waited
                    await self._do_with_mark(document, action, name)
            self._state.disk_works()
            self._state.failures.pop(name, None)
            over(f"bundle {name}")
        except Exception as error:  # also a defect of the agent: it stops only this bundle
            if not isinstance(error, FleetError | OSError):
                bug(f"bundle {name}", error)
            if self._is_done(document, action):
                # What failed came after the journal's word that it is done: nothing would ever try
                # it again, and nothing has to.
                trouble(f"bundle {name}", f"is deployed; after that: {describe_error(error)[1]}")
                self._state.failures.pop(name, None)
                self._state.resources.pop(name, None)
            else:
                self._record_failure(name, action, error)
        finally:
            self._state.busy.pop(name, None)
            self._teller.refresh([name])
            self._state.to_observe.add(name)
            self._state.look.set()
            self._state.work.set()

    async def _do_with_mark(
        self, document: Desired, action: Install | Tidy | Remove, name: BundleName
    ) -> None:
        """The work, with a mark on the disk that outlives the death of this process."""
        if not isinstance(action, Install):
            await self._carry_out(document, action, name)
            return
        await asyncio.to_thread(self._state.attempts.begin, document, action.bundle)
        try:
            await self._carry_out(document, action, name)
        finally:
            self._state.attempts.end(name)

    async def _carry_out(
        self, document: Desired, action: Install | Tidy | Remove, name: BundleName
    ) -> None:
        context, patience = self._state.context, PATIENCE[name in self._state.failures]
        if isinstance(action, Tidy):
            await remove.tidy(context, document, name, patience=patience)
            event("the old release is removed", bundle=name)
            return
        if isinstance(action, Install):
            started_at = time.monotonic()
            await install.install(context, document, action.bundle)
            self._tell_deployed(action.bundle, time.monotonic() - started_at)
        else:
            await remove.remove(context, document, action.tombstone, patience=patience)
            self._state.removals.add((name, action.tombstone.generation))
            event("removed", bundle=name)
        self._state.to_reapply.discard(name)
        self._state.resources.pop(name, None)

    def _is_done(self, document: Desired, action: Install | Tidy | Remove) -> bool:
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

    def _tell_deployed(self, bundle: DesiredBundle, seconds: float) -> None:
        entry = self._state.context.journal.entries.get(bundle.name)
        release, revision = (
            (f"{entry.namespace}/{entry.release}", entry.revision) if entry else ("", 0)
        )
        details = {
            "release": release,
            "revision": revision,
            "commit": bundle.commit[:12],
            "took": f"{seconds:.1f} s",
        }
        event("deployed", bundle=bundle.name, generation=bundle.generation, **details)

    def _record_failure(
        self, name: BundleName, action: Install | Tidy | Remove, error: Exception
    ) -> None:
        code, summary = describe_error(error)
        if code == "disk" and isinstance(error, OSError):
            self._state.say(*of_disk(error))
        count = self._state.failures[name] = self._state.failures.get(name, 0) + 1
        power = count + (_EXPENSIVE_POWER if code in EXPENSIVE else 0)
        wait = min(
            MOST_RETRY_SECONDS.get(code, RETRY.cap),
            RETRY.seconds(power, jitter.fraction()),
        )
        self._state.retry_at[name] = self._clock() + wait
        trouble(f"bundle {name}", f"{summary}; again in {wait:.0f} s")
        generation = (
            action.tombstone.generation if isinstance(action, Remove) else action.bundle.generation
        )
        if isinstance(error, ObjectsRemain) and count <= _REMOVALS_IN_TIME:
            code = REMOVING
        about, hint = (
            (error.subject, error.next_step) if isinstance(error, FleetError) else ("", "")
        )
        self._state.errors[name] = DeploymentFailure(
            generation, code, summary, redacted(about)[:_MOST_SAID], redacted(hint)[:_MOST_SAID]
        )

    def _wake_for_retries(self) -> None:
        """Also for removals that have waited long enough for others."""
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


def describe_error(error: Exception) -> tuple[str, str]:
    """(code, one line) for what went wrong with a bundle."""
    if isinstance(error, FleetError):
        return error.code, redacted(error.summary)
    if isinstance(error, OSError) and error.errno in _DISK:
        return "disk", f"the state directory cannot be written: {error.strerror}"
    if isinstance(error, OSError):
        return "system", f"the system refuses: {error.strerror or error}"
    return "bug", f"internal error of the agent: {type(error).__name__}: {error}"
