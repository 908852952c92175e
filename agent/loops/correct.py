"""Corrections of drift: requested by a person, or by the bundle's `correctDrift`."""

from __future__ import annotations

import asyncio
import time

import msgspec

from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.status import ResourceStatus
from fleetctl.core.model.wire import DesiredBundle

from ..host.log import event, trouble
from ..state.journal import Entry
from .state import LoopState


def is_correction_requested(bundle: DesiredBundle, entry: Entry) -> bool:
    """Whether a person asked for a correction that was not carried out yet. A new generation
    corrects, too.
    """
    return (
        bundle.correction > entry.corrected
        and not bundle.paused
        and entry.applied >= bundle.generation
        and not entry.began
    )


def correct_on_request(
    state: LoopState, bundle: DesiredBundle, entry: Entry, resources: list[ResourceStatus]
) -> None:
    """Apply the bundle again when something of it differs from Git; else note that there is nothing
    to do.
    """
    drifted_resources = [
        r for r in resources if r.drifted and r.state != "Orphaned" and not r.owner
    ]
    if drifted_resources:
        objects_text = ", ".join(
            f"{resource.kind} {resource.namespace}/{resource.name}"
            for resource in drifted_resources[:3]
        )
        event(
            "drift is corrected on request",
            bundle=bundle.name,
            objects=objects_text,
        )
        state.to_reapply.add(bundle.name)
        state.work.set()
        return
    try:
        state.context.journal.put(msgspec.structs.replace(entry, corrected=bundle.correction))
    except OSError as error:
        trouble(f"bundle {bundle.name}", f"the journal cannot be written: {error}")


def schedule_correction(
    state: LoopState, bundle: DesiredBundle, drifted_resources: list[ResourceStatus]
) -> None:
    """Drift was looked for in a bundle whose drift is to be put right, and this was found."""
    now = time.monotonic()
    if state.corrections.should_correct(
        bundle.name, bundle.generation, now, is_drifted=bool(drifted_resources)
    ):
        objects_text = ", ".join(
            f"{resource.kind} {resource.namespace}/{resource.name}"
            for resource in drifted_resources[:3]
        )
        event("drift is corrected", bundle=bundle.name, objects=objects_text)
        state.to_reapply.add(bundle.name)
        state.work.set()
    elif drifted_resources and (seconds := state.corrections.wait(bundle.name, now)):
        asyncio.get_running_loop().call_later(seconds + 0.1, _look_again, state, bundle.name)


def _look_again(state: LoopState, bundle: BundleName) -> None:
    state.to_observe.add(bundle)
    state.look.set()
