"""What a running agent knows at this moment, shared by its loops: the desired state, what was done,
what was observed, and the events that wake the loops.

Rule: nothing here outlives the process. The journal, the stored document and the files of the
applied objects do.
"""

from __future__ import annotations

import asyncio

from fleetctl.core.model.errors import DuplicateAgent, NotEnrolled
from fleetctl.core.model.ids import BundleName, Epoch
from fleetctl.core.model.status import Report, ResourceStatus
from fleetctl.core.model.wire import Desired, DesiredBundle

from ..controlplane.desired_state import DocumentStore
from ..deploy.context import ReleaseContext
from ..drift.corrections import Corrections
from ..drift.observer import Observer
from ..host import process_identity
from ..kube.lease import Lease
from ..state import conditions
from ..state.attempts import Attempts
from ..state.conditions import DISK, Troubles
from .deployment_report import EXPENSIVE, DeploymentFailure


class LoopState:
    """The fields that need more than their name:

    busy: bundles whose release is being changed now. to_reapply: to be applied once more although
    nothing new is wanted. to_observe: changed since the last observation.
    tombstones_since: when each tombstone was first seen here (monotonic seconds). holds: why a
    tombstone waits. removals: tombstones that are done.
    was_busy: much was done since the last beat.
    work, look, tell: wake the loop of that name. upgrade_wish: wakes the self-upgrade.
    is_stopped: another agent has this identity, or the manager does not know it any more; nothing
    is changed.
    contact: Unix seconds of the manager's last answer, 0 for never. contact_error: why it has not
    answered since.
    poll_answered: the manager has answered a poll since the start. full_report_sent: it has taken a
    full report.
    hold_reason: why nothing new is started, "" when it may be.
    poll_due: by then, on the loop's clock, the poll loop must have turned; later, this process
    hangs.
    """

    def __init__(self, context: ReleaseContext, observer: Observer | None) -> None:
        self.context, self.observer = context, observer
        self.document_store = DocumentStore(context.state_dir, context.uplink.verify)
        self.document: Desired | None = None
        self.etag = ""
        self.epoch = Epoch(max((e.epoch for e in context.journal.entries.values()), default=0))
        self.resources: dict[BundleName, list[ResourceStatus]] = {}
        self.reports: dict[BundleName, Report] = {}
        self.attempts = Attempts(context.state_dir)
        self.retry_at: dict[BundleName, float] = {}
        self.failures: dict[BundleName, int] = {}
        self.errors: dict[BundleName, DeploymentFailure] = {}
        self.waits: dict[BundleName, str] = {}
        self.to_reapply: set[BundleName] = set()
        self.corrections = Corrections()
        self.removals: set[tuple[BundleName, int]] = set()
        self.tombstones_since: dict[tuple[BundleName, int], float] = {}
        self.holds: dict[BundleName, str] = {}
        self.busy: dict[BundleName, asyncio.Task[None]] = {}
        self.to_observe: set[BundleName] = set()
        self.work, self.tell, self.look = asyncio.Event(), asyncio.Event(), asyncio.Event()
        before = conditions.read(context.state_dir)
        self.troubles = Troubles(context.state_dir, self.tell.set, context.uplink.now)
        self.poll_answered, self.full_report_sent, self.upgrade_wish = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        self.hold_reason = ""
        holder = process_identity.this_process(context.uplink.instance)
        self.lease = Lease(context.kube, context.uplink.cluster_id, holder, context.uplink.now)
        self.is_stopped = False
        self.contact, self.contact_error = 0.0, ""
        self.poll_due = float("inf")
        self.was_busy = True
        for condition in before:
            # until the manager says otherwise: it said so for good
            if condition.code == NotEnrolled.code:
                self.stop(condition.code, condition.message)

    def say(self, code: str, message: str) -> None:
        """Something concerns the agent as a whole, until it is unsaid: the manager shows it on the
        cluster.
        """
        self.troubles.say(code, message)

    def unsay(self, code: str) -> None:
        self.troubles.unsay(code)

    def disk_works(self) -> None:
        """Something was written."""
        for code in DISK:
            self.unsay(code)

    def stop(self, code: str, message: str) -> None:
        """This agent may not change anything: another has its identity, or its key is worthless.
        Running releases continue.
        """
        self.is_stopped = True
        self.say(code, message)

    def go_on(self) -> None:
        """The manager takes this agent for what it is."""
        if self.is_stopped:
            self.is_stopped = False
            for code in (DuplicateAgent.code, NotEnrolled.code):
                self.unsay(code)
            self.work.set()

    def is_expensive(self, document: Desired, bundle: DesiredBundle) -> bool:
        """Whether this generation of the bundle exceeded a limit, or an agent died while it worked
        on it: its next attempt waits, also when the manager sends another document.
        """
        error = self.errors.get(bundle.name)
        is_over_limit = (
            error is not None and error.code in EXPENSIVE and error.generation == bundle.generation
        )
        return is_over_limit or self.attempts.deaths(document, bundle) > 0

    def bundles(self) -> list[DesiredBundle]:
        """What is wanted; nothing before the first document."""
        return self.document.bundles if self.document else []

    def bundle(self, name: BundleName) -> DesiredBundle | None:
        return next((b for b in self.bundles() if b.name == name), None)
