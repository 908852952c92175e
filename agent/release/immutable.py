"""Recreates objects whose immutable fields a release changes.

Rule: an object is recreated only where `force` says so and the API server refuses the change
because a field is immutable; never what holds data or other objects. (helm's `--force-replace` does
not do this: it replaces, which is refused with the same message, helm 4.2.3.)
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from fleetctl.core.formats.url_path import url_path
from fleetctl.core.model.errors import (
    DeadlineError,
    HelmFailed,
    ImmutableField,
    NotFound,
)
from fleetctl.core.text.listing import count_others
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_errors import ImmutableRefusal, immutable_refusals

from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from . import records

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
        event("an object is deleted and created", object=refusal.display_name, field=refusal.field)
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
        "helm.force does not delete and create objects that hold data"
        if is_precious
        else "with helm.force: true the agent would delete and create the object"
    )
    alternative = (
        "delete the object by hand if you do not need its data"
        if is_precious
        else "set helm.force: true"
    )
    others_text = count_others(len(all_refusals) - 1)
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
                    f"{refusal.display_name} still exists after {GONE_SECONDS:g} s:"
                    f" {blocker} holds it"
                )
                raise DeadlineError(
                    summary, subject=refusal.display_name, next_step="Look at its finalizers."
                )
            await asyncio.sleep(0.1)
    except NotFound:
        return
