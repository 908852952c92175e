"""What is told of one bundle: pure, from what is wanted, what the journal says and what was
seen.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fleetctl.core.model.ids import Generation
from fleetctl.core.model.status import (
    ReleaseRef,
    Report,
    ResourceStatus,
    State,
    object_name,
    sentence,
)
from fleetctl.core.model.wire import Desired, DesiredBundle, Tombstone

from ..deploy.client_side_apply import warning
from ..drift.observer import list_drifted
from ..state.journal import Entry, Order, is_applied

REMOVING = "removing"  # code: what was deleted is not gone yet, and nobody has to do anything
# Codes of failures that cost much of the machine: a new document is no reason to try the same
# generation again at once.
EXPENSIVE = frozenset({"work-limit", "work-crashed", "set-aside"})
MOST_PAGE_BYTES = 512 * 1024


class DeploymentFailure(NamedTuple):
    """Why a generation could not be applied. `object`: what it is about; `hint`: what to do, where
    the error said so.
    """

    generation: Generation
    code: str
    message: str
    object: str = ""
    hint: str = ""


class ReportFacts(NamedTuple):
    """`resources`: None before the first look. `error`: a failure that still stands. `waits`: for
    what. `floor`: the highest (epoch, generation) that the bundle was ever at here. `note`: what is
    to be said of drift.
    """

    entry: Entry | None
    resources: list[ResourceStatus] | None
    error: DeploymentFailure | None = None
    waits: str = ""
    floor: Order = (0, 0)
    note: str = ""


def report_of(bundle: DesiredBundle, document: Desired, facts: ReportFacts) -> Report:
    entry = facts.entry
    applied_generation = entry.applied if entry else Generation(0)
    state, failure = state_of(bundle, facts, document.epoch)
    release = (
        ReleaseRef(name=entry.release, namespace=entry.namespace, revision=entry.revision)
        if entry and entry.release
        else None
    )
    resources = facts.resources or []
    return Report(
        bundle=bundle.name,
        epoch=document.epoch,
        generation=bundle.generation,
        applied=applied_generation,
        state=state,
        code=failure.code,
        message=failure.message,
        object=failure.object,
        hint=failure.hint,
        ready=state is State.READY,
        non_modified=not list_drifted(resources),
        release=release,
        commit=entry.commit if entry else "",
        options_digest=bundle.options_digest,
        resources=resources,
    )


def behind(order: Order, floor: Order) -> str:
    """Why a document that asks for less than was here before is not obeyed; "" when it does not."""
    if order >= floor:
        return ""
    floor_text, order_text = (
        f"epoch {epoch} generation {generation}" for epoch, generation in (floor, order)
    )
    return (
        f"the manager is behind this cluster: the agent applied {floor_text} and the manager"
        f" requests {order_text}; nothing is changed until a newer version arrives"
    )


def state_of_failure(code: str) -> State:
    return State.NOT_READY if code == REMOVING else State.ERR_APPLIED


def farewell(
    tombstone: Tombstone, document: Desired, *, error: DeploymentFailure | None, hold: str
) -> Report:
    """What is told of a tombstone that is not done: why, and whether somebody has to do
    something.
    """
    head = Report(
        bundle=tombstone.name,
        epoch=document.epoch,
        generation=tombstone.generation,
        state=State.WAIT_APPLIED,
    )
    if error is not None:
        fields = {
            "code": error.code,
            "message": error.message,
            "object": error.object,
            "hint": error.hint,
        }
        return msgspec.structs.replace(head, state=state_of_failure(error.code), **fields)
    return (
        msgspec.structs.replace(head, state=State.NOT_READY, code="removing", message=hold)
        if hold
        else head
    )


def state_of(
    bundle: DesiredBundle, facts: ReportFacts, epoch: int
) -> tuple[State, DeploymentFailure]:
    """The state, and why it is that, in the order of Fleet's own tests."""
    order = (epoch, bundle.generation)

    def failure_of(code: str = "", message: str = "", about: str = "") -> DeploymentFailure:
        return DeploymentFailure(bundle.generation, code, message, about)

    if late := behind(order, facts.floor):
        return State.ERR_APPLIED, failure_of("behind", late)
    if facts.error and facts.error.generation >= bundle.generation:
        return state_of_failure(facts.error.code), facts.error
    if not is_applied(facts.entry, order):
        if bundle.paused:
            return State.OUT_OF_SYNC, failure_of("paused", "paused")
        return (
            (State.WAITING_FOR_DEPENDENCY, failure_of("dependency", facts.waits))
            if facts.waits
            else (State.WAIT_APPLIED, failure_of())
        )
    if facts.resources is None:
        return State.NOT_READY, failure_of(message="not looked at yet")
    bad = next((r for r in facts.resources if r.state in {"NotReady", "Unknown"}), None)
    if bad:
        return State.NOT_READY, failure_of("not-ready", sentence(bad), object_name(bad))
    drifted_resources = list_drifted(facts.resources)
    if drifted_resources:
        return State.MODIFIED, failure_of(
            "modified",
            sentence(drifted_resources[0]) + facts.note,
            object_name(drifted_resources[0]),
        )
    if facts.entry and facts.entry.client_side:
        return State.READY, failure_of(
            "client-side",
            warning(facts.entry.client_side),
            facts.entry.client_side[0].partition(": ")[0],
        )
    return State.READY, failure_of()


def pages_of(reports: list[Report], max_bytes: int = MOST_PAGE_BYTES) -> list[list[Report]]:
    """The reports in requests of at most `most` bytes, or of one report; one empty page for
    none.
    """
    pages: list[list[Report]] = [[]]
    size = 0
    for report in reports:
        report_bytes = len(msgspec.json.encode(report))
        if size + report_bytes > max_bytes and pages[-1]:
            pages.append([])
            size = 0
        pages[-1].append(report)
        size += report_bytes
    return pages
