"""What the API server refuses to change, and drift that comes back.

Rule: an object is made anew only where `force` says so and the API server refuses the change
because a field is immutable; never what holds data or other objects. (helm's `--force-replace` does
not do this: it replaces, which is refused in the same words, helm 4.2.3.) Drift is put right at
once the first time, and with growing pauses as long as something changes it back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from fleetctl.core.formats.url_path import url_path
from fleetctl.core.model.errors import (
    DeadlineError,
    HelmFailed,
    ImmutableField,
    NotFound,
)
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.status import ResourceStatus
from fleetctl.core.model.wire import DesiredBundle
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_errors import ImmutableRefusal, immutable_refusals

from ..host.failpoints import failpoint
from ..host.log import event, trouble
from ..kube.client import Kube
from . import records

if TYPE_CHECKING:
    from ..loops.state import LoopState
    from ..state.journal import Entry

GONE_SECONDS = 60.0
_PRECIOUS = frozenset(
    {"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"}
)


async def recreate(
    kube: Kube, release: Release, error: HelmFailed, *, force: bool, keep_failed: bool
) -> bool:
    """Delete the objects that helm cannot change, so that its next run creates them again. Returns
    whether there were any. Records of failed runs are deleted unless `keep_failed`. Raises
    ImmutableField naming object and field where `force` does not allow it, DeadlineError for an
    object that does not go.
    """
    if not keep_failed:
        await records.delete_failed(kube, release)
    refusals_in_error = immutable_refusals(error)
    if not refusals_in_error:
        return False
    _refuse(refusals_in_error, error, force=force)
    for refusal in refusals_in_error:
        event("an object is made anew", object=refusal.display_name, field=refusal.field)
        await _delete(kube, await _complete_refusal(kube, refusal, release))
        failpoint("object-deleted")
    return True


def _refuse(all_refusals: list[ImmutableRefusal], error: HelmFailed, *, force: bool) -> None:
    precious_refusal = next(
        (refusal for refusal in all_refusals if refusal.kind in _PRECIOUS), None
    )
    if force and precious_refusal is None:
        return
    refusal = precious_refusal if force and precious_refusal else all_refusals[0]
    is_precious = refusal.kind in _PRECIOUS
    step = (
        "helm.force does not make anew what holds data"
        if is_precious
        else "helm.force: true would make the object anew"
    )
    alternative = (
        "delete the object by hand when what it holds may go"
        if is_precious
        else "set helm.force: true"
    )
    others_text = f" (and {len(all_refusals) - 1} more)" if len(all_refusals) > 1 else ""
    raise ImmutableField(
        f"{refusal.display_name}: {refusal.field}: {refusal.reason}{others_text}; {step}",
        subject=refusal.display_name,
        next_step=f"Change it back in Git, or {alternative}.",
    ) from error


async def _complete_refusal(
    kube: Kube, refusal: ImmutableRefusal, release: Release
) -> ImmutableRefusal:
    """With an API version and a namespace, which helm does not name when it applies client-side."""
    group, _, version = refusal.api_version.rpartition("/")
    api = refusal.api_version
    if version == "*":
        api = (await kube.call("GET", url_path("apis", group)))["preferredVersion"]["groupVersion"]
    return replace(refusal, api_version=api, namespace=refusal.namespace or release.namespace)


async def _delete(kube: Kube, refusal: ImmutableRefusal) -> None:
    """Gone when this returns. Pods of a StatefulSet stay for the new one, unless its selector is
    what changes.
    """
    orphans = refusal.kind == "StatefulSet" and "selector" not in refusal.field
    try:
        path = await kube.object_path(
            refusal.api_version, refusal.kind, refusal.namespace, refusal.name
        )
        uid = (await kube.call("GET", path))["metadata"]["uid"]
        await kube.delete(path, propagation="Orphan" if orphans else "Background")
        end = time.monotonic() + GONE_SECONDS
        while (metadata := (await kube.call("GET", path))["metadata"])["uid"] == uid:
            if time.monotonic() > end:
                blocker = ", ".join(metadata.get("finalizers") or []) or "its API server"
                summary = (
                    f"{refusal.display_name} does not go within {GONE_SECONDS:g} s:"
                    f" {blocker} holds it"
                )
                raise DeadlineError(
                    summary, subject=refusal.display_name, next_step="Look at its finalizers."
                )
            await asyncio.sleep(0.1)
    except NotFound:
        return


@dataclass
class _RepeatedCorrection:
    generation: Generation
    count: int = 0
    last: float = 0.0
    until: float = 0.0
    is_look_scheduled: bool = False  # somebody looks again when the pause is over


class Corrections:
    """When drift of each bundle is put right: at once, then after pauses that double up to 10 min.
    A bundle that stays as it is for twice its pause, and at least a minute, begins anew, and so
    does a new generation. Times are seconds of one clock.
    """

    PAUSE = Backoff(5.0, 600.0)
    CALM = 60.0

    def __init__(self) -> None:
        self._corrections: dict[BundleName, _RepeatedCorrection] = {}

    def should_correct(
        self, bundle: BundleName, generation: Generation, now: float, *, is_drifted: bool
    ) -> bool:
        """Whether it is to be put right now."""
        correction = self._corrections.get(bundle)
        if correction and (
            correction.generation != generation
            or (
                not is_drifted
                and now > correction.last + max(self.CALM, 2 * (correction.until - correction.last))
            )
        ):
            del self._corrections[bundle]
            correction = None
        if not is_drifted:
            return False
        if correction is None:
            correction = self._corrections[bundle] = _RepeatedCorrection(generation)
        if now < correction.until:
            return False
        correction.count += 1
        correction.last, correction.until, correction.is_look_scheduled = (
            now,
            now + self.PAUSE.seconds(correction.count),
            False,
        )
        return True

    def wait(self, bundle: BundleName, now: float) -> float:
        """Seconds until it may be put right again, told once for each pause; else 0."""
        fight = self._corrections.get(bundle)
        if fight is None or fight.is_look_scheduled or now >= fight.until:
            return 0.0
        fight.is_look_scheduled = True
        return fight.until - now

    def note(self, bundle: BundleName) -> str:
        """For the report, when something fights us; else "". It stays the same until the next
        correction.
        """
        fight = self._corrections.get(bundle)
        if fight is None or fight.count < 2:
            return ""
        return (
            f"; put right {fight.count} times and changed back each time, the next time after"
            f" {fight.until - fight.last:.0f} s"
        )


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
            "drift is corrected because somebody asked for it",
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
        event("drift is put right", bundle=bundle.name, objects=objects_text)
        state.to_reapply.add(bundle.name)
        state.work.set()
    elif drifted_resources and (seconds := state.corrections.wait(bundle.name, now)):
        asyncio.get_running_loop().call_later(seconds + 0.1, _look_again, state, bundle.name)


def _look_again(state: LoopState, bundle: BundleName) -> None:
    state.to_observe.add(bundle)
    state.look.set()
