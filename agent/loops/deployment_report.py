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


class Failure(NamedTuple):
    """Why a generation could not be applied. `object`: what it is about; `hint`: what to do, where
    the error said so.
    """

    generation: Generation
    code: str
    message: str
    object: str = ""
    hint: str = ""


class Known(NamedTuple):
    """`resources`: None before the first look. `error`: a failure that still stands. `waits`: for
    what. `floor`: the highest (epoch, generation) that the bundle was ever at here. `note`: what is
    to be said of drift.
    """

    entry: Entry | None
    resources: list[ResourceStatus] | None
    error: Failure | None = None
    waits: str = ""
    floor: Order = (0, 0)
    note: str = ""


def report_of(bundle: DesiredBundle, document: Desired, known: Known) -> Report:
    entry = known.entry
    applied = entry.applied if entry else Generation(0)
    state, why = state_of(bundle, known, document.epoch)
    release = (
        ReleaseRef(name=entry.release, namespace=entry.namespace, revision=entry.revision)
        if entry and entry.release
        else None
    )
    seen = known.resources or []
    return Report(
        bundle=bundle.name,
        epoch=document.epoch,
        generation=bundle.generation,
        applied=applied,
        state=state,
        code=why.code,
        message=why.message,
        object=why.object,
        hint=why.hint,
        ready=state is State.READY,
        non_modified=not list_drifted(seen),
        release=release,
        commit=entry.commit if entry else "",
        options_digest=bundle.options_digest,
        resources=seen,
    )


def behind(order: Order, floor: Order) -> str:
    """Why a document that asks for less than was here before is not obeyed; "" when it does not."""
    if order >= floor:
        return ""
    here, asked = (f"epoch {epoch} generation {generation}" for epoch, generation in (floor, order))
    return (
        f"the manager is behind this cluster, which was at {here} and is asked for {asked}: nothing"
        " is changed until a newer one comes"
    )


def failed_state(code: str) -> State:
    return State.NOT_READY if code == REMOVING else State.ERR_APPLIED


def farewell(
    tombstone: Tombstone, document: Desired, *, error: Failure | None, held: str
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
        said = {
            "code": error.code,
            "message": error.message,
            "object": error.object,
            "hint": error.hint,
        }
        return msgspec.structs.replace(head, state=failed_state(error.code), **said)
    return (
        msgspec.structs.replace(head, state=State.NOT_READY, code="removing", message=held)
        if held
        else head
    )


def state_of(bundle: DesiredBundle, known: Known, epoch: int) -> tuple[State, Failure]:
    """The state, and why it is that, in the order of Fleet's own tests."""
    order = (epoch, bundle.generation)

    def why(code: str = "", message: str = "", about: str = "") -> Failure:
        return Failure(bundle.generation, code, message, about)

    if late := behind(order, known.floor):
        return State.ERR_APPLIED, why("behind", late)
    if known.error and known.error.generation >= bundle.generation:
        return failed_state(known.error.code), known.error
    if not is_applied(known.entry, order):
        if bundle.paused:
            return State.OUT_OF_SYNC, why("paused", "paused")
        return (
            (State.WAITING_FOR_DEPENDENCY, why("dependency", known.waits))
            if known.waits
            else (State.WAIT_APPLIED, why())
        )
    if known.resources is None:
        return State.NOT_READY, why(message="not looked at yet")
    bad = next((r for r in known.resources if r.state in {"NotReady", "Unknown"}), None)
    if bad:
        return State.NOT_READY, why("not-ready", sentence(bad), object_name(bad))
    changed = list_drifted(known.resources)
    if changed:
        return State.MODIFIED, why(
            "modified", sentence(changed[0]) + known.note, object_name(changed[0])
        )
    if known.entry and known.entry.client_side:
        return State.READY, why(
            "client-side",
            warning(known.entry.client_side),
            known.entry.client_side[0].partition(": ")[0],
        )
    return State.READY, why()


def pages_of(reports: list[Report], most: int = MOST_PAGE_BYTES) -> list[list[Report]]:
    """The reports in requests of at most `most` bytes, or of one report; one empty page for
    none.
    """
    pages: list[list[Report]] = [[]]
    size = 0
    for report in reports:
        more = len(msgspec.json.encode(report))
        if size + more > most and pages[-1]:
            pages.append([])
            size = 0
        pages[-1].append(report)
        size += more
    return pages
